"""Differentiable augmentation: what the discriminator sees, real and fake alike, is changed.

For data sets of a few thousand images, which a discriminator would otherwise learn by heart. As
gradients flow through, the generator learns unchanged images. Mirroring is apart from it: that
changes real images alone, so that a mirrored image is one of the class.

Source: Zhao et al. 2020, *Differentiable Augmentation for Data-Efficient GAN Training*, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

AUGMENTATIONS = ("colour", "translation", "cutout")
LARGEST_SHIFT = 1 / 8  # of the image's side
CUTOUT = 1 / 2


def augment(images: Tensor, kinds: Sequence[str], rng: torch.Generator) -> Tensor:
    """Change every image at random, each in its own way: (B, C, R, R) in [-1, 1] -> the same shape.

    Args:
        kinds: some of `AUGMENTATIONS`, applied in the order of that tuple. Colour changes
            brightness by up to 0.5, saturation by a factor from 0 to 2 and contrast by one from
            0.5 to 1.5; translation shifts by up to 1/8 of the side; cutout blanks a square of half
            the side. What comes in or is blanked is 0, the middle of the range.
        rng: a CPU generator: the same one makes the same changes on every device.
    """
    if "colour" in kinds:
        images = _recolour(images, rng)
    if "translation" in kinds:
        images = _translate(images, rng)
    if "cutout" in kinds:
        images = _cut_out(images, rng)
    return images


def _recolour(images: Tensor, rng: torch.Generator) -> Tensor:
    draws = torch.rand(3, len(images), 1, 1, 1, generator=rng)
    brightness, saturation, contrast = draws.to(images.device, images.dtype)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, 2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, contrast + 0.5)


def _translate(images: Tensor, rng: torch.Generator) -> Tensor:
    count, _, side, _ = images.shape
    most = int(side * LARGEST_SHIFT + 0.5)
    starts = torch.randint(2 * most + 1, (2, count, 1), generator=rng)
    rows, cols = (starts + torch.arange(side)).to(images.device)  # (B, R) each, in the padded image
    padded = F.pad(images, (most,) * 4)
    # Two gathers whose indices never repeat: exact, and deterministic in the backward pass too.
    moved = padded.take_along_dim(rows[:, None, :, None], 2)
    return moved.take_along_dim(cols[:, None, None, :], 3)


def _cut_out(images: Tensor, rng: torch.Generator) -> Tensor:
    count, _, side, _ = images.shape
    size = int(side * CUTOUT + 0.5)
    centres = torch.randint(side + 1 - size % 2, (2, count, 1), generator=rng)
    offsets = torch.arange(side) - (centres - size // 2)  # (2, B, R)
    inside = (offsets >= 0) & (offsets < size)
    blank = inside[0, :, :, None] & inside[1, :, None, :]  # (B, R, R)
    return images * (~blank[:, None]).to(images.device, images.dtype)


def mirror(images: Tensor, allowed: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror half of the images left to right, of those that are allowed to be.

    Args:
        images: (B, C, H, W) on the CPU.
        allowed: (B,) bool.
    """
    chosen = (torch.rand(len(images), generator=rng) < 0.5) & allowed
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
