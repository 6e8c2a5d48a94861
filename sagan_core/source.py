"""A data set as it is found, before its images are brought to one size.

It is read once, from the first image to the last, so that a set of any size needs memory for a
few images only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from .image_set import DataError

BROKEN_SHARE = 0.01
NAMED_AT_MOST = 5

# One image as uint8 (C, R, R), or why it cannot be read.
Read = np.ndarray | str


@dataclass(frozen=True)
class Source:
    """Where images come from, one after the other.

    Attributes:
        labels: (N,) int64, one per image; zeros where there are no classes.
        class_names: one name per class; empty where there are no classes.
        name: where they come from, in words.
        channels: 1 where every image is grey, else 3.
        read: (resolution, channels) -> every image, in order.
        place: what to call an image in a message, by its index.
        one_sided: labels of classes in which a mirrored image has no place.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str
    channels: int
    read: Callable[[int, int], Iterator[Read]]
    place: Callable[[int], str]
    one_sided: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def store(
        self, resolution: int, channels: int, put: Callable[[int, np.ndarray], None]
    ) -> np.ndarray:
        """Hand every readable image to `put`, with its place among those; their indices.

        Raises DataError when more than 1% cannot be read; fewer are named in a warning.
        """
        broken: dict[int, str] = {}
        count = 0
        images = tqdm(
            self.read(resolution, channels),
            f"reading {self.name}",
            len(self),
            leave=False,
            disable=None,
            unit="img",
        )
        for index, image in enumerate(images):
            if isinstance(image, str):
                broken[index] = image
            else:
                put(count, image)
                count += 1
        if broken:
            self._report(broken)
        return np.delete(np.arange(len(self)), list(broken))

    def _report(self, broken: dict[int, str]) -> None:
        named = "; ".join(
            f"{self.place(index)} ({error.split(chr(10))[0][:80]})"
            for index, error in list(broken.items())[:NAMED_AT_MOST]
        )
        more = len(broken) - NAMED_AT_MOST
        text = f"{len(broken)} of {len(self)} images in {self.name} cannot be read: {named}"
        text += f"; and {more} more" if more > 0 else ""
        if len(broken) > BROKEN_SHARE * len(self):
            raise DataError(
                f"{text}. More than {BROKEN_SHARE:.0%} is too many: remove or mend them"
            )
        warnings.warn(f"{text}. Left out", stacklevel=4)
