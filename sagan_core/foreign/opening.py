"""Open a checkpoint, whoever wrote it: a folder of ours, another code base's file, or one on a hub.

A file's networks are recognised by their tensors' names; the file's own name says only which of
several to prefer. What was found and why is in the checkpoint's `recognised`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from ..checkpoint import (
    CONFIG,
    DISCRIMINATOR,
    GENERATOR,
    SNAPSHOTS,
    Checkpoint,
    CheckpointError,
    Network,
    fill,
    load_checkpoint,
)
from ..engine import DescribedDiscriminator, DescribedGenerator
from ..layout import DescribedConfig, DiscriminatorLayout, GeneratorLayout
from ..recognised import Recognised, gamma_warnings
from .baking import NetworkReading
from .classes import class_names
from .hub import PREFIX, download
from .recognition import Candidate, candidates_in_file, candidates_in_folder, read_settings
from .storage import SUFFIXES

Value = TypeVar("Value")


def open_checkpoint(
    source: str | Path,
    device: torch.device | str = "cpu",
    discriminator: str | Path | None = None,
) -> Checkpoint:
    """Open a checkpoint, both networks in eval mode on `device`.

    Args:
        source: a folder or a file, of ours or of a family that `foreign` knows, or
            "hub:OWNER/NAME" or "hub:OWNER/NAME:FILE" on the Hugging Face hub, which is the only
            case that needs a network.
        discriminator: another file, for families that save it apart. Without it, the file beside
            `source` that its trainer saved in the same step is taken, if it is there.

    Raises CheckpointError, whose message says what was wrong, what came and what is accepted.
    """
    if isinstance(source, str) and source.startswith(PREFIX):
        path, title = download(source)
        return replace(open_checkpoint(path, device, discriminator), title=title)
    path = Path(source)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; expected a folder with {CONFIG} and {GENERATOR}, a file such "
            f"as G_ema.pth, or {PREFIX}OWNER/NAME"
        )
    if path.is_file() and path.suffix == ".safetensors":
        ours = _open_our_file(path, device)
        if ours is not None:
            return ours
    if path.is_dir() and _is_ours(path):
        return _with_origin(load_checkpoint(path, device))
    candidates = candidates_in_folder(path) if path.is_dir() else candidates_in_file(path)
    generators = [found for found in candidates if found.role == "generator"]
    if not generators:
        raise _no_generator(path, candidates)
    chosen = max(generators, key=Candidate.preference)
    partner = _partner(chosen, candidates, discriminator)
    return _open(path, chosen, partner, generators, device)


def open_discriminator(
    source: str | Path, device: torch.device | str = "cpu"
) -> DescribedDiscriminator:
    """Open a discriminator that was saved in a file of its own, without its generator.

    Its images have the size that fits its layers. Raises CheckpointError.
    """
    path = Path(source)
    candidates = candidates_in_folder(path) if path.is_dir() else candidates_in_file(path)
    found = [candidate for candidate in candidates if candidate.role == "discriminator"]
    if not found:
        raise CheckpointError(f"{path} holds no discriminator")
    chosen = max(found, key=Candidate.preference)
    reading = chosen.read()
    layout = discriminator_layout(reading)
    resolution = next((size for size in (32, 64, 128, 256, 512) if _ends(layout, size)), 128)
    config = DescribedConfig(
        chosen.family.name,
        resolution,
        reading.classes,
        latent_size=1,
        discriminator=layout,
        source_channels="BGR" if reading.channels == "BGR" else "RGB",
    )
    return _filled(DescribedDiscriminator, config, chosen, reading, device)


def _ends(layout: DiscriminatorLayout, resolution: int) -> bool:
    """Whether images of that size end in a map of 4x4, or of 8x8 where the last blocks halve none.

    32x32 models stop at 8x8; all larger ones go on to 4x4.
    """
    return (layout.sizes(resolution) or (0,))[-1] == (8 if resolution == 32 else 4)


def _is_ours(folder: Path) -> bool:
    return isinstance(read_settings(folder).get("format"), int) or (
        (folder / GENERATOR).is_file() and (folder / CONFIG).is_file()
    )


def _open_our_file(path: Path, device: torch.device | str) -> Checkpoint | None:
    """Our generator's weights, or a snapshot, in their folder; None for another file."""
    folder = path.parent
    if path.name == GENERATOR and _is_ours(folder):
        return _with_origin(load_checkpoint(folder, device))
    if path.name == DISCRIMINATOR and _is_ours(folder):
        raise CheckpointError(f"{path} is a discriminator; open its folder, {folder}")
    if folder.name == SNAPSHOTS and path.stem.isdecimal() and _is_ours(folder.parent):
        checkpoint = load_checkpoint(folder.parent, device)
        generator = checkpoint.load_snapshot(int(path.stem))
        title = f"{checkpoint.name} after {int(path.stem):,} images"
        return _with_origin(replace(checkpoint, generator=generator, title=title))
    return None


def _with_origin(checkpoint: Checkpoint) -> Checkpoint:
    if checkpoint.recognised is not None:
        return checkpoint
    warnings = gamma_warnings(checkpoint.generator, "generator")
    reasons = (f"{CONFIG} and {GENERATOR} in the folder",)
    recognised = Recognised("SAGAN Lens", reasons, "averaged", warnings=tuple(warnings))
    return replace(checkpoint, recognised=recognised)


def _partner(
    chosen: Candidate, candidates: list[Candidate], given: str | Path | None
) -> Candidate | CheckpointError | None:
    """The discriminator that belongs to a generator, or what was wrong with its file."""
    if given is not None:
        candidates = candidates_in_file(Path(given))
        chosen = replace(chosen, file=Path(given))
    beside = _beside(chosen.file)
    same = [
        found
        for found in candidates
        if found.role == "discriminator"
        and found.family is chosen.family
        and found.file in (chosen.file, beside)
    ]
    if same:
        return same[0]
    if given is not None:
        return CheckpointError(f"{given} holds no discriminator of {chosen.family.name}")
    if beside is None or not beside.is_file():
        return None
    try:
        found = [one for one in candidates_in_file(beside) if one.family is chosen.family]
    except CheckpointError as error:
        return error
    return next((one for one in found if one.role == "discriminator"), None)


def _beside(generator: Path) -> Path | None:
    """The file that a trainer saves a generator's discriminator in, by its name."""
    name = re.sub(r"(?<![A-Za-z])G(_ema)?(?![A-Za-z])", "D", generator.name)
    name = re.sub(r"(?<![A-Za-z])generator(?![A-Za-z])", "discriminator", name)
    return None if name == generator.name else generator.with_name(name)


def _open(
    path: Path,
    chosen: Candidate,
    partner: Candidate | CheckpointError | None,
    generators: list[Candidate],
    device: torch.device | str,
) -> Checkpoint:
    reading = chosen.read()
    config, warnings = generator_config(chosen, reading), list(reading.notes)
    discriminator, judge = None, None
    try:
        if isinstance(partner, CheckpointError):
            raise partner
        if partner is not None:
            discriminator, judge = _open_partner(partner, config, device)
    except CheckpointError as error:
        warnings.append(f"its discriminator was not opened: {error}")
        partner = None
    if discriminator is not None and judge is not None:
        config = discriminator.config
        warnings += [note for note in judge.notes if note not in warnings]
    network = _filled(DescribedGenerator, config, chosen, reading, device)
    warnings += gamma_warnings(network, "generator")
    warnings += _raw_warnings(chosen, generators)
    readings = {"generator": reading} | ({"discriminator": judge} if judge else {})
    recognised = Recognised(
        chosen.family.name,
        tuple(_reasons(chosen, partner, config, generators)),
        "averaged" if chosen.averaged else ("" if config.bounded_latents else "raw"),
        _by_network({name: one.sigmas for name, one in readings.items()}),
        _by_network({name: one.places for name, one in readings.items()}),
        tuple(warnings),
    )
    names = class_names(config.classes, reading.data)
    return Checkpoint(network, discriminator, names, {}, path, recognised)


def _open_partner(
    partner: Candidate, config: DescribedConfig, device: torch.device | str
) -> tuple[DescribedDiscriminator, NetworkReading]:
    """The discriminator, whose config has both networks. Raises CheckpointError."""
    reading = partner.read()
    if reading.classes not in (0, config.classes):
        raise CheckpointError(
            f"it has {reading.classes} classes, and the generator {config.classes}"
        )
    both = replace(config, discriminator=discriminator_layout(reading))
    return _filled(DescribedDiscriminator, both, partner, reading, device), reading


def _by_network(values: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    return {
        f"{network}.{name}": value
        for network, inner in values.items()
        for name, value in inner.items()
    }


def _filled(
    make: Callable[[DescribedConfig], Network],
    config: DescribedConfig,
    chosen: Candidate,
    reading: NetworkReading,
    device: torch.device | str,
) -> Network:
    looks = f"{chosen.file} looks like a {chosen.role} of {chosen.family.name}, but it"
    asker, called = "what its other tensors make", reading.called
    return fill(make, config, reading.tensors, looks, device, asker, called)


def generator_config(chosen: Candidate, reading: NetworkReading) -> DescribedConfig:
    layout = reading.layout
    assert isinstance(layout, GeneratorLayout)
    return DescribedConfig(
        chosen.family.name,
        layout.resolution,
        reading.classes,
        reading.latent_size,
        layout,
        bounded_latents=reading.bounded_latents,
        source_channels="BGR" if reading.channels == "BGR" else "RGB",
    )


def discriminator_layout(reading: NetworkReading) -> DiscriminatorLayout:
    assert isinstance(reading.layout, DiscriminatorLayout)
    return reading.layout


def _reasons(
    chosen: Candidate,
    partner: Candidate | None,
    config: DescribedConfig,
    generators: list[Candidate],
) -> Iterable[str]:
    """What was found, in words."""
    marks = [
        next(name for name in chosen.tensors if re.fullmatch(mark, name))
        for mark in chosen.names.marks
    ]
    inside = f"{chosen.where} in {chosen.file.name}" if chosen.where else chosen.file.name
    yield f"{inside} has the tensors {', '.join(marks)} of {chosen.family.name}'s generator"
    places = ", ".join(f"{size}x{size}" for size in config.attention) or "nowhere"
    classes = f"{config.classes} classes" if config.classes else "no classes"
    yield (
        f"their shapes make images of {config.resolution}x{config.resolution} from z of "
        f"{config.latent_size} and {classes}, with attention at {places}"
    )
    if config.source_channels == "BGR":
        yield "it makes blue, green, red; here red comes first"
    if len(generators) > 1:
        others = [one.where or one.file.name for one in generators if one is not chosen]
        yield f"taken before {', '.join(others[:5])}"
    if partner is not None:
        inside = f"{partner.where} in {partner.file.name}" if partner.where else partner.file.name
        yield f"the discriminator is {inside}"


def _raw_warnings(chosen: Candidate, generators: list[Candidate]) -> list[str]:
    """Whether an average of these raw weights lies beside them."""
    if chosen.averaged:
        return []
    name = re.sub(r"(?<![A-Za-z])G(?![A-Za-z])", "G_ema", chosen.file.name)
    averages = [one.file.name for one in generators if one.averaged]
    if name != chosen.file.name and chosen.file.with_name(name).is_file():
        averages.append(name)
    if not averages:
        return []
    return [f"these are raw weights; {averages[0]} beside them has their average"]


def _no_generator(path: Path, candidates: list[Candidate]) -> CheckpointError:
    if not candidates:
        return CheckpointError(
            f"{path} has no file of weights; expected {CONFIG} and {GENERATOR}, or a file that "
            f"ends in {', '.join(SUFFIXES)}"
        )
    first = candidates[0]
    return CheckpointError(
        f"{first.file} is a discriminator of {first.family.name}, and an image needs its "
        "generator; give the generator's file (with this one beside it, both are opened)"
    )
