"""Images that are read while they train, one after the other, for sets larger than the disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .image_set import DataError, ImageSet
from .source import BROKEN_SHARE, NAMED_AT_MOST, Read

BUFFER = 2048  # encoded images that are kept to draw from, so that neighbours part


@dataclass
class ImageStream:
    """A data set of which every epoch is a stream, shuffled within a buffer.

    What comes at a position depends on the seed alone. To go on from the middle, and in every one
    of several processes, what comes before is read and passed over, without decoding it.

    Attributes:
        rows: (seed, epoch, buffer) -> encoded images and labels.
        decode: an encoded image -> uint8 (C, R, R), or why it cannot be read.
        channels: C.
        class_names, source: as of `ImageSet`; no class is one-sided.
        images: in an epoch; None where that is not known beforehand.
        checksum: other data have another.
    """

    rows: Callable[[int, int, int], Iterator[tuple[Any, int]]]
    decode: Callable[[Any], Read]
    channels: int
    class_names: tuple[str, ...]
    source: str
    images: int | None
    checksum: int
    one_sided: tuple[int, ...] = ()
    _at: tuple[int, int] = (-1, 0)  # seed and position of what comes next
    _coming: Iterator[tuple[Any, int]] = field(default_factory=lambda: iter(()))
    _broken: int = 0
    _decoded: int = 0

    def __len__(self) -> int:
        """Images in an epoch, 0 where that is not known."""
        return self.images or 0

    def fingerprint(self) -> int:
        return self.checksum

    def read(self, seed: int, start: int, count: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of `count` images from position `start` on, uint8 images and labels of those in `rows`.

        Raises DataError when an epoch has no image, or more than 1% of them are broken; fewer are
        replaced by the one before, as what comes where must not change.
        """
        if self._at != (seed, start):
            self._go_to(seed, start)
        coming = [next(self._coming) for _ in range(count)]
        self._at = seed, start + count
        chosen = [coming[index] for index in rows.tolist()]
        images: list[np.ndarray] = []
        for cell, _ in chosen:
            image = self._decoded_or_before(cell, images)
            images.append(image)
        labels = torch.tensor([label for _, label in chosen], dtype=torch.long)
        return torch.from_numpy(np.stack(images)), labels

    def first(self, seed: int, count: int) -> ImageSet:
        """The images at the first positions, without moving on. Raises DataError as `read` does."""
        apart = replace(self, _at=(-1, 0), _coming=iter(()), _broken=0, _decoded=0)
        images, labels = apart.read(seed, 0, count, torch.arange(count))
        return ImageSet(images.numpy(), labels.numpy(), self.class_names, self.source)

    def _go_to(self, seed: int, start: int) -> None:
        epoch, place = divmod(start, self.images) if self.images else (0, start)
        self._coming = self._epochs(seed, epoch)
        for _ in range(place):
            next(self._coming)

    def _epochs(self, seed: int, epoch: int) -> Iterator[tuple[Any, int]]:
        while True:
            count = 0
            for row in self.rows(seed, epoch, BUFFER):
                yield row
                count += 1
            if not count:
                raise DataError(f"{self.source} has no images in its train part")
            epoch += 1

    def _decoded_or_before(self, cell: Any, before: list[np.ndarray]) -> np.ndarray:
        self._decoded += 1
        image = self.decode(cell)
        if not isinstance(image, str):
            return image
        self._broken += 1
        if self._broken <= NAMED_AT_MOST:
            warnings.warn(f"an image of {self.source} cannot be read: {image[:80]}", stacklevel=2)
        if self._broken > max(1, BROKEN_SHARE * self._decoded) or not before:
            raise DataError(
                f"{self._broken} of {self._decoded} images of {self.source} cannot be read "
                f"({image[:80]}); more than {BROKEN_SHARE:.0%} is too many"
            )
        return before[-1]
