"""Opening data sets: whatever images come from, one uint8 array (N, C, R, R) with labels.

Sources: Fashion-MNIST's IDX files (any folder with files of those names), a folder of images
whose sub-folders are classes, an `.npz` file, a folder that `python -m sagan_core.data prepare`
wrote, and data sets that Hugging Face `datasets` opens, from its hub or from this disk.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .arrays import IDX_STEMS, Split, idx_files, idx_source, npz_source
from .fit import fit_image
from .folders import CLASSES, folder_source
from .hub import HUB, hub_source, open_stream
from .image_set import DataError, ImageSet, empty_pixels, half_of_memory, to_signed
from .prepared import is_prepared, open_prepared
from .source import Source
from .stream import ImageStream

__all__ = [
    "CLASSES",
    "SOURCES",
    "DataError",
    "ImageSet",
    "ImageStream",
    "Split",
    "classes_without_images",
    "fit_image",
    "half_of_memory",
    "has_test_part",
    "load_images",
    "open_source",
    "open_stream",
    "to_signed",
]

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
SOURCES = (
    "'fashion-mnist', a folder with its IDX files, a folder of images (sub-folders are classes), "
    "an .npz file with 'images' and optionally 'labels' and 'class_names', a folder that python -m "
    "sagan_core.data prepare wrote, or hub:OWNER/NAME, which Hugging Face datasets opens (also "
    "hub:FOLDER, of Parquet files or images)"
)


def load_images(
    source: str | Path,
    resolution: int,
    split: Split = "train",
    channels: int | None = None,
    memory_limit: int | None = None,
) -> ImageSet:
    """A whole data set at one resolution.

    Args:
        source: see `SOURCES`.
        resolution: height and width of the result in pixels. Images are cropped to the central
            square and resized; Fashion-MNIST's 28x28 are padded with background to 32x32 first.
            A prepared set must have it.
        split: 'test' is the held-out part; of files on this disk only IDX folders have one.
        channels: 1 or 3; by default 1 where every image is grey.
        memory_limit: bytes above which pixels go to a memory-mapped temporary file (in TMPDIR);
            by default half of this machine's memory.

    Raises DataError when nothing usable is found or more than 1% of the images are broken; fewer
    are named in a warning and left out.
    """
    path = _source_path(source)
    if not str(source).startswith(HUB) and is_prepared(path):
        _require_train(path, split)
        return open_prepared(path, resolution, channels)
    found = open_source(source, split)
    channels = channels or found.channels
    limit = half_of_memory() if memory_limit is None else memory_limit
    pixels = empty_pixels((len(found), channels, resolution, resolution), limit)
    kept = found.store(resolution, channels, pixels.__setitem__)
    return ImageSet(
        pixels[: len(kept)], found.labels[kept], found.class_names, found.name, found.one_sided
    )


def open_source(source: str | Path, split: Split = "train") -> Source:
    """A data set as it is found. Raises DataError where there is none that can be read."""
    if str(source).startswith(HUB):
        return hub_source(str(source), split)
    path = _source_path(source)
    if not path.exists():
        hint = ""
        if path == FASHION_MNIST:
            hint = " (Debian's package dataset-fashion-mnist installs it)"
        raise DataError(f"no data at {path}{hint}; --data takes {SOURCES}")
    idx = idx_files(path, split)
    if idx is not None:
        return idx_source(*idx)
    _require_train(path, split)
    if path.suffix == ".npz":
        return npz_source(path)
    if is_prepared(path):
        raise DataError(f"{path} is a prepared set already: give it as --data")
    if path.is_dir():
        return folder_source(path, SOURCES)
    raise DataError(f"{path} is not a source of images; --data takes {SOURCES}")


def _require_train(path: Path, split: Split) -> None:
    if split == "test":
        raise DataError(f"{path} has no held-out test part; only folders of IDX files have one")


def has_test_part(source: str | Path) -> bool:
    """Whether `load_images(source, ..., "test")` has held-out images on this disk to read."""
    return any(_source_path(source).glob(f"{IDX_STEMS['test']}-*-ubyte*"))


def _source_path(source: str | Path) -> Path:
    return FASHION_MNIST if str(source) == "fashion-mnist" else Path(source).expanduser()


def classes_without_images(data: ImageSet) -> list[str]:
    """Names of the classes that nothing can be learnt about."""
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    return [name for name, count in zip(data.class_names, counts, strict=False) if not count]


if __name__ == "__main__":
    import sys

    from .data_command import main

    sys.exit(main())
