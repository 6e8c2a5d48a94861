"""Differentiable augmentation: what the discriminator sees, real and fake alike, is changed.

For data sets of a few thousand images, which a discriminator would otherwise learn by heart. As
gradients flow through, the generator learns unchanged images. Mirroring is apart from it: that
changes real images alone, so that a mirrored image is one of the class.

Source: Zhao et al. 2020, *Differentiable Augmentation for Data-Efficient GAN Training*, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .device import to_device

AUGMENTATIONS = ("colour", "translation", "cutout")
LARGEST_SHIFT = 1 / 8  # of the image's side
CUTOUT = 1 / 2


@dataclass(frozen=True)
class Share:
    """Which images of a whole batch are here.

    Random numbers are drawn for the whole batch, so that several processes that share one change
    each image as one process would.

    Attributes:
        whole: images in the batch.
        rows: (n,) indices of those that are here.
    """

    whole: int
    rows: Tensor

    @classmethod
    def all(cls, count: int) -> Share:
        return cls(count, torch.arange(count))


def augment(
    images: Tensor, kinds: Sequence[str], rng: torch.Generator, share: Share | None = None
) -> Tensor:
    """Change every image at random, each in its own way: (B, C, R, R) in [-1, 1] -> the same shape.

    Args:
        kinds: some of `AUGMENTATIONS`, applied in the order of that tuple. Colour changes
            brightness by up to 0.5, saturation by a factor from 0 to 2 and contrast by one from
            0.5 to 1.5; translation shifts by up to 1/8 of the side; cutout blanks a square of half
            the side. What comes in or is blanked is 0, the middle of the range.
        rng: a CPU generator: the same one makes the same changes on every device.
        share: which images of the batch these are; by default all.
    """
    share = share or Share.all(len(images))
    if "colour" in kinds:
        images = _recolour(images, rng, share)
    if "translation" in kinds:
        images = _translate(images, rng, share)
    if "cutout" in kinds:
        images = _cut_out(images, rng, share)
    return images


def _recolour(images: Tensor, rng: torch.Generator, share: Share) -> Tensor:
    draws = torch.rand(3, share.whole, 1, 1, 1, generator=rng)[:, share.rows]
    brightness, saturation, contrast = to_device(draws, images.device).to(images.dtype)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, 2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, contrast + 0.5)


def _translate(images: Tensor, rng: torch.Generator, share: Share) -> Tensor:
    side = images.shape[3]
    most = int(side * LARGEST_SHIFT + 0.5)
    starts = torch.randint(2 * most + 1, (2, share.whole, 1), generator=rng)[:, share.rows]
    indices = to_device(starts + torch.arange(side), images.device)
    rows, cols = indices  # (B, R) each, in the padded image
    padded = F.pad(images, (most,) * 4)
    # Two gathers whose indices never repeat: exact, and deterministic in the backward pass too.
    moved = padded.take_along_dim(rows[:, None, :, None], 2)
    return moved.take_along_dim(cols[:, None, None, :], 3)


def _cut_out(images: Tensor, rng: torch.Generator, share: Share) -> Tensor:
    side = images.shape[3]
    size = int(side * CUTOUT + 0.5)
    centres = torch.randint(side + 1 - size % 2, (2, share.whole, 1), generator=rng)[:, share.rows]
    offsets = torch.arange(side) - (centres - size // 2)  # (2, B, R)
    inside = (offsets >= 0) & (offsets < size)
    blank = inside[0, :, :, None] & inside[1, :, None, :]  # (B, R, R)
    return images * to_device(~blank[:, None], images.device).to(images.dtype)


def mirror(
    images: Tensor, allowed: Tensor, rng: torch.Generator, share: Share | None = None
) -> Tensor:
    """Mirror half of the images left to right, of those that are allowed to be.

    Args:
        images: (B, C, H, W) of any type.
        allowed: (B,) bool, on the same device.
        rng: a CPU generator.
        share: which images of the batch these are; by default all.
    """
    share = share or Share.all(len(images))
    drawn = torch.rand(share.whole, generator=rng)[share.rows] < 0.5
    chosen = to_device(drawn, images.device) & allowed
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
