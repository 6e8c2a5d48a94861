"""A checkpoint is a folder: what it holds, writing it whole or not at all, and reading it.

    config.json                 the model's settings, class names, and how it was trained; for a
                                model of another code base its layout, and how it was recognised
    generator.safetensors       averaged weights, ready for eval mode
    discriminator.safetensors   may be missing
    history.jsonl               one JSON object per logged training step
    snapshots/000100000.safetensors    the generator after that many images, 16-bit weights
    real.npz                    a few real images, where there are any (see `real.py`)
    samples.png, metrics.json, faithfulness.json, README.md   the model card and what it shows

Nothing is ever unpickled: weights are safetensors.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .engine import AnyDiscriminator, AnyGenerator, DescribedDiscriminator, DescribedGenerator
from .layout import DescribedConfig
from .model import Discriminator, Generator, SAGANConfig
from .recognised import Recognised

AnyConfig: TypeAlias = SAGANConfig | DescribedConfig
Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config", SAGANConfig, DescribedConfig)

FORMAT, DESCRIBED_FORMAT = 1, 2  # with a SAGANConfig, and with another code base's layout
CONFIG, GENERATOR, DISCRIMINATOR = (
    "config.json",
    "generator.safetensors",
    "discriminator.safetensors",
)
HISTORY, SNAPSHOTS = "history.jsonl", "snapshots"


class CheckpointError(ValueError):
    """A checkpoint that cannot be opened; the message says what was expected."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened checkpoint; both networks are in eval mode.

    Attributes:
        generator, discriminator: the discriminator is None where the folder has none.
        class_names: one per class; empty for an unconditional model.
        training: what it was trained on and how, as `config.json` says.
        path: the folder, or another code base's file.
        recognised: where it comes from; None where `load_checkpoint` opened a model of ours.
        title: what to call it, if not by its path.
    """

    generator: AnyGenerator
    discriminator: AnyDiscriminator | None
    class_names: tuple[str, ...]
    training: Mapping[str, Any]
    path: Path = field(default_factory=Path)
    recognised: Recognised | None = None
    title: str = ""

    @property
    def config(self) -> AnyConfig:
        return self.generator.config

    @property
    def name(self) -> str:
        path = self.path.resolve()
        return self.title or (path.stem if path.is_file() else path.name)

    def history(self) -> list[dict[str, Any]]:
        """The logged training steps, oldest first; empty where none were kept."""
        return read_history(self.path / HISTORY)

    def snapshots(self) -> dict[int, Path]:
        """Images seen -> file, ascending."""
        files = sorted((self.path / SNAPSHOTS).glob("*.safetensors"))
        return {int(file.stem): file for file in files if file.stem.isdecimal()}

    def load_snapshot(self, images: int) -> AnyGenerator:
        """The generator as it was after that many images. Raises CheckpointError."""
        known = self.snapshots()
        if images not in known:
            raise CheckpointError(f"no snapshot at {images} images; there are {list(known)}")
        device = next(self.generator.parameters()).device
        return _load_generator(self.config, known[images], device)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that at every moment it has either the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OSError(
            error.errno, f"{error.strerror}; what was there before is kept", str(path)
        ) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_partial_files(folder: Path) -> None:
    """Remove what `write_whole` left behind when its process was killed in the middle."""
    written = {".json", ".safetensors", ".jsonl", ".png", ".md", ".pt", ".npz"}
    for file in (*folder.glob(".*.????????"), *(folder / SNAPSHOTS).glob(".*.????????")):
        if Path(file.name[1:-9]).suffix in written and file.is_file():
            file.unlink()


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a `history.jsonl`; a last line cut off by a crash is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def save_checkpoint(
    folder: str | Path,
    generator: AnyGenerator,
    discriminator: AnyDiscriminator | None = None,
    class_names: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
    half: bool = False,
    recognised: Recognised | None = None,
) -> None:
    """Write a folder that `load_checkpoint` opens with identical config and bit-identical images.

    With `half` weights are rounded to 16 bits, statistics are not, and files are half as large.
    `recognised` says where a model of another code base comes from; it is kept for such a one only.

    Raises ValueError when the class names do not fit the model's classes.
    """
    config = generator.config
    if len(class_names) != config.classes:
        raise ValueError(f"{len(class_names)} class names for a model of {config.classes} classes")
    folder = Path(folder)
    described = isinstance(config, DescribedConfig)
    about = {
        "format": DESCRIBED_FORMAT if described else FORMAT,
        "model": config.to_dict() if isinstance(config, DescribedConfig) else asdict(config),
        "class_names": list(class_names),
        "training": dict(training or {}),
    }
    if described and recognised is not None:
        about["recognised"] = recognised.to_dict()
    write_whole(folder / GENERATOR, save(_tensors(generator, half)))
    if discriminator is not None:
        write_whole(folder / DISCRIMINATOR, save(_tensors(discriminator, half)))
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / CONFIG, text.encode())


def save_snapshot(folder: str | Path, generator: Generator, images: int) -> None:
    """Keep the generator after `images` images, its weights in 16 bits, its statistics in 32."""
    tensors = _tensors(generator, half=True)
    write_whole(Path(folder) / SNAPSHOTS / f"{images:09d}.safetensors", save(tensors))


def _tensors(network: nn.Module, half: bool) -> dict[str, Tensor]:
    weights = {name for name, _ in network.named_parameters()} if half else set()
    return {
        name: (tensor.half() if name in weights else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }


def load_checkpoint(folder: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Open a checkpoint folder, both networks in eval mode on `device`.

    Raises CheckpointError, with one line that says what was expected, for a missing folder or
    file, settings that make no model, tensors that are missing, superfluous, of a wrong shape or
    not finite, and files that are not safetensors.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(f"{folder} {what}; expected a folder with {CONFIG} and {GENERATOR}")
    for name in (CONFIG, GENERATOR):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} has no {name}; expected {CONFIG} and {GENERATOR}")
    config, class_names, training, recognised = _read_config(folder / CONFIG)
    generator = _load_generator(config, folder / GENERATOR, device)
    discriminator: AnyDiscriminator | None = None
    if (folder / DISCRIMINATOR).is_file():
        discriminator = _load_discriminator(config, folder / DISCRIMINATOR, device)
    return Checkpoint(generator, discriminator, class_names, training, folder, recognised)


def _read_config(
    path: Path,
) -> tuple[AnyConfig, tuple[str, ...], dict[str, Any], Recognised | None]:
    config: AnyConfig
    recognised = None
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] == DESCRIBED_FORMAT:
            config = DescribedConfig.from_dict(about["model"])
            if "recognised" in about:
                recognised = Recognised.from_dict(about["recognised"])
        elif about["format"] == FORMAT:
            config = SAGANConfig.from_dict(about["model"])
        else:
            known = f"{FORMAT} and {DESCRIBED_FORMAT}"
            raise ValueError(f"its format is {about['format']!r}, and this version reads {known}")
        class_names = tuple(map(str, about["class_names"]))
        training = dict(about["training"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{path} is not a SAGAN Lens config: {reason}") from error
    if len(class_names) != config.classes:
        raise CheckpointError(
            f"{path} has {len(class_names)} class names for {config.classes} classes"
        )
    return config, class_names, training, recognised


def _load_generator(config: AnyConfig, path: Path, device: torch.device | str) -> AnyGenerator:
    tensors = _read_tensors(path)
    if isinstance(config, DescribedConfig):
        if config.generator is None:
            raise CheckpointError(f"{CONFIG} beside {path} describes no generator")
        return fill(DescribedGenerator, config, tensors, str(path), device)
    _check_size(config, True, sum(tensor.numel() for tensor in tensors.values()))
    return fill(Generator, config, tensors, str(path), device)


def _load_discriminator(
    config: AnyConfig, path: Path, device: torch.device | str
) -> AnyDiscriminator:
    tensors = _read_tensors(path)
    if isinstance(config, DescribedConfig):
        if config.discriminator is None:
            raise CheckpointError(f"{CONFIG} beside {path} describes no discriminator")
        return fill(DescribedDiscriminator, config, tensors, str(path), device)
    _check_size(config, False, sum(tensor.numel() for tensor in tensors.values()))
    return fill(Discriminator, config, tensors, str(path), device)


def fill(
    make: Callable[[Config], Network],
    config: Config,
    tensors: dict[str, Tensor],
    path: str,
    device: torch.device | str,
    asker: str = CONFIG,
    called: Callable[[str], str] = str,
) -> Network:
    """A network in eval mode with these weights, after checking every name, shape and number.

    Takes `tensors` over. Raises CheckpointError, where `path` says whence they are, `asker` what
    the network's shapes follow from, and `called` what a tensor is called there.
    """
    described = isinstance(config, DescribedConfig)
    network = _without_numbers(make, config, path) if described else _with_numbers(make, config)
    expected = network.state_dict()
    for name in expected:
        if name not in tensors:
            raise CheckpointError(f"{path} lacks the tensor {called(name)} that {asker} asks for")
    for name, tensor in tensors.items():
        if name not in expected:
            stray = f"a tensor {called(name)} that {asker} does not ask for"
            raise CheckpointError(f"{path} has {stray}")
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {called(name)} has shape {tuple(tensor.shape)}; "
                f"{asker} asks for {tuple(expected[name].shape)}"
            )
        if tensor.dtype not in (expected[name].dtype, torch.float16):
            raise CheckpointError(
                f"{path}: {called(name)} is {tensor.dtype}; it must be {expected[name].dtype}"
            )
        if not all_finite(tensor):
            raise CheckpointError(f"{path}: {called(name)} holds numbers that are not finite")
    if described:
        for name, tensor in tensors.items():
            tensors[name] = _laid_out(tensor.to(expected[name].dtype))
    network.load_state_dict(tensors, assign=described)
    return network.to(device).eval()


def _with_numbers(make: Callable[[Config], Network], config: Config) -> Network:
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
        return make(config)


def _without_numbers(make: Callable[[Config], Network], config: Config, path: str) -> Network:
    """As large as a file's layout says: so it takes no memory before that is checked."""
    try:
        with torch.device("meta"):
            return make(config)
    except (RuntimeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: its layout makes no network ({reason})") from error


def _laid_out(tensor: Tensor) -> Tensor:
    """A copy, kernels with channels last: a third less time for an image of the large models.

    Written anew even where nothing changes: the last bit of an image follows the strides of 1x1
    kernels, which are ambiguous, and where in memory a tensor starts, which a file decides.
    """
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return torch.empty_like(tensor, memory_format=layout).copy_(tensor)


def all_finite(tensor: Tensor) -> bool:
    """Whether no number is infinite or NaN, which a sum tells sooner than looking at each does."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _check_size(config: SAGANConfig, has_latents: bool, stored: int) -> None:
    """Refuse a config whose largest layers alone outnumber the file, before they take memory."""
    widest = min(config.generator_channels(4), config.discriminator_channels(4))
    projection = 16 * widest * config.latent_size if has_latents else 0
    if max(9 * widest**2, projection) > stored:
        raise CheckpointError(
            f"{CONFIG} asks for {widest} channels and {config.latent_size} latents; "
            f"the weights are {stored} numbers, too few for that"
        )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); pickled files are never opened"
        ) from error
