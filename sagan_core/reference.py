"""Real images to measure samples against: some to train a classifier on, others to test it on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .data import DataError, ImageSet, has_test_part, load_images

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class RealData:
    """Real images for training a classifier and, apart from them, for testing one.

    Attributes:
        images: holds the training images, at `rows` where these are not all of it.
        test: the held-out images.
        rows: (n,) indices into `images`; None for all.
        note: where `test` comes from, in words.
    """

    images: ImageSet
    test: ImageSet
    rows: np.ndarray | None
    note: str

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.images if self.rows is None else self.rows)

    @property
    def test_is_new(self) -> bool:
        """Whether the generator, which trains on all of `images`, has not seen the test images."""
        return self.rows is None

    def some_rows(self, count: int, seed: int) -> np.ndarray:
        """(count,) indices into `images` of random training images, none twice before all once."""
        rows = np.arange(len(self.images)) if self.rows is None else self.rows
        return np.resize(np.random.default_rng(seed).permutation(rows), count)


def load_real(source: str | Path, resolution: int, channels: int | None = None) -> RealData:
    """A data set's training and test part; without a test part a tenth of each class is held out.

    Without `channels`, 1 where every training image is grey.

    Raises DataError for a source that cannot be used, has no class with two images, or has a
    class in its test part alone.
    """
    images = load_images(source, resolution, "train", channels)
    classes = len(images.class_names)
    if has_test_part(source):
        test = load_images(source, resolution, "test", images.images.shape[1])
        if len(test.class_names) > classes:
            found = len(test.class_names)
            raise DataError(f"{source} has {classes} classes, but {found} in its test part")
        test = replace(test, class_names=images.class_names)
        return RealData(images, test, None, "the data's own test part")
    kept, held = stratified_split(images.labels, HELD_OUT_SHARE)
    if not len(held):
        raise DataError(f"{source} has no class with two images: nothing would be left to test on")
    test = replace(images, images=images.images[held], labels=images.labels[held])
    note = (
        f"{HELD_OUT_SHARE:.0%} of every class, held out from the classifier though not from the "
        "GAN, as the data has no test part"
    )
    return RealData(images, test, kept, note)


def stratified_split(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Row indices (kept, held out), ascending: the same share, rounded up, of every class.

    A class of one image is kept whole. The same labels always give the same rows.
    """
    rng = np.random.default_rng(0)
    held = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        held.append(rows[: math.ceil(share * len(rows)) if len(rows) > 1 else 0])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), out), out
