"""What a checkpoint turned out to be, and what its networks are made of, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from .attention import SelfAttention
from .engine import AnyDiscriminator, AnyGenerator

NEAR_ZERO = 0.01  # of |gamma|: the layer changes its input by about a hundredth at most


@dataclass(frozen=True)
class Recognised:
    """Where a checkpoint comes from, and how that was told.

    Attributes:
        family: the code base that wrote it.
        reasons: what it was recognised by, and which of several files or networks was taken.
        weights: "averaged" over training (EMA), "raw", or "" where that is not known.
        spectral_norms: what weights were divided by, by the source's name of the layer.
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
    """A network's blocks and attention layers by the resolution that they work at.

    Found by a forward pass of a copy without numbers, so it costs no arithmetic.
    """
    with torch.device("meta"):
        copy: nn.Module = type(network)(network.config)  # type: ignore[arg-type]
    shapes: dict[str, torch.Size] = {}
    for name, module in _parts(copy).items():
        module.register_forward_hook(_remember(shapes, name))
    config = network.config
    is_generator = hasattr(network, "to_image")
    size = (
        (config.latent_size,)
        if is_generator
        else (config.image_channels,) + 2 * (config.resolution,)
    )
    labels = torch.zeros(1, dtype=torch.long, device="meta") if config.classes else None
    with torch.no_grad():
        copy.eval()(torch.zeros(1, *size, device="meta"), labels)
    modules = _parts(network)
    return tuple(
        Part(name, shapes[name][-1], shapes[name][1], _own_parameters(module), _gamma(module))
        for name, module in modules.items()
        if name in shapes
    )


def _parts(network: nn.Module) -> dict[str, nn.Module]:
    """Entries of the network's lists of layers, and attention layers inside them."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, SelfAttention)
        or (name.count(".") == 1 and name.split(".")[0] in ("blocks", "layers"))
    }


def _remember(shapes: dict[str, torch.Size], name: str) -> Any:
    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        shapes[name] = output.shape

    return hook


def _own_parameters(module: nn.Module) -> int:
    inner = [] if isinstance(module, SelfAttention) else list(module.modules())
    nested = sum(
        sum(p.numel() for p in part.parameters())
        for part in inner
        if isinstance(part, SelfAttention)
    )
    return sum(p.numel() for p in module.parameters()) - nested


def _gamma(module: nn.Module) -> float | None:
    return module.gamma.item() if isinstance(module, SelfAttention) else None


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
