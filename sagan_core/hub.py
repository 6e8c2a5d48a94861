"""Data sets that Hugging Face `datasets` opens: of its hub, or Parquet files and images on disk.

The library is an extra, imported where a source begins with "hub:". What follows is a data set's
name, OWNER/NAME, or a file or folder on this disk. Its images are the first column of images, its
classes the first of class labels, or whole numbers called label.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .arrays import Split
from .fit import DECODING_ERRORS, fit_image, is_grey
from .image_set import DataError
from .source import Read, Source
from .stream import ImageStream

HUB = "hub:"
LOOKED_AT = 64  # images that tell whether all are grey, where they come in a stream


class Columns(NamedTuple):
    """The columns of a data set that matter, and what its labels mean."""

    image: str
    label: str | None
    class_names: tuple[str, ...]


def _open(source: str, split: Split, streaming: bool) -> tuple[Any, Columns]:
    """A data set of the library, its images left encoded. Raises DataError."""
    name = source.removeprefix(HUB)
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{source} needs Hugging Face datasets ({error}): pip install datasets"
        ) from error
    datasets.disable_progress_bars()
    path = Path(name).expanduser()
    settings: dict[str, Any] = {"split": split, "streaming": streaming}
    try:
        if path.is_file():
            kind = {".parquet": "parquet", ".arrow": "arrow"}.get(path.suffix)
            if kind is None:
                raise ValueError("of single files, those ending in .parquet and .arrow are read")
            files = {split: str(path)}
            found = datasets.load_dataset(kind, data_files=files, **settings)
        else:
            found = datasets.load_dataset(str(path) if path.exists() else name, **settings)
    except Exception as error:  # the library, its hub and its file systems raise many kinds
        lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        raise DataError(f"{source} cannot be opened ({split} part): {lines[0][:300]}") from error
    columns = _columns(source, datasets, found)
    return found.cast_column(columns.image, datasets.Image(decode=False)), columns


def _columns(source: str, datasets: Any, found: Any) -> Columns:
    features = found.features or {}
    image = next((n for n, kind in features.items() if isinstance(kind, datasets.Image)), None)
    if image is None:
        raise DataError(
            f"{source} has no column of images; its columns are "
            f"{', '.join(features) or 'not known before it is read'}"
        )
    for name, kind in features.items():
        if isinstance(kind, datasets.ClassLabel):
            return Columns(image, name, tuple(kind.names) if len(kind.names) > 1 else ())
    return Columns(image, None, ())


def _decode(cell: Any, resolution: int, channels: int) -> Read:
    try:
        with _image(cell) as image:
            return fit_image(image, resolution, channels)
    except DECODING_ERRORS as error:
        return str(error)


def _image(cell: Any) -> Image.Image:
    if cell is None:
        raise ValueError("there is no image")
    return Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"])


def _seems_grey(cells: Iterator[Any]) -> bool:
    for cell in cells:
        try:
            with _image(cell) as image:
                if not is_grey(image.mode):
                    return False
        except DECODING_ERRORS:
            continue  # reading it will tell what is wrong
    return True


def hub_source(source: str, split: Split) -> Source:
    """A data set that the library has on this disk, downloaded first where it must be."""
    found, columns = _open(source, split, streaming=False)
    if not len(found):
        raise DataError(f"{source} has no images in its {split} part")
    labels = np.zeros(len(found), np.int64)
    if columns.class_names and columns.label is not None:
        labels = np.asarray(found[columns.label][:], dtype=np.int64)
        if labels.min() < 0:
            raise DataError(f"{source} has images without a class in its {split} part (-1)")

    def read(resolution: int, channels: int) -> Iterator[Read]:
        for row in found:
            yield _decode(row[columns.image], resolution, channels)

    grey = _seems_grey(row[columns.image] for row in found)
    return Source(
        labels, columns.class_names, source, 1 if grey else 3, read, lambda index: f"row {index}"
    )


def open_stream(source: str, resolution: int, channels: int | None = None) -> ImageStream:
    """A data set that is read while it trains, for what is larger than the disk.

    Raises DataError for a source that is not the library's, or that it cannot open.
    """
    if not source.startswith(HUB):
        raise DataError(f"--streaming reads hub:OWNER/NAME alone, not {source}")
    found, columns = _open(source, "train", streaming=True)
    if channels is None:
        first = (row[columns.image] for row in found.take(LOOKED_AT))
        channels = 1 if _seems_grey(first) else 3
    split = (found.info.splits or {}).get("train")

    def rows(seed: int, epoch: int, buffer: int) -> Iterator[tuple[Any, int]]:
        shuffled = found.shuffle(seed=seed, buffer_size=buffer)
        shuffled.set_epoch(epoch)
        for row in shuffled:
            yield row[columns.image], int(row[columns.label]) if columns.class_names else 0

    return ImageStream(
        rows,
        lambda cell: _decode(cell, resolution, channels),
        channels,
        columns.class_names,
        source,
        split.num_examples if split is not None else None,
        zlib.crc32(repr((source, resolution, channels, str(found.features))).encode()),
    )
