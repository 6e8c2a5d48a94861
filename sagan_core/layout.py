"""What a network of another code base is made of: a description that fits in JSON.

A layout says which layers follow one another and how wide they are; `engine.py` builds the network.
Nothing in it is specific to a code base: its quirks are resolved into weights when a file is read,
or are named here as what they do.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

LARGEST = 1 << 24  # of any whole number in a layout
LAYERS = 512

Made = TypeVar("Made")


@dataclass(frozen=True)
class Residual:
    """Norm, ReLU, nearest x2, conv 3x3, norm, ReLU, conv 3x3, plus a 1x1 shortcut, doubled."""

    inputs: int
    hidden: int
    outputs: int


@dataclass(frozen=True)
class Bottleneck:
    """BigGAN-deep: four times norm, ReLU, conv (1x1, 3x3, 3x3, 1x1), plus the first channels of x.

    `up` doubles the resolution before the second convolution and in the skip.
    """

    inputs: int
    hidden: int
    outputs: int
    up: bool


@dataclass(frozen=True)
class Plain:
    """A convolution that doubles the resolution, norm, ReLU; no shortcut.

    `transposed`: a transposed convolution 4x4 of stride 2; otherwise nearest x2 and a conv 3x3.
    """

    inputs: int
    outputs: int
    transposed: bool


@dataclass(frozen=True)
class Attention:
    """A `SelfAttention` layer: widths of query (and key) and value, and how it is made."""

    channels: int
    query: int
    value: int
    pool: bool
    bias: bool
    project: bool


@dataclass(frozen=True)
class Down:
    """A discriminator's residual block: [ReLU], conv 3x3, ReLU, conv 3x3, plus a shortcut.

    Attributes:
        first: no leading ReLU, as the block reads an image.
        down: halve the resolution by averaging.
        shortcut: a 1x1 convolution; otherwise the identity.
        leak: the leading ReLU works in place in the source, so that its shortcut sees relu(x).
    """

    inputs: int
    hidden: int
    outputs: int
    first: bool
    down: bool
    shortcut: bool
    leak: bool


@dataclass(frozen=True)
class Strided:
    """A convolution and a leaky ReLU; padding 1."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    slope: float


Layer = Union[Residual, Bottleneck, Plain, Attention, Down, Strided]  # noqa: UP007
UPWARD, DOWNWARD = (Residual, Bottleneck, Plain, Attention), (Down, Strided, Attention)
KINDS: dict[str, type[Layer]] = {
    kind.__name__.lower(): kind for kind in (Residual, Bottleneck, Plain, Attention, Down, Strided)
}


@dataclass(frozen=True)
class GeneratorLayout:
    """From z and a class to an image.

    Attributes:
        layers: in forward order, attention among them.
        start_channels, start_size: what z is projected to.
        start: what follows the projection: nothing, a ReLU, or a norm and a ReLU.
        conditioning: what norms are given. "table": the class, looked up in a table per norm (one
            row where there are no classes). "shared": an embedding of the class and this block's
            chunk of z, mapped linearly. "joint": z and the embedding, mapped linearly.
        embedding: length of the class's embedding, 0 for a table.
        chunk: length of z's chunks, one for the start and one per block; 0 where z is not split.
        norm_eps, last_eps: added to variances, in the layers and in the last norm.
        statistics: rows of means and variances, one per truncation from 0 to 1; mostly 1.
        last_norm: a norm and a ReLU come before the last convolution.
        last_transposed: that is a transposed 4x4 one of stride 2; otherwise 3x3.
    """

    layers: tuple[Layer, ...]
    start_channels: int
    start_size: int = 4
    start: Literal["linear", "relu", "norm"] = "linear"
    conditioning: Literal["table", "shared", "joint"] = "table"
    embedding: int = 0
    chunk: int = 0
    norm_eps: float = 1e-5
    last_eps: float = 1e-5
    statistics: int = 1
    last_norm: bool = True
    last_transposed: bool = False

    def __post_init__(self) -> None:
        if not all(isinstance(layer, UPWARD) for layer in self.layers):
            raise ValueError("a generator's layout has layers of a discriminator")
        if len(self.layers) > LAYERS:
            raise ValueError(f"{len(self.layers)} layers; at most {LAYERS} are accepted")

    @property
    def blocks(self) -> int:
        """How many layers are not attention."""
        return sum(not isinstance(layer, Attention) for layer in self.layers)

    def latents(self, latent_size: int) -> int:
        """Length of what the projection gets of z, before any embedding."""
        return self.chunk or latent_size

    def condition(self, latent_size: int) -> int:
        """Length of what a norm is given; 0 for a table."""
        return {
            "table": 0,
            "shared": self.embedding + self.chunk,
            "joint": self.embedding + latent_size,
        }[self.conditioning]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The resolution after every layer."""
        size, sizes = self.start_size, []
        for layer in self.layers:
            if isinstance(layer, (Residual, Plain)) or (isinstance(layer, Bottleneck) and layer.up):
                size *= 2
            sizes.append(size)
        return tuple(sizes)

    @property
    def resolution(self) -> int:
        """Height and width of the image."""
        return (self.sizes or (self.start_size,))[-1] * (2 if self.last_transposed else 1)

    @property
    def last_channels(self) -> int:
        """What the last convolution reads."""
        outputs = [layer.outputs for layer in self.layers if not isinstance(layer, Attention)]
        return ([self.start_channels, *outputs])[-1]


@dataclass(frozen=True)
class DiscriminatorLayout:
    """From an image and a class to a logit.

    Attributes:
        layers: in forward order, attention among them.
        features: channels after the last layer.
        head: "relu sum" and "sum": [ReLU], sum over positions, a linear map, and where there are
            classes the projection on an embedding; "convolution": one that covers the map.
        kernel: of that convolution.
        classes: of the projection; 0 where there is none.
    """

    layers: tuple[Layer, ...]
    features: int
    head: Literal["relu sum", "sum", "convolution"] = "relu sum"
    kernel: int = 4
    classes: int = 0

    def __post_init__(self) -> None:
        if not all(isinstance(layer, DOWNWARD) for layer in self.layers):
            raise ValueError("a discriminator's layout has layers of a generator")
        if len(self.layers) > LAYERS:
            raise ValueError(f"{len(self.layers)} layers; at most {LAYERS} are accepted")

    def sizes(self, resolution: int) -> tuple[int, ...]:
        """The resolution after every layer, for images of `resolution`."""
        sizes = []
        for layer in self.layers:
            if isinstance(layer, Down):
                resolution //= 1 + layer.down
            elif isinstance(layer, Strided):
                resolution = (resolution + 2 - layer.kernel) // layer.stride + 1
            sizes.append(resolution)
        return tuple(sizes)


@dataclass(frozen=True)
class DescribedConfig:
    """A model of another code base; answers what `SAGANConfig` answers. Raises ValueError.

    Attributes:
        family: the code base.
        resolution: height and width of the images in pixels.
        image_channels: 3: red, green, blue, also where the source has them the other way round.
        classes: number of classes, 0 for an unconditional model.
        latent_size: length of z, all its chunks together.
        generator, discriminator: what they are made of; None for one that is not there.
        bounded_latents: z is drawn from a normal distribution cut off at 2.
        source_channels: the order of the source's colours, before it was resolved.
    """

    family: str
    resolution: int
    classes: int
    latent_size: int
    generator: GeneratorLayout | None = None
    discriminator: DiscriminatorLayout | None = None
    image_channels: int = 3
    bounded_latents: bool = False
    source_channels: Literal["RGB", "BGR"] = "RGB"

    def __post_init__(self) -> None:
        if self.resolution < 1 or self.image_channels != 3:
            raise ValueError(f"images of {self.resolution} pixels, {self.image_channels} channels")
        layout = self.generator
        if layout is None:
            return
        if layout.resolution != self.resolution:
            raise ValueError(f"layers for {layout.resolution} pixels, not {self.resolution}")
        if layout.chunk and layout.chunk * (layout.blocks + 1) != self.latent_size:
            raise ValueError(f"chunks of {layout.chunk} do not make up z of {self.latent_size}")

    @classmethod
    def from_dict(cls, values: Any) -> DescribedConfig:
        """The config that `to_dict` wrote. Raises ValueError for anything else."""
        return _made(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; every layer with its `kind`."""
        values = asdict(self)
        for name in ("generator", "discriminator"):
            layout = getattr(self, name)
            if layout is not None:
                values[name]["layers"] = [
                    {"kind": type(layer).__name__.lower(), **asdict(layer)}
                    for layer in layout.layers
                ]
        return values

    @property
    def attention(self) -> tuple[int, ...]:
        """Resolutions at which the generator has attention, in forward order."""
        layout = self.generator
        return _attention_sizes(layout.layers, layout.sizes) if layout else ()

    @property
    def discriminator_attention(self) -> tuple[int, ...]:
        """Resolutions at which the discriminator has attention, in forward order."""
        layout = self.discriminator
        return _attention_sizes(layout.layers, layout.sizes(self.resolution)) if layout else ()


def _attention_sizes(layers: tuple[Layer, ...], sizes: tuple[int, ...]) -> tuple[int, ...]:
    pairs = zip(layers, sizes, strict=True)
    return tuple(size for layer, size in pairs if isinstance(layer, Attention))


def _made(kind: type[Made], values: Any) -> Made:
    """A dataclass from JSON's values, every field of the type that it declares."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__} is {repr(values)[:80]}; it must be an object")
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(values) - known))
    if unknown:
        raise ValueError(f"unknown settings {unknown[:5]} of {kind.__name__}")
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _checked(name, hints[name], values[name]) for name in values})
    except TypeError as error:
        raise ValueError(f"{kind.__name__} lacks a setting: {error}") from error


def _checked(name: str, hint: Any, value: Any) -> Any:
    if hint == tuple[Layer, ...]:
        return tuple(map(_layer, value if isinstance(value, list) else [value]))
    if get_origin(hint) is types.UnionType:
        hint = get_args(hint)[0]
        return None if value is None else _made(hint, value)
    if get_origin(hint) is Literal:
        holds, accepted = value in get_args(hint), f"one of {get_args(hint)}"
    elif hint is int:
        holds = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
        accepted = f"a whole number from 0 to {LARGEST}"
    elif hint is float:
        holds = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
        accepted = "a number from 0 to 1"
    else:
        holds, accepted = isinstance(value, hint), f"a {hint.__name__}"
    if not holds:
        raise ValueError(f"{name} is {repr(value)[:80]}; it must be {accepted}")
    return value


def _layer(values: Any) -> Layer:
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if kind not in KINDS:
        raise ValueError(f"a layer's kind is {repr(kind)[:80]}; it must be one of {list(KINDS)}")
    return _made(KINDS[kind], {name: value for name, value in values.items() if name != "kind"})
