"""Changing a model for the length of a block: gamma, keys that may not be looked at, classes.

Each of these is a context manager that leaves the model as it found it, bit for bit and also after
an exception. `edit_attention` in attention.py is the general one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .attention import attention_layers, edit_attention, mask_keys
from .batchnorm import ConditionalBatchNorm
from .engine import AnyGenerator
from .model import Generator
from .sample import Sample, checked, generate, latents


@contextmanager
def scaled_gamma(model: nn.Module, layer: str, factor: float) -> Iterator[None]:
    """One layer's gamma times `factor`; 1 changes no bit, 0 takes the layer out.

    The block has another parameter in gamma's place, so no gradient reaches the learnt one.
    Raises KeyError for a layer that the model does not have, ValueError for a factor not finite.
    """
    layers = attention_layers(model)
    if layer not in layers:
        raise KeyError(f"no attention layer {layer!r}; this model has {', '.join(layers)}")
    if not math.isfinite(factor):
        raise ValueError(f"the factor on gamma is {factor}; it must be a finite number")
    chosen = layers[layer]
    learnt = chosen.gamma
    chosen.gamma = nn.Parameter(learnt.detach() * factor)
    try:
        yield
    finally:
        chosen.gamma = learnt


@contextmanager
def without_keys(model: nn.Module, layer: str, cells: Collection[int]) -> Iterator[None]:
    """One layer may not look at these cells of its key grid, given in row-major order.

    The weights that are left are scaled to sum to 1 (`mask_keys`); with no cells nothing changes,
    not by a bit. Raises KeyError for a layer that the model does not have, and IndexError in the
    forward pass for a cell outside the key grid.
    """

    def edit(weights: Tensor) -> Tensor:
        keys = weights.shape[-1]
        outside = [cell for cell in cells if not 0 <= cell < keys]
        if outside:
            raise IndexError(f"key {outside[0]} is outside the {keys} keys of {layer}")
        mask = torch.ones(keys, device=weights.device)
        mask[torch.tensor(list(cells), dtype=torch.long, device=weights.device)] = 0
        return mask_keys(weights, mask)

    if not cells:
        if layer not in attention_layers(model):
            raise KeyError(f"no attention layer {layer!r}")
        yield
        return
    with edit_attention(model, layer, edit):
        yield


def can_mix_classes(generator: nn.Module) -> bool:
    """Whether `mixed_classes` works: the class enters by tables of gains and biases alone."""
    return isinstance(generator, Generator) and generator.config.classes > 0


@contextmanager
def mixed_classes(generator: nn.Module, first: int, second: int, at: float) -> Iterator[None]:
    """Class `first` has gains and biases on the straight line to those of `second`; 1 is there.

    Raises ValueError for a model whose class does not enter by such tables.
    """
    if not can_mix_classes(generator):
        raise ValueError(f"the classes of {type(generator).__name__} cannot be mixed")
    norms = [module for module in generator.modules() if isinstance(module, ConditionalBatchNorm)]
    learnt = [(norm, norm.gain, norm.bias) for norm in norms]
    try:
        for norm, gain, bias in learnt:
            norm.gain, norm.bias = (_mixed(table, first, second, at) for table in (gain, bias))
        yield
    finally:
        for norm, gain, bias in learnt:
            norm.gain, norm.bias = gain, bias


def _mixed(table: nn.Parameter, first: int, second: int, at: float) -> nn.Parameter:
    mixed = table.detach().clone()
    mixed[first] = torch.lerp(table.detach()[first], table.detach()[second], at)
    return nn.Parameter(mixed)


@dataclass(frozen=True)
class Place:
    """One end of a path: a seed and a class, the seed's own where `label` is None."""

    seed: int
    label: int | None = None


def spherical(first: Tensor, second: Tensor, at: float) -> Tensor:
    """From latents `first` (at 0) to `second` (at 1) over the sphere, so that no norm collapses.

    (1, L), (1, L) -> (1, L). Latents in one direction are joined by a straight line.
    Source: White 2016, *Sampling Generative Networks*, section 2.1.
    """
    a, b = first.double().flatten(), second.double().flatten()
    cosine = (a @ b / (a.norm() * b.norm()).clamp_min(1e-300)).clamp(-1, 1).item()
    angle = math.acos(cosine)
    if math.sin(angle) < 1e-6:
        return torch.lerp(first, second, at)
    mixed = math.sin((1 - at) * angle) * a + math.sin(at * angle) * b
    return (mixed / math.sin(angle)).to(first.dtype).reshape(first.shape)


class Start(NamedTuple):
    """What a generator starts from.

    Attributes:
        seed, label: of the nearer end.
        z: (1, latent_size), truncated already; None for the seed's own.
        mixed: classes, and how far it is from the first to the second; None for one class.
    """

    seed: int
    label: int | None
    z: Tensor | None = None
    mixed: tuple[int, int, float] | None = None


def between(
    generator: AnyGenerator, first: Place, second: Place, at: float, truncation: float = 1.0
) -> Start:
    """Where `generate_between` starts; with `mixed`, in a block of `mixed_classes`.

    Raises ValueError for a value outside its range.
    """
    if not 0 <= at <= 1:
        raise ValueError(f"at is {at}; it must be from 0 to 1")
    places = [checked(generator, end.seed, end.label, truncation)[:2] for end in (first, second)]
    seed, label = places[at >= 0.5]
    if at in (0, 1) or places[0] == places[1]:
        return Start(seed, label)
    start, end = (latents(generator, one, 1) for one, _ in places)
    z = truncation * spherical(start, end, at)
    labels = [one for _, one in places if one is not None]
    if not can_mix_classes(generator) or labels[0] == labels[1]:
        return Start(seed, label, z)
    near, far = labels if at < 0.5 else labels[::-1]
    return Start(seed, label, z, (near, far, min(at, 1 - at)))


def generate_between(
    generator: AnyGenerator, first: Place, second: Place, at: float, truncation: float = 1.0
) -> Sample:
    """The image at `at` of the path from one seed and class to another, 0 to 1.

    At 0 and 1 it is bit-equal to `generate` of that end. Between them z goes over the sphere and
    the class on a straight line through gains and biases; where classes cannot be mixed
    (`can_mix_classes`) the class changes at the middle. The sample has the nearer end's seed and
    label. Raises ValueError for a value outside its range.
    """
    start = between(generator, first, second, at, truncation)
    with mixed_classes(generator, *start.mixed) if start.mixed else nullcontext():
        return generate(generator, start.seed, start.label, truncation, start.z)
