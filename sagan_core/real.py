"""A few real images that travel with a checkpoint, so that its discriminator has some to look at.

`real.npz` in a checkpoint's folder holds `images` (N, R, R, 3 or 1) uint8 and `labels` (N,) int64.
Training writes it; for a checkpoint that has none

    python -m sagan_core.real checkpoints/fashion-mnist-32 --data fashion-mnist
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .checkpoint import CheckpointError, load_checkpoint, write_whole
from .data import DataError, ImageSet, Split, has_test_part, load_images
from .engine import AnyConfig

REAL = "real.npz"
COUNT, MOST = 8, 1000


@dataclass(frozen=True, eq=False)
class RealImages:
    """A few real images of a checkpoint's size. Immutable.

    Attributes:
        images: (N, R, R, 3 or 1) uint8.
        labels: (N,) int64 class indices; zeros for an unconditional model.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def choose_real(data: ImageSet, count: int = COUNT) -> RealImages:
    """The first image of each of `count` classes, or evenly spaced images without classes.

    With fewer classes than that, further images of the same ones. Classes without images, of which
    a data set may have some, are passed over.
    """
    present = np.unique(data.labels)
    if len(present) > 1:
        spread = np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)
        rounds = -(-count // len(spread))
        members = [np.flatnonzero(data.labels == label)[:rounds] for label in present[spread]]
        chosen = np.array(
            [one[turn] for turn in range(rounds) for one in members if turn < len(one)]
        )
    else:
        chosen = np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int)
    chosen = chosen[:count]
    return RealImages(
        np.ascontiguousarray(data.images[chosen].transpose(0, 2, 3, 1)), data.labels[chosen]
    )


def save_real(folder: Path, data: ImageSet, count: int = COUNT) -> None:
    """Write `real.npz`, chosen by `choose_real`; the same data give the same bytes."""
    real, buffer = choose_real(data, count), io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, images=real.images, labels=real.labels)
    write_whole(folder / REAL, buffer.getvalue())


def read_real(folder: Path, config: AnyConfig) -> RealImages:
    """The real images of a checkpoint's folder; none where it has no such file.

    Raises CheckpointError for a file that does not hold images of the model's size.
    """
    shape = (config.resolution, config.resolution, config.image_channels)
    path = folder / REAL
    if not path.is_file():
        return RealImages(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64))
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} is not an .npz of images and labels: {error}") from error
    if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) > MOST:
        raise CheckpointError(
            f"{path}: images are {images.dtype} {images.shape}; "
            f"they must be uint8 (up to {MOST}, {', '.join(map(str, shape))})"
        )
    within = labels.shape == images.shape[:1] and labels.dtype.kind in "iu"
    if not within or (
        len(labels) and not 0 <= labels.min() <= labels.max() < max(1, config.classes)
    ):
        raise CheckpointError(f"{path}: labels must be a class index for each of the images")
    return RealImages(images, labels.astype(np.int64))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.real",
        description="Put a few real images beside a checkpoint, held-out ones where there are any.",
    )
    command.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    command.add_argument("--data", required=True, help="where to take them from, as in training")
    command.add_argument("--count", type=int, default=COUNT, help=f"how many (default {COUNT})")
    options = command.parse_args(arguments)
    if not 1 <= options.count <= MOST:
        command.error(f"--count is {options.count}; it must be from 1 to {MOST}")
    try:
        config = load_checkpoint(options.checkpoint).config
        split: Split = "test" if has_test_part(options.data) else "train"
        data = load_images(options.data, config.resolution, split, config.image_channels)
        if config.classes and len(data.class_names) > config.classes:
            raise DataError(
                f"{data.source} has {len(data.class_names)} classes, the model {config.classes}"
            )
        save_real(options.checkpoint, data, options.count)
    except (CheckpointError, DataError, OSError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    print(f"{options.checkpoint / REAL}: images of the {split} part of {data.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
