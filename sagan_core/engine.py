"""Networks built from a layout, with the same `SelfAttention` as our own.

Eval only: spectral norms are part of the weights, batch norms use stored statistics. Arithmetic is
the sources', up to rounding; what sets a family apart is in its layout or in its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import SelfAttention
from .layout import (
    Attention,
    Bottleneck,
    DescribedConfig,
    DiscriminatorLayout,
    Down,
    GeneratorLayout,
    Layer,
    Plain,
    Residual,
    Strided,
)
from .model import Discriminator, Generator, SAGANConfig


@dataclass(frozen=True)
class Style:
    """What conditions a norm: the class (B,), or a vector (B, L); and the truncation."""

    labels: Tensor
    vector: Tensor | None
    truncation: float


class Norm(nn.Module):
    """Batch norm with stored statistics, whose gain and bias depend on a `Style`.

    Args:
        rows: of the tables of gain and bias, by class.
        condition: length of the vector that they are linear maps of, gain starting from 1; 0 where
            they are tables.
        statistics: rows of means and variances, for truncations from 0 to 1.
    """

    def __init__(
        self, channels: int, eps: float, rows: int = 1, condition: int = 0, statistics: int = 1
    ) -> None:
        super().__init__()
        self.eps, self.linear = eps, condition > 0
        shape = (channels, condition) if condition else (rows, channels)
        self.gain = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.mean: Tensor
        self.var: Tensor
        self.register_buffer("mean", torch.zeros(statistics, channels))
        self.register_buffer("var", torch.ones(statistics, channels))

    def forward(self, x: Tensor, style: Style) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if style.vector is not None and self.linear:
            gain, bias = 1 + F.linear(style.vector, self.gain), F.linear(style.vector, self.bias)
        else:
            gain, bias = self.gain[style.labels], self.bias[style.labels]  # (B, C)
        scale = gain * (self._row(self.var, style.truncation) + self.eps).rsqrt()
        shift = bias - self._row(self.mean, style.truncation) * scale
        return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])

    @staticmethod
    def _row(table: Tensor, truncation: float) -> Tensor:
        if len(table) == 1:
            return table[0]
        fraction, start = math.modf(truncation / (1.0 / (len(table) - 1)))
        row = table[int(start)]
        if fraction and start + 1 < len(table):
            # The reverse of linear interpolation: what pytorch-pretrained-BigGAN computes.
            row = row * fraction + table[int(start) + 1] * (1 - fraction)
        return row


class ResidualBlock(nn.Module):
    """See `layout.Residual`."""

    def __init__(self, layer: Residual, make_norm: NormMaker) -> None:
        super().__init__()
        self.norm1, self.norm2 = make_norm(layer.inputs), make_norm(layer.hidden)
        self.conv1 = nn.Conv2d(layer.inputs, layer.hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(layer.hidden, layer.outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(layer.inputs, layer.outputs, 1)

    def forward(self, x: Tensor, style: Style) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, 2H, 2W)."""
        h = self.conv1(_doubled(F.relu_(self.norm1(x, style))))
        h = self.conv2(F.relu_(self.norm2(h, style)))
        return h + _doubled(self.shortcut(x))


class BottleneckBlock(nn.Module):
    """See `layout.Bottleneck`."""

    def __init__(self, layer: Bottleneck, make_norm: NormMaker) -> None:
        super().__init__()
        widths = (layer.inputs, layer.hidden, layer.hidden, layer.hidden, layer.outputs)
        self.up, self.outputs = layer.up, layer.outputs
        self.norms = nn.ModuleList(make_norm(width) for width in widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[step], widths[step + 1], kernel, padding=kernel // 2)
            for step, kernel in enumerate((1, 3, 3, 1))
        )

    def forward(self, x: Tensor, style: Style) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W), or twice the size with `up`."""
        h = x
        for step, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = F.relu_(norm(h, style))
            h = conv(_doubled(h) if self.up and step == 1 else h)
        skip = x[:, : self.outputs]
        return h + (_doubled(skip) if self.up else skip)


class PlainBlock(nn.Module):
    """See `layout.Plain`."""

    def __init__(self, layer: Plain, make_norm: NormMaker) -> None:
        super().__init__()
        self.transposed = layer.transposed
        self.conv: nn.Module
        if layer.transposed:
            self.conv = nn.ConvTranspose2d(layer.inputs, layer.outputs, 4, stride=2, padding=1)
        else:
            self.conv = nn.Conv2d(layer.inputs, layer.outputs, 3, padding=1)
        self.norm = make_norm(layer.outputs)

    def forward(self, x: Tensor, style: Style) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, 2H, 2W)."""
        return F.relu(self.norm(self.conv(x if self.transposed else _doubled(x)), style))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class NormMaker:
    """Makes a generator's norms, all alike but for their channels."""

    def __init__(self, config: DescribedConfig, layout: GeneratorLayout) -> None:
        self.eps, self.statistics = layout.norm_eps, layout.statistics
        self.condition = layout.condition(config.latent_size)
        self.rows = max(1, config.classes)

    def __call__(self, channels: int) -> Norm:
        return Norm(channels, self.eps, self.rows, self.condition, self.statistics)


def _embedding(rows: int, width: int) -> nn.Embedding:
    # Drawing initial rows without memory would load torch's compiler, which takes seconds.
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)


def _attention(layer: Attention) -> SelfAttention:
    return SelfAttention(
        layer.channels,
        layer.query,
        layer.value,
        layer.pool,
        bias=layer.bias,
        project=layer.project,
    )


def _upward(layer: Layer, make_norm: NormMaker) -> nn.Module:
    match layer:
        case Residual():
            return ResidualBlock(layer, make_norm)
        case Bottleneck():
            return BottleneckBlock(layer, make_norm)
        case Plain():
            return PlainBlock(layer, make_norm)
        case Attention():
            return _attention(layer)
    raise TypeError(f"{type(layer).__name__} is not a generator's layer")


class DescribedGenerator(nn.Module):
    """z and class -> image in [-1, 1], red, green, blue: `model.Generator`'s part for others.

    Raises ValueError for a config without a generator.
    """

    def __init__(self, config: DescribedConfig) -> None:
        super().__init__()
        if config.generator is None:
            raise ValueError("this config describes no generator")
        self.config, self.layout = config, config.generator
        layout, make_norm = self.layout, NormMaker(config, self.layout)
        self.embedding = _embedding(config.classes, layout.embedding) if layout.embedding else None
        joint = layout.embedding if layout.conditioning == "joint" else 0
        self.start = nn.Linear(
            layout.latents(config.latent_size) + joint, layout.start_channels * layout.start_size**2
        )
        self.start_norm = make_norm(layout.start_channels) if layout.start == "norm" else None
        self.layers = nn.ModuleList(_upward(layer, make_norm) for layer in layout.layers)
        channels = layout.last_channels
        last_norm = Norm(channels, layout.last_eps, statistics=layout.statistics)
        self.norm = last_norm if layout.last_norm else None
        self.to_image: nn.Module
        if layout.last_transposed:
            self.to_image = nn.ConvTranspose2d(channels, config.image_channels, 4, 2, padding=1)
        else:
            self.to_image = nn.Conv2d(channels, config.image_channels, 3, padding=1)

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """(B, latent_size), (B,) class indices -> (B, 3, R, R) in [-1, 1].

        `labels` is required by a class-conditional model and ignored by an unconditional one.
        `truncation`, from 0 to 1, chooses among statistics where a model has several; it does not
        scale z.
        """
        layout, labels = self.layout, class_indices(self.config.classes, labels, z)
        embedded = None if self.embedding is None else self.embedding(labels)
        start, styles = self._styles(z, labels, embedded, truncation)
        x = self.start(start).unflatten(1, (-1, layout.start_size, layout.start_size))
        if self.start_norm is not None:
            x = self.start_norm(x, Style(labels, None, truncation))
        if layout.start != "linear":
            x = F.relu(x)
        for layer in self.layers:
            x = layer(x) if isinstance(layer, SelfAttention) else layer(x, next(styles))
        if self.norm is not None:
            plain = torch.zeros_like(labels)
            x = F.relu(self.norm(x, Style(plain, None, truncation)))
        return torch.tanh(self.to_image(x))

    def _styles(
        self, z: Tensor, labels: Tensor, embedded: Tensor | None, truncation: float
    ) -> tuple[Tensor, Iterator[Style]]:
        """What the projection reads, and a style for every block."""
        layout = self.layout
        if z.shape[1:] != (self.config.latent_size,):
            raise ValueError(
                f"z has shape {tuple(z.shape)}; it must be (batch, {self.config.latent_size})"
            )
        start, *chunks = z.split(layout.chunk, 1) if layout.chunk else (z,)
        vectors: list[Tensor | None] = [None] * layout.blocks
        if embedded is not None and layout.conditioning == "joint":
            start = torch.cat([z, embedded], 1)
            vectors = [start] * layout.blocks
        elif embedded is not None and chunks:
            vectors = [torch.cat([embedded, chunk], 1) for chunk in chunks]
        elif embedded is not None:
            vectors = [embedded] * layout.blocks
        return start, (Style(labels, vector, truncation) for vector in vectors)


class DownBlock(nn.Module):
    """See `layout.Down`."""

    def __init__(self, layer: Down) -> None:
        super().__init__()
        self.first, self.down, self.leak = layer.first, layer.down, layer.leak
        self.conv1 = nn.Conv2d(layer.inputs, layer.hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(layer.hidden, layer.outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(layer.inputs, layer.outputs, 1) if layer.shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H/2, W/2), or the same size without `down`."""
        h = x if self.first else F.relu(x)
        skip = h if self.leak else x
        h = self.conv2(F.relu(self.conv1(h)))
        if self.down:
            h, skip = F.avg_pool2d(h, 2), F.avg_pool2d(skip, 2)
        # A 1x1 convolution commutes with average pooling, and costs a quarter after it.
        return h + (skip if self.shortcut is None else self.shortcut(skip))


class StridedBlock(nn.Module):
    """See `layout.Strided`."""

    def __init__(self, layer: Strided) -> None:
        super().__init__()
        self.slope = layer.slope
        self.conv = nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""
        return F.leaky_relu(self.conv(x), self.slope)


def _downward(layer: Layer) -> nn.Module:
    match layer:
        case Down():
            return DownBlock(layer)
        case Strided():
            return StridedBlock(layer)
        case Attention():
            return _attention(layer)
    raise TypeError(f"{type(layer).__name__} is not a discriminator's layer")


class DescribedDiscriminator(nn.Module):
    """Image and class -> logit: `model.Discriminator`'s part for others.

    Raises ValueError for a config without a discriminator.
    """

    def __init__(self, config: DescribedConfig) -> None:
        super().__init__()
        if config.discriminator is None:
            raise ValueError("this config describes no discriminator")
        self.config, self.layout = config, config.discriminator
        layout: DiscriminatorLayout = self.layout
        self.layers = nn.ModuleList(map(_downward, layout.layers))
        self.to_logit: nn.Module
        if layout.head == "convolution":
            self.to_logit = nn.Conv2d(layout.features, 1, layout.kernel)
        else:
            self.to_logit = nn.Linear(layout.features, 1)
        self.embedding = _embedding(layout.classes, layout.features) if layout.classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, 3, R, R) in [-1, 1], (B,) class indices -> logits (B,)."""
        x = images
        for layer in self.layers:
            x = layer(x)
        if self.layout.head == "convolution":
            return self.to_logit(x).flatten()
        features = (F.relu(x) if self.layout.head == "relu sum" else x).sum((2, 3))  # (B, C)
        logits = self.to_logit(features).squeeze(1)
        if self.embedding is not None:
            labels = class_indices(self.layout.classes, labels, images)
            logits = logits + (features * self.embedding(labels)).sum(1)
        return logits


def class_indices(classes: int, labels: Tensor | None, like: Tensor) -> Tensor:
    """Class indices (B,); zeros for a model without classes. Raises ValueError where they lack."""
    if not classes:
        return torch.zeros(len(like), dtype=torch.long, device=like.device)
    if labels is None:
        raise ValueError(f"this model has {classes} classes: give labels of shape (batch,)")
    return labels


AnyGenerator: TypeAlias = Generator | DescribedGenerator
AnyDiscriminator: TypeAlias = Discriminator | DescribedDiscriminator
AnyConfig: TypeAlias = SAGANConfig | DescribedConfig
