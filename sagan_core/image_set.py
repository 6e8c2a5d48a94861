"""A data set at one size: uint8 images (N, C, R, R) with labels, in memory or memory-mapped."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class DataError(ValueError):
    """A data source that cannot be used; the message says why and what is accepted."""


@dataclass(frozen=True)
class ImageSet:
    """Square images of one size, in memory or memory-mapped.

    Attributes:
        images: (N, C, R, R) uint8, C is 1 (grey) or 3 (RGB).
        labels: (N,) int64 in 0..len(class_names)-1; zeros where there are no classes.
        class_names: one name per class; empty where there are no classes.
        source: where the images came from, in words.
        one_sided: labels of classes in which a mirrored image has no place, such as letters.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    one_sided: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    def fingerprint(self) -> int:
        """A checksum of the labels and of some images: other data have another."""
        some = np.ascontiguousarray(self.images[:: max(1, len(self) // 64)])
        return zlib.crc32(some.tobytes(), zlib.crc32(self.labels.tobytes()))

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) indices -> uint8 images (B, C, R, R) and labels (B,), copied out."""
        chosen = indices.numpy()
        images = torch.from_numpy(np.array(self.images[chosen]))
        if isinstance(self.images, np.memmap):
            _forget_pages(self.images)
        return images, torch.from_numpy(self.labels[chosen])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) indices -> float images (B, C, R, R) in [-1, 1] and labels (B,)."""
        images, labels = self.rows(indices)
        return to_signed(images), labels


def _forget_pages(images: np.memmap) -> None:
    """Let go of what was read of a file: the system keeps it as long as nobody needs the memory."""
    mapped = getattr(images, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def to_signed(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1, as the released code scales: x * 2 / 255 - 1."""
    return images.float().mul_(2 / 255).sub_(1)


def half_of_memory() -> int:
    """Bytes; of a system that does not say how much it has (Windows), of 8 GiB."""
    if not hasattr(os, "sysconf"):
        return 4 << 30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def empty_pixels(shape: tuple[int, ...], limit: int) -> np.ndarray:
    """uint8 array in memory, or in an unnamed temporary file when larger than `limit` bytes."""
    if math.prod(shape) <= limit:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
