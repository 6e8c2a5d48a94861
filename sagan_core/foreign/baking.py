"""From a code base's tensors to a layout and the engine's tensors, a layer at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ..layout import (
    Attention,
    Bottleneck,
    DiscriminatorLayout,
    Down,
    GeneratorLayout,
    Layer,
    Plain,
    Residual,
    Strided,
)
from .source import LayoutError, SourceTensors


class NormTensors(NamedTuple):
    """A norm's statistics (S, C), and gain and bias: tables (rows, C), or linear maps (C, L)."""

    mean: Tensor
    var: Tensor
    gain: Tensor
    bias: Tensor


class AttentionNames(NamedTuple):
    """What a code base calls the parts of its attention layer; `out` is empty where it has none."""

    query: str = "theta"
    key: str = "phi"
    value: str = "g"
    out: str = "o"
    gamma: str = "gamma"


@dataclass
class NetworkReading:
    """A network read from a file: what it is made of, and its tensors for the engine.

    Attributes:
        places: the native name of each attention layer, by the engine's.
        natives: the same of all layers that have a weight.
        sigmas: spectral norms by native layer, before they went into the weights.
        latent_size, classes: of a generator; a discriminator has only classes.
        channels: the order of the source's colours; the tensors already have red first.
        bounded_latents: the source draws z cut off at 2.
        notes: what the tensors alone did not tell, and was taken from elsewhere or assumed.
        data: what it was trained on, where the file tells.
    """

    layout: GeneratorLayout | DiscriminatorLayout
    tensors: dict[str, Tensor]
    places: dict[str, str]
    natives: dict[str, str]
    sigmas: dict[str, float]
    classes: int
    latent_size: int = 0
    channels: str = "RGB"
    bounded_latents: bool = False
    notes: list[str] = field(default_factory=list)
    data: str = ""

    def called(self, name: str) -> str:
        """What the source calls the layer of one of the engine's tensors, as far as is known."""
        layer = name
        while layer and layer not in self.natives:
            layer = layer.rpartition(".")[0]
        block = ".".join(name.split(".")[:2])
        near = (native for ours, native in self.natives.items() if ours.startswith(f"{block}."))
        native = self.natives.get(layer) or next((one.rpartition(".")[0] for one in near), "")
        return f"{native} (here {name})" if native else name


class Baker:
    """Collects layers and the engine's tensors while a family's file is read in forward order."""

    def __init__(self, source: SourceTensors) -> None:
        self.source = source
        self.layers: list[Layer] = []
        self.tensors: dict[str, Tensor] = {}
        self.places: dict[str, str] = {}
        self.natives: dict[str, str] = {}

    def put(self, target: str, weight: Tensor, bias: Tensor) -> None:
        """A convolution's or linear map's weight and bias."""
        self.tensors[f"{target}.weight"], self.tensors[f"{target}.bias"] = weight, bias

    def convolution(self, target: str, native: str) -> Tensor:
        """Copy a convolution or linear map; returns its weight."""
        weight = self.source.weight(native)
        if weight.dim() < 2:
            raise LayoutError(f"{native} has a weight of shape {tuple(weight.shape)}")
        self.put(target, weight, self.source.bias(native, weight.shape[0]))
        self.natives[target] = native
        return weight

    def norm(self, target: str, norm: NormTensors) -> int:
        """Copy a norm; returns its channels."""
        for name, tensor in zip(norm._fields, norm, strict=True):
            self.tensors[f"{target}.{name}"] = tensor.contiguous()
        return norm.mean.shape[-1]

    def residual(self, convs: Sequence[str], norms: Sequence[NormTensors]) -> None:
        """An up-block: names of its two convolutions and its shortcut, and two norms."""
        target = f"layers.{len(self.layers)}"
        first, second = (
            self.convolution(f"{target}.conv{step}", convs[step - 1]) for step in (1, 2)
        )
        self.convolution(f"{target}.shortcut", convs[2])
        for step, norm in enumerate(norms, start=1):
            self.norm(f"{target}.norm{step}", norm)
        self.layers.append(Residual(first.shape[1], first.shape[0], second.shape[0]))

    def bottleneck(self, convs: Sequence[str], norms: Sequence[NormTensors], up: bool) -> None:
        """BigGAN-deep's block: four convolutions and the norms before them."""
        target = f"layers.{len(self.layers)}"
        weights = [
            self.convolution(f"{target}.convs.{step}", conv) for step, conv in enumerate(convs)
        ]
        for step, norm in enumerate(norms):
            self.norm(f"{target}.norms.{step}", norm)
        self.layers.append(
            Bottleneck(weights[0].shape[1], weights[0].shape[0], weights[-1].shape[0], up)
        )

    def plain(self, conv: str, norm: NormTensors, transposed: bool) -> None:
        """A block without shortcut."""
        target = f"layers.{len(self.layers)}"
        weight = self.source.weight(conv)
        inputs, outputs = weight.shape[:2] if transposed else weight.shape[1::-1]
        self.put(f"{target}.conv", weight, self.source.bias(conv, outputs))
        self.norm(f"{target}.norm", norm)
        self.layers.append(Plain(inputs, outputs, transposed))

    def down(self, convs: Sequence[str], first: bool, down: bool, leak: bool = False) -> None:
        """A down-block: two convolutions, and a shortcut where a third name is given."""
        target = f"layers.{len(self.layers)}"
        conv1, conv2 = (
            self.convolution(f"{target}.conv{step}", convs[step - 1]) for step in (1, 2)
        )
        if shortcut := len(convs) > 2:
            self.convolution(f"{target}.shortcut", convs[2])
        widths = (conv1.shape[1], conv1.shape[0], conv2.shape[0])
        self.layers.append(Down(*widths, first, down, shortcut, leak))

    def strided(self, conv: str, stride: int, slope: float) -> None:
        """A convolution of a discriminator without shortcuts."""
        weight = self.convolution(f"layers.{len(self.layers)}.conv", conv)
        outputs, inputs, kernel = weight.shape[:3]
        self.layers.append(Strided(inputs, outputs, kernel, stride, slope))

    def attention(self, native: str, names: AttentionNames, pool: bool = True) -> None:
        """An attention layer, its maps as 1x1 convolutions whatever the source made of them."""
        target = f"layers.{len(self.layers)}"
        roles = ["query", "key", "value"] + ["out"] * bool(names.out)
        layers = {role: f"{native}.{getattr(names, role)}" for role in roles}
        bias = f"{layers['query']}.bias" in self.source
        shapes = {}
        for role, layer in layers.items():
            weight = self.source.weight(layer)
            shapes[role] = weight.shape
            self.tensors[f"{target}.{role}.weight"] = weight.reshape(*weight.shape[:2], 1, 1)
            if bias:
                self.tensors[f"{target}.{role}.bias"] = self.source.take(f"{layer}.bias")
        gamma = self.source.take(f"{native}.{names.gamma}")
        if gamma.numel() != 1:
            raise LayoutError(f"{native}.{names.gamma} has shape {tuple(gamma.shape)}, not one")
        self.tensors[f"{target}.gamma"] = gamma.reshape(())
        self.places[target] = self.natives[target] = native
        query, channels = shapes["query"][:2]
        value = shapes["value"][0]
        self.layers.append(Attention(channels, query, value, pool, bias, bool(names.out)))

    def start(self, native: str, channels: int) -> tuple[int, int]:
        """The map from z to the first feature map; returns its inputs and that map's size."""
        weight = self.convolution("start", native)
        size = math.isqrt(weight.shape[0] // max(1, channels))
        if size < 1 or channels * size**2 != weight.shape[0]:
            raise LayoutError(
                f"{native} makes {weight.shape[0]} numbers, no square map of {channels} channels"
            )
        return weight.shape[1], size

    def start_channels(self) -> int:
        """What the first block reads."""
        first = self.layers[0]
        return first.channels if isinstance(first, Attention) else first.inputs

    def reverse_colours(self, weight: str, axis: int) -> None:
        """Turn a network that makes or reads blue, green, red into one of red, green, blue."""
        self.tensors[weight] = self.tensors[weight].flip(axis)

    def finished(
        self, layout: GeneratorLayout | DiscriminatorLayout, **about: Any
    ) -> NetworkReading:
        """The reading. Raises LayoutError where tensors are left over."""
        left = self.source.left_over()
        if left:
            raise LayoutError(f"nothing asks for its tensors {', '.join(left[:5])}")
        tensors = {name: self.source.detached(tensor) for name, tensor in self.tensors.items()}
        return NetworkReading(
            layout, tensors, self.places, self.natives, self.source.sigmas, **about
        )


def finish_projection(
    baker: Baker, linear: str, embedding: str, relu: bool = True
) -> NetworkReading:
    """A discriminator's head: [ReLU], sum, a linear map, and a projection where it has one."""
    weight, classes = baker.convolution("to_logit", linear), 0
    if weight.shape[0] != 1:
        raise LayoutError(f"{linear} makes {weight.shape[0]} numbers, not one logit")
    if baker.source.has_weight(embedding):
        baker.tensors["embedding.weight"] = table = baker.source.weight(embedding)
        classes = len(table)
    layout = DiscriminatorLayout(
        tuple(baker.layers), weight.shape[1], "relu sum" if relu else "sum", classes=classes
    )
    return baker.finished(layout, classes=classes)


def place_of(channels: int, outputs: Sequence[int], usual: int) -> int:
    """Behind which block attention stands that has no index: the usual one, if its width fits.

    Otherwise the only one whose width fits. Raises LayoutError where there is no such block.
    """
    fitting = [place for place, width in enumerate(outputs) if width == channels]
    if usual in fitting:
        return usual
    if len(fitting) != 1:
        raise LayoutError(f"attention over {channels} channels fits no single block of {outputs}")
    return fitting[0]


def table_norm(statistics: tuple[Tensor, Tensor], gain: Tensor, bias: Tensor) -> NormTensors:
    """A norm with tables of gain and bias (rows, C), or one row (C,) of each."""
    mean, var = statistics
    channels = mean.shape[-1]
    return NormTensors(
        mean.reshape(-1, channels),
        var.reshape(-1, channels),
        gain.reshape(-1, gain.shape[-1]),
        bias.reshape(-1, bias.shape[-1]),
    )


def running(source: SourceTensors, native: str) -> tuple[Tensor, Tensor]:
    """torch's batch norm's statistics."""
    return source.take(f"{native}.running_mean"), source.take(f"{native}.running_var")


def affine_norm(source: SourceTensors, native: str) -> NormTensors:
    """torch's `BatchNorm2d` with weight and bias."""
    return table_norm(
        running(source, native), source.take(f"{native}.weight"), source.take(f"{native}.bias")
    )


def halved_table(table: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and bias from one table (rows, 2C): its first half is the gain, used as it is."""
    gain, bias = table.chunk(2, 1)
    return gain.contiguous(), bias.contiguous()


def indices(source: SourceTensors, pattern: str) -> list[int]:
    """The numbers at `{}` in names such as "blocks.{}.", ascending."""
    start, _, rest = pattern.partition("{}")
    found = set()
    for name in source.names():
        if name.startswith(start):
            number, dot, tail = name[len(start) :].partition(".")
            if number.isdecimal() and len(number) < 5 and (dot + tail).startswith(rest):
                found.add(int(number))
    return sorted(found)


def contiguous_indices(source: SourceTensors, pattern: str) -> list[int]:
    """As `indices`. Raises LayoutError where they do not run 0, 1, 2, ..."""
    found = indices(source, pattern)
    if not found or found != list(range(len(found))):
        raise LayoutError(f"its tensors {pattern.format('N')}* run {found[:8]}, not 0, 1, 2, ...")
    return found
