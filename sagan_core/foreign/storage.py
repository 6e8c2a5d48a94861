"""What is in a file of somebody else's: tensors and plain values, and nothing that runs.

A file is looked at before it is opened, so that one that lies about its size takes neither time nor
memory. Whatever passes is read by safetensors or by `torch.load(weights_only=True)`; there is no
other way in.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..checkpoint import CheckpointError

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".safetensors")
HEADER_LIMIT = 16 << 20  # bytes of a safetensors header
PICKLE_LIMIT = 4 << 20  # bytes of a pickle without its tensors
TENSOR_LIMIT, ENTRY_LIMIT, DEPTH = 20_000, 100_000, 4
PLAIN = re.compile(
    r"torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
    r"|torch\.(\w+Storage|storage\.(Untyped|Typed)Storage|Size|device)"
    r"|torch\.b?float(16|32|64)?|torch\.u?int(8|16|32|64)|torch\.(double|half|long|bool)"
    r"|collections\.(OrderedDict|Counter)|(__builtin__|builtins)\.(set|complex)|_codecs\.encode"
)
RESAVE = (
    "Its owner can save the tensors alone: torch.save(model.state_dict(), FILE), or, from a "
    'loaded file, torch.save({"state_dict": loaded["state_dict"]}, FILE)'
)


def read_content(path: Path) -> dict[str, Any]:
    """The nested dict that a checkpoint file holds; tensors stay on disk as far as possible.

    Raises CheckpointError for a file that is cut off, that claims more than it has, that needs
    anything but tensors and plain values, or that is no checkpoint.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is Git LFS's pointer to a file; fetch the file: git lfs pull"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old files' storage classes
            if path.suffix == ".safetensors":
                content: Any = _read_safetensors(path, size)
            elif head.startswith(b"PK\x03\x04"):
                _check_archive(path, size)
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            elif head.startswith(b"\x80"):
                _check_pickles(path)
                content = torch.load(path, map_location="cpu", weights_only=True)
            else:
                raise CheckpointError(
                    f"{path} is neither safetensors nor what torch.save writes"
                    + (" (it is empty)" if not size else "")
                )
    except CheckpointError:
        raise
    except (
        SafetensorError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        struct.error,
        RuntimeError,
        MemoryError,
        RecursionError,
        OSError,
        EOFError,
        ArithmeticError,
        AttributeError,
        IndexError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(_explained(path, error)) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dict of tensors")
    _check_tensors(path, dict(content), size)
    return dict(content)


def _explained(path: Path, error: Exception) -> str:
    asked = re.search(r"(?:GLOBAL|class) (\S+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and asked:
        return f"{path} needs {asked[1]}, and only tensors are ever read. {RESAVE}"
    # torch's own words end in the advice to read the file unsafely.
    words = str(error).rpartition("WeightsUnpickler error:")[2]
    reason = " ".join(words.split()) or type(error).__name__
    reason = "no plain pickle of tensors" if "weights_only" in reason else reason[:200]
    return f"{path} is not a whole checkpoint file ({reason}); copy or download it again"


def _read_safetensors(path: Path, size: int) -> dict[str, Tensor]:
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
    if length > min(size - 8, HEADER_LIMIT):
        raise CheckpointError(
            f"{path} claims a header of {length:,} bytes; the file has {size:,}, and a header may "
            f"have {HEADER_LIMIT:,}"
        )
    return load_file(path)


def _check_archive(path: Path, size: int) -> None:
    """A zip file as torch.save writes it: nothing compressed, no entry counted twice."""
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    entries = struct.unpack("<H", tail[end + 10 : end + 12])[0] if end >= 0 else 0
    if b"PK\x06\x06" in tail and entries == 0xFFFF:
        start = tail.rfind(b"PK\x06\x06")
        entries = struct.unpack("<Q", tail[start + 32 : start + 40])[0]
    if entries > ENTRY_LIMIT:
        raise CheckpointError(f"{path} has {entries:,} entries; at most {ENTRY_LIMIT:,} are read")
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        claimed = sum(info.file_size for info in infos)
        if claimed > size or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise CheckpointError(
                f"{path} would unpack to {claimed:,} bytes from {size:,}; torch.save compresses "
                "nothing, so this is not its file"
            )
        pickles = [info for info in infos if info.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > PICKLE_LIMIT:
            raise CheckpointError(
                f"{path} is a zip file without one data.pkl of at most {PICKLE_LIMIT:,} bytes: "
                "not a checkpoint that torch.save wrote, or a TorchScript archive"
            )
        with archive.open(pickles[0]) as file:
            _refuse_classes(path, file.read(), pickles=1)


def _check_pickles(path: Path) -> None:
    """torch.save's format before 1.6: four pickles, one after the other, then the numbers."""
    with path.open("rb") as file:
        _refuse_classes(path, file.read(PICKLE_LIMIT), pickles=4)


def _refuse_classes(path: Path, content: bytes, pickles: int) -> None:
    """Name all that a pickle asks for beyond tensors, before any of it is looked up."""
    stream = io.BytesIO(content)
    asked: dict[str, None] = {}
    for _ in range(pickles):
        for opcode, argument, _position in pickletools.genops(stream):
            if opcode.name in ("GLOBAL", "INST"):
                name = ".".join(str(argument).split(" "))
                if not PLAIN.fullmatch(name):
                    asked[name] = None
            elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                asked["a class by a newer pickle protocol"] = None
    if asked:
        names = ", ".join(list(asked)[:5]) + (", ..." if len(asked) > 5 else "")
        raise CheckpointError(f"{path} needs {names}, and only tensors are ever read. {RESAVE}")


def _check_tensors(path: Path, content: dict[str, Any], size: int) -> None:
    """No tensor is larger than what the file has for it, and together they fit twice."""
    total = count = 0
    for name, tensor in _walk(content):
        plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized:
            raise CheckpointError(f"{path}: {name} is no plain tensor on the CPU")
        stored = tensor.untyped_storage().nbytes()
        claimed = tensor.numel() * tensor.element_size()
        total, count = total + claimed, count + 1
        if claimed > stored or total > 2 * size or count > TENSOR_LIMIT:
            raise CheckpointError(
                f"{path}: {name} of shape {tuple(tensor.shape)} claims more than the file holds"
            )


def _walk(content: Mapping[Any, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{path}{str(key)[:80]}"
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Mapping) and depth < DEPTH:
            yield from _walk(value, f"{name}.", depth + 1)


def state_dicts(content: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """The state dicts in a file's content, by where they are: "" for the content itself.

    A leading `module.` of all names, from DataParallel, is taken off.
    """
    found: dict[str, dict[str, Tensor]] = {}
    _collect(content, "", found)
    return found


def _collect(
    content: Mapping[str, Any], where: str, found: dict[str, dict[str, Tensor]], depth: int = 0
) -> None:
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        found[where] = without_prefix(tensors, "module.")
    for name, value in content.items():
        # Optimisers hold tensors too, by number.
        if isinstance(value, Mapping) and depth < DEPTH and "optim" not in str(name).lower():
            _collect(value, f"{where}.{name}".lstrip("."), found, depth + 1)


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors with a prefix taken off, if all of them have it."""
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
