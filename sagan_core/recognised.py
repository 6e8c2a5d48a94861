"""What a checkpoint turned out to be, and what its networks are made of, for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from torch import nn

from .attention import SelfAttention
from .engine import (
    AnyDiscriminator,
    AnyGenerator,
    DescribedDiscriminator,
    DescribedGenerator,
)
from .layout import Attention, Layer
from .model import Generator

NEAR_ZERO = 0.01  # of |gamma|: the layer changes its input by about a hundredth at most


@dataclass(frozen=True)
class Recognised:
    """Where a checkpoint comes from, and how that was told.

    Attributes:
        family: the code base that wrote it.
        reasons: what it was recognised by, and which of several files or networks was taken.
        weights: "averaged" over training (EMA), "raw", or "" where that is not known.
        spectral_norms: what weights were divided by, by "generator" or "discriminator", a dot, and
            the source's name of the layer.
        native_names: what the source calls an attention layer, by "generator" or "discriminator",
            a dot, and our name of it.
        warnings: what a person should know before trusting what they see.
    """

    family: str
    reasons: tuple[str, ...] = ()
    weights: Literal["averaged", "raw", ""] = ""
    spectral_norms: Mapping[str, float] = field(default_factory=dict)
    native_names: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recognised:
        """What `to_dict` wrote. Raises ValueError or TypeError for anything else."""
        weights = str(values["weights"])
        if weights not in ("averaged", "raw", ""):
            raise ValueError(f"weights are {weights[:80]!r}")
        return cls(
            str(values["family"]),
            tuple(map(str, values["reasons"])),
            weights,  # type: ignore[arg-type]
            {str(name): float(norm) for name, norm in dict(values["spectral_norms"]).items()},
            {str(name): str(native) for name, native in dict(values["native_names"]).items()},
            tuple(map(str, values["warnings"])),
        )


class Part(NamedTuple):
    """A layer of a network, in forward order.

    Attributes:
        name: its module path.
        resolution, channels: of what it returns.
        parameters: how many numbers it learnt.
        gamma: of an attention layer; None for others.
    """

    name: str
    resolution: int
    channels: int
    parameters: int
    gamma: float | None


def architecture(network: AnyGenerator | AnyDiscriminator) -> tuple[Part, ...]:
    """A network's blocks and attention layers in forward order, by resolution."""
    if isinstance(network, DescribedGenerator):
        shapes = zip(network.layout.sizes, map(_channels, network.layout.layers), strict=True)
        return _parts(network.layers, "layers", shapes)
    if isinstance(network, DescribedDiscriminator):
        sizes = network.layout.sizes(network.config.resolution)
        shapes = zip(sizes, map(_channels, network.layout.layers), strict=True)
        return _parts(network.layers, "layers", shapes)
    config = network.config
    if isinstance(network, Generator):
        ours = [(size, config.generator_channels(size)) for size in config.generator_resolutions]
    else:
        sizes = config.discriminator_resolutions
        ours = [(size, config.discriminator_channels(size)) for size in (*sizes, sizes[-1])]
    return _parts(network.blocks, "blocks", ours)


def _channels(layer: Layer) -> int:
    return layer.channels if isinstance(layer, Attention) else layer.outputs


def _parts(layers: nn.ModuleList, name: str, shapes: Iterable[tuple[int, int]]) -> tuple[Part, ...]:
    """Every layer and, where it has some inside, its attention."""
    parts = []
    for index, (layer, (size, channels)) in enumerate(zip(layers, shapes, strict=True)):
        for inner, module in layer.named_modules():
            if module is layer or isinstance(module, SelfAttention):
                path = ".".join(filter(None, (name, str(index), inner)))
                gamma = module.gamma.item() if isinstance(module, SelfAttention) else None
                parts.append(Part(path, size, channels, _own_parameters(module), gamma))
    return tuple(parts)


def _own_parameters(module: nn.Module) -> int:
    inner = [] if isinstance(module, SelfAttention) else list(module.modules())
    nested = sum(
        sum(p.numel() for p in part.parameters())
        for part in inner
        if isinstance(part, SelfAttention)
    )
    return sum(p.numel() for p in module.parameters()) - nested


def parameter_count(network: nn.Module) -> int:
    """How many numbers a network learnt."""
    return sum(p.numel() for p in network.parameters())


def gamma_warnings(network: nn.Module, which: str) -> list[str]:
    """A sentence for every attention layer that hardly changes what passes through it."""
    return [
        f"gamma of the {which}'s {name} is {module.gamma.item():.2g}: the layer hardly changes "
        "anything, and its map means little"
        for name, module in network.named_modules()
        if isinstance(module, SelfAttention) and abs(module.gamma.item()) < NEAR_ZERO
    ]
