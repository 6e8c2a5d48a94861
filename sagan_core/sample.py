"""From a seed, a class and a truncation to an image and what the attention layers did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .attention import AttentionField, attention_layers, record_attention
from .data import to_signed
from .engine import AnyDiscriminator, AnyGenerator, DescribedGenerator
from .layout import DescribedConfig

MAX_SEED = 2**32 - 1
LATENT_BOUND = 2.0  # where BigGAN-deep's z is cut off, in standard deviations


@dataclass(frozen=True, eq=False)
class Sample:
    """One generated image and its attention. Immutable.

    Attributes:
        image: (H, W, 3 or 1) uint8.
        fields: an `AttentionField` (batch 1, CPU, float32) per generator layer, in forward order.
        seed, label, truncation: what made it; `label` is None for an unconditional model.
    """

    image: np.ndarray
    fields: Mapping[str, AttentionField]
    seed: int
    label: int | None
    truncation: float


def to_uint8(images: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> (B, H, W, C) uint8."""
    scaled = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.permute(0, 2, 3, 1).to("cpu", torch.uint8).contiguous().numpy()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients for a block; the former mode comes back."""
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(training)


def latents(generator: AnyGenerator, seed: int, count: int, truncation: float = 1.0) -> Tensor:
    """(count, latent_size) of N(0, truncation^2), drawn on the CPU: alike on every device.

    For a model trained with z cut off (BigGAN-deep) |z| stays below 2 truncation.
    """
    rng = torch.Generator().manual_seed(seed)
    size, config = (count, generator.config.latent_size), generator.config
    if isinstance(config, DescribedConfig) and config.bounded_latents:
        within = math.erf(LATENT_BOUND / math.sqrt(2))
        uniform = 2 * torch.rand(size, generator=rng) - 1
        return truncation * math.sqrt(2) * torch.erfinv(within * uniform)
    return truncation * torch.randn(size, generator=rng)


def images_from(
    generator: AnyGenerator, z: Tensor, labels: Tensor | None, truncation: float = 1.0
) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] of latents that were drawn with this truncation.

    A model that keeps statistics by truncation (BigGAN-deep) uses those that belong to it.
    """
    if isinstance(generator, DescribedGenerator):
        return generator(z, labels, truncation)
    return generator(z, labels)


def generate(
    generator: AnyGenerator,
    seed: int = 0,
    label: int | None = None,
    truncation: float = 1.0,
    z: Tensor | None = None,
) -> Sample:
    """Make one image and record its attention.

    Args:
        generator: used in eval mode on the device where it is.
        seed: 0 to 2**32 - 1; fixes z, and the class when `label` is None.
        label: class index; must be None for an unconditional model.
        truncation: factor on z from 0 (the class's central image) to 1 (z as trained).
        z: (1, latent_size), truncated already, in place of the seed's.

    Raises ValueError for a value outside its range.
    """
    seed, label, truncation = checked(generator, seed, label, truncation)
    device = next(generator.parameters()).device
    z = (latents(generator, seed, 1, truncation) if z is None else z).to(device)
    labels = None if label is None else torch.tensor([label], device=device)
    fields: dict[str, AttentionField] = {}
    with evaluating(generator):
        if attention_layers(generator):
            with record_attention(generator) as fields:
                images = images_from(generator, z, labels, truncation)
        else:
            images = images_from(generator, z, labels, truncation)
    on_cpu = {name: field.to("cpu") for name, field in fields.items()}
    image = to_uint8(images)[0]
    image.flags.writeable = False
    return Sample(image, MappingProxyType(on_cpu), seed, label, truncation)


def checked(
    generator: AnyGenerator, seed: int, label: int | None, truncation: float
) -> tuple[int, int | None, float]:
    """The arguments of `generate`, the class filled in. Raises ValueError outside their ranges."""
    classes = generator.config.classes
    if not _is_whole(seed) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to {MAX_SEED}")
    if isinstance(truncation, bool) or not isinstance(truncation, (int, float)):
        raise ValueError(f"truncation is {truncation!r}; it must be a number from 0 to 1")
    if not (math.isfinite(truncation) and 0 <= truncation <= 1):
        raise ValueError(f"truncation is {truncation}; it must be from 0 to 1")
    if not classes:
        if label is not None:
            raise ValueError(f"label is {label!r}, but this model has no classes: leave it out")
        return int(seed), None, float(truncation)
    if label is None:
        label = drawn_label(int(seed), classes)
    if label is None or not _is_whole(label) or not 0 <= label < classes:
        raise ValueError(f"label is {label!r}; it must be a class index from 0 to {classes - 1}")
    return int(seed), int(label), float(truncation)


def drawn_label(seed: int, classes: int) -> int | None:
    """The class that a seed stands for where none is chosen; None for a model without classes."""
    if not classes:
        return None
    return int(torch.randint(classes, (1,), generator=torch.Generator().manual_seed(seed)))


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a discriminator made of one image. Immutable.

    Attributes:
        logit: above 0 for real, as trained by the hinge loss.
        fields: an `AttentionField` (batch 1, CPU, float32) per attention layer, in forward order.
    """

    logit: float
    fields: Mapping[str, AttentionField]


def judge(discriminator: AnyDiscriminator, image: np.ndarray, label: int | None) -> Judgement:
    """Show one image to a discriminator and record its attention.

    Args:
        discriminator: used in eval mode on the device where it is.
        image: (R, R, 3 or 1) uint8, of the model's size.
        label: the class that it is taken for; None for an unconditional model.

    Raises ValueError for an image or a label that does not fit the model.
    """
    config = discriminator.config
    shape = (config.resolution, config.resolution, config.image_channels)
    if image.shape != shape or image.dtype != np.uint8:
        raise ValueError(
            f"an image of {image.dtype} {image.shape}; this discriminator takes uint8 {shape}"
        )
    if config.classes and (label is None or not 0 <= label < config.classes):
        raise ValueError(
            f"label is {label!r}; it must be a class index from 0 to {config.classes - 1}"
        )
    device = next(discriminator.parameters()).device
    pixels = to_signed(torch.from_numpy(image.copy()).permute(2, 0, 1))[None].to(device)
    labels = torch.tensor([label], device=device) if config.classes else None
    fields: dict[str, AttentionField] = {}
    with evaluating(discriminator):
        if attention_layers(discriminator):
            with record_attention(discriminator) as fields:
                logit = discriminator(pixels, labels).item()
        else:
            logit = discriminator(pixels, labels).item()
    on_cpu = {name: field.to("cpu") for name, field in fields.items()}
    return Judgement(logit, MappingProxyType(on_cpu))


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def generate_images(
    generator: AnyGenerator, labels: Tensor | None, count: int, seed: int = 0, batch_size: int = 256
) -> np.ndarray:
    """Many images without recording: (count, H, W, C) uint8.

    Args:
        labels: (count,) class indices; None for an unconditional model.
        seed: of the latents; the same images for every `batch_size`, up to rounding.
    """
    device = next(generator.parameters()).device
    z = latents(generator, seed, count)
    images = []
    with evaluating(generator):
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            chosen = None if labels is None else labels[part].to(device)
            images.append(to_uint8(generator(z[part].to(device), chosen)))
    return np.concatenate(images)


def sample_grid(generator: AnyGenerator, columns: int = 8, seed: int = 0) -> Image.Image:
    """A contact sheet of fixed latents: one row per class (up to 10), or 8 rows without classes."""
    classes = generator.config.classes
    rows = min(classes, 10) or 8
    labels = torch.arange(rows).repeat_interleave(columns) if classes else None
    return image_grid(generate_images(generator, labels, rows * columns, seed), columns)


def image_grid(images: np.ndarray, columns: int, gap: int = 2) -> Image.Image:
    """(N, H, W, C) uint8 -> one picture, row by row, with white gaps of `gap` pixels."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8
    )
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet)
