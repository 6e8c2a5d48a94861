"""SAGAN's generator and discriminator.

The authors' released TensorFlow code is the source of truth (`SAGANConfig.paper()`); the paper's
text, which differs in the attention block, is a setting (`SAGANConfig.paper_text()`).

Source: Zhang et al. 2018, arXiv 1805.08318, appendix and released code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from .attention import SelfAttention, without_autocast
from .batchnorm import BatchNorm, ConditionalBatchNorm

RESOLUTIONS = (32, 64, 128, 256)


@dataclass(frozen=True)
class SAGANConfig:
    """Everything that fixes the networks' shapes. Raises ValueError for a value out of place.

    Attributes:
        resolution: height and width of the images in pixels.
        image_channels: 3 for colour, 1 for grey.
        classes: number of classes, 0 for an unconditional model.
        latent_size: length of z.
        width: channels of the generator's last block and the discriminator's first.
        attention: resolutions after whose generator block attention sits.
        discriminator_attention: the same in the discriminator.
        pool_keys: max-pool keys and values 2x2 (the released code; the paper's text does not).
        query_divisor: queries and keys have channels / query_divisor channels.
        value_divisor: values have channels / value_divisor channels.
        centre_queries, query_scale: of `SelfAttention`; not in the paper, which has False and 1.
        residual_instead: a residual block with as many parameters in attention's place.
        generator_spectral_norm: spectral norm in the generator too, not in the discriminator alone.
    """

    resolution: int = 128
    image_channels: int = 3
    classes: int = 0
    latent_size: int = 128
    width: int = 64
    attention: tuple[int, ...] = (32,)
    discriminator_attention: tuple[int, ...] = (32,)
    pool_keys: bool = True
    query_divisor: int = 8
    value_divisor: int = 2
    centre_queries: bool = False
    query_scale: float = 1.0
    residual_instead: bool = False
    generator_spectral_norm: bool = True

    @classmethod
    def paper(cls) -> SAGANConfig:
        """The ImageNet 128x128 model of the authors' released code."""
        return cls(classes=1000)

    @classmethod
    def paper_text(cls) -> SAGANConfig:
        """The same with the attention block as the paper's text has it."""
        return cls(classes=1000, pool_keys=False, value_divisor=8)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SAGANConfig:
        """The config that `dataclasses.asdict` wrote. Raises ValueError for an unknown field."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"unknown model settings {unknown}; known are {', '.join(cls.__dataclass_fields__)}"
            )
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})

    def __post_init__(self) -> None:
        for name, least, most in (
            ("resolution", 32, 256),
            ("image_channels", 1, 3),
            ("classes", 0, 1_000_000),
            ("latent_size", 1, 65_536),
            ("width", 1, 4096),
            ("query_divisor", 1, 4096),
            ("value_divisor", 1, 4096),
        ):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            holds = whole and least <= value <= most
            self._require(name, holds, f"a whole number from {least} to {most}")
        self._require("resolution", self.resolution in RESOLUTIONS, f"one of {RESOLUTIONS}")
        self._require("image_channels", self.image_channels in (1, 3), "1 or 3")
        for name in ("pool_keys", "centre_queries", "residual_instead", "generator_spectral_norm"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        scale = self.query_scale
        holds = isinstance(scale, (int, float)) and not isinstance(scale, bool) and 0 < scale <= 100
        self._require("query_scale", holds, "a number above 0 and up to 100")
        self._require_places("attention", self.generator_resolutions, self.generator_channels)
        self._require_places(
            "discriminator_attention", self.discriminator_resolutions, self.discriminator_channels
        )

    def _require(self, field: str, holds: bool, accepted: str) -> None:
        if not holds:
            raise ValueError(f"{field} is {repr(getattr(self, field))[:80]}; it must be {accepted}")

    def _require_places(self, field: str, possible: tuple[int, ...], channels: Any) -> None:
        places = getattr(self, field)
        holds = isinstance(places, tuple) and len(set(places)) == len(places)
        self._require(
            field,
            holds and set(places) <= set(possible),
            f"a tuple of different resolutions out of {possible}",
        )
        divisor = max(self.query_divisor, self.value_divisor)
        for place in places:
            self._require(
                "width",
                channels(place) >= divisor,
                f"large enough for attention at {place}x{place}: that block has {channels(place)} "
                f"channels, and queries or values get 1/{divisor} of them",
            )

    @property
    def generator_resolutions(self) -> tuple[int, ...]:
        """Output resolutions of the generator's blocks: 8, 16, ..., resolution."""
        return tuple(2**k for k in range(3, self.resolution.bit_length()))

    @property
    def discriminator_resolutions(self) -> tuple[int, ...]:
        """Output resolutions of the discriminator's down-blocks: resolution / 2, ..., 4."""
        return tuple(size // 2 for size in reversed(self.generator_resolutions))

    def generator_channels(self, resolution: int) -> int:
        """Output channels of the generator's block at `resolution`: 1 width at the last one."""
        return self.width * min(16, self.resolution // max(8, resolution))

    def discriminator_channels(self, resolution: int) -> int:
        """Output channels of the discriminator's block at `resolution`: 1 width at the first."""
        return self.width * min(16, self.resolution // (2 * resolution))


class SpectralNorm(_SpectralNorm):
    """torch's spectral norm, kept in float32 under autocast.

    One power iteration per training forward while `iterate`, none in eval. Miyato et al. 2018.
    """

    iterate = True

    def forward(self, weight: Tensor) -> Tensor:
        with without_autocast(weight.device):
            return super().forward(weight)

    def _power_method(self, weight_mat: Tensor, n_power_iterations: int) -> None:
        if self.iterate:
            super()._power_method(weight_mat, n_power_iterations)


@contextmanager
def without_power_iteration(network: nn.Module) -> Iterator[None]:
    """Keep spectral norm's vectors as they are for a block; sigma still follows the weights.

    The released code iterates in one of a step's discriminator passes (there the one over real
    images) and leaves the vectors alone in the others.
    """
    norms = [module for module in network.modules() if isinstance(module, SpectralNorm)]
    former = [norm.iterate for norm in norms]
    for norm in norms:
        norm.iterate = False
    try:
        yield
    finally:
        for norm, iterate in zip(norms, former, strict=True):
            norm.iterate = iterate


def _initialise(network: nn.Module, spectral_norm: bool = True) -> None:
    """Xavier-uniform weights and zero biases, then spectral norm on every weight.

    In this order: an initialisation after the parametrization would silently do nothing.
    Conditional batch norm keeps its tables as plain parameters, so it is left alone.
    """
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
            nn.init.xavier_uniform_(module.weight)
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor):
                nn.init.zeros_(bias)
            if spectral_norm:
                parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))


def _pooled_kernel(weight: Tensor) -> Tensor:
    """A 3x3 kernel joined with a 2x2 average: (O, I, 3, 3) -> (O, I, 4, 4)."""
    return F.avg_pool2d(weight, 2, stride=1, padding=1)


def pooled_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """avg_pool2d(conv(x), 2) for a 3x3 convolution, as one 4x4 convolution of stride 2.

    Exact up to rounding, and 2.25 times fewer multiplications. (B, I, 2H, 2W) -> (B, O, H, W).
    """
    return F.conv2d(x, _pooled_kernel(conv.weight), conv.bias, stride=2, padding=1)


def upsampled_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(nearest x2 of x) for a 3x3 convolution, as one 4x4 transposed convolution of stride 2.

    Exact up to rounding, and 2.25 times fewer multiplications. (B, I, H, W) -> (B, O, 2H, 2W).
    """
    kernel = 4 * _pooled_kernel(conv.weight.flip(2, 3)).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """x + gamma * conv 1x1(ReLU(conv 3x3(ReLU(x)))), gamma from 0: what attention is compared with.

    A local block of attention's size (section 5.2 of the paper has one in its place). With C/8
    hidden channels it has 1.25 C^2 + 1 parameters, those of the released attention block.
    """

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(hidden_channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.gamma * self.conv2(F.relu(self.conv1(F.relu(x))))


def _attention(config: SAGANConfig, channels: int, present: bool) -> nn.Module:
    if not present:
        return nn.Identity()
    query_channels, value_channels = (
        channels // config.query_divisor,
        channels // config.value_divisor,
    )
    if config.residual_instead:
        # Ten weights per channel and hidden channel against two per query's and per value's.
        return ResidualBlock(channels, max(1, round((query_channels + value_channels) / 5)))
    return SelfAttention(
        channels,
        query_channels,
        value_channels,
        config.pool_keys,
        config.centre_queries,
        config.query_scale,
    )


class UpBlock(nn.Module):
    """CBN, ReLU, nearest x2, conv 3x3, CBN, ReLU, conv 3x3, plus a 1x1 shortcut; then attention."""

    def __init__(self, in_channels: int, out_channels: int, classes: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(in_channels, classes)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = ConditionalBatchNorm(out_channels, classes)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self.attention: nn.Module = nn.Identity()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(B, C_in, H, W), (B,) -> (B, C_out, 2H, 2W)."""
        h = F.relu_(self.norm1(x, labels))
        if x.shape[2] <= 4 and x.device.type == "cpu":
            # So small that a CPU is longer over the larger kernel (benchmarks/rewrites.py).
            h = self.conv1(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        else:
            h = upsampled_conv(h, self.conv1)
        h = self.conv2(F.relu_(self.norm2(h, labels)))
        # A 1x1 convolution commutes with nearest upsampling, and costs a quarter before it.
        return self.attention(h + F.interpolate(self.shortcut(x), scale_factor=2.0, mode="nearest"))


class Generator(nn.Module):
    """z and class -> image in [-1, 1]. Training mode uses the batch's statistics."""

    def __init__(self, config: SAGANConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.generator_resolutions
        channels = [config.generator_channels(size) for size in (4, *sizes)]
        self.project = nn.Linear(config.latent_size, channels[0] * 4 * 4)
        self.blocks = nn.ModuleList(
            UpBlock(c_in, c_out, config.classes) for c_in, c_out in pairwise(channels)
        )
        for block, size, width in zip(self.blocks, sizes, channels[1:], strict=True):
            block.attention = _attention(config, width, size in config.attention)
        self.norm = BatchNorm(channels[-1], eps=1e-5, momentum=0.0001)
        self.to_image = nn.Conv2d(channels[-1], config.image_channels, 3, padding=1)
        _initialise(self, config.generator_spectral_norm)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, latent_size) ~ N(0, 1), (B,) class indices -> (B, image_channels, R, R) in [-1, 1].

        `labels` is required by a class-conditional model and ignored by an unconditional one.
        """
        labels = _labels(self.config, labels, z)
        x = self.project(z).unflatten(1, (-1, 4, 4))  # (B, C, 4, 4)
        if self.training:  # what convolutions are fastest with, and other layers keep
            x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, labels)
        return torch.tanh(self.to_image(F.relu_(self.norm(x))))


class DownBlock(nn.Module):
    """ReLU, conv 3x3, ReLU, conv 3x3, average pool, plus a 1x1 shortcut; then attention.

    Args:
        first: no leading ReLU, as the block reads an image.
        down: halve the resolution; without it the shortcut is the identity.
    """

    def __init__(
        self, in_channels: int, out_channels: int, first: bool = False, down: bool = True
    ) -> None:
        super().__init__()
        self.first, self.down = first, down
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if down:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self.attention: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H/2, W/2), or the same size without `down`."""
        # In place on what a convolution made, never on x: the shortcut reads that.
        h = F.relu_(self.conv1(x if self.first else F.relu(x)))
        if not self.down:
            return self.attention(self.conv2(h) + x)
        # A 1x1 convolution commutes with average pooling, and costs a quarter after it.
        return self.attention(pooled_conv(h, self.conv2) + self.shortcut(F.avg_pool2d(x, 2)))


class Discriminator(nn.Module):
    """Image and class -> logit, by projection (Miyato and Koyama 2018)."""

    def __init__(self, config: SAGANConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.discriminator_resolutions
        channels = [config.image_channels, *map(config.discriminator_channels, sizes)]
        self.blocks = nn.ModuleList(
            DownBlock(c_in, c_out, first=index == 0)
            for index, (c_in, c_out) in enumerate(pairwise(channels))
        )
        for block, size, width in zip(self.blocks, sizes, channels[1:], strict=True):
            block.attention = _attention(config, width, size in config.discriminator_attention)
        self.blocks.append(DownBlock(channels[-1], channels[-1], down=False))
        self.to_logit = nn.Linear(channels[-1], 1)
        self.embedding = nn.Embedding(config.classes, channels[-1]) if config.classes else None
        _initialise(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, image_channels, R, R) in [-1, 1], (B,) class indices -> logits (B,)."""
        labels = _labels(self.config, labels, images)
        x = images
        for block in self.blocks:
            x = block(x)
        features = F.relu(x).sum((2, 3))  # (B, C)
        logits = self.to_logit(features).squeeze(1)
        if self.embedding is not None:
            logits = logits + (features * self.embedding(labels)).sum(1)
        return logits


def _labels(config: SAGANConfig, labels: Tensor | None, like: Tensor) -> Tensor:
    """Class indices (B,); zeros for an unconditional model, whose one row serves all."""
    if not config.classes:
        return torch.zeros(len(like), dtype=torch.long, device=like.device)
    if labels is None:
        raise ValueError(f"this model has {config.classes} classes: give labels of shape (batch,)")
    return labels
