"""A data set brought to one size once and for all, and then read from its file.

`python -m sagan_core.data prepare SOURCE OUT --resolution R` writes

    OUT/images.npy      (N, C, R, R) uint8, which training maps into memory and reads from the disk
    OUT/labels.npy      (N,) int64
    OUT/classes.json    in the order of the labels: number of images, `one_sided` (see `folders.py`)

A million images so cost no more memory than a thousand, here and in training, and several
processes on a machine share what the system keeps of the file.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from .folders import CLASSES, read_one_sided
from .image_set import DataError, ImageSet
from .model import RESOLUTIONS
from .source import Source

IMAGES, LABELS = "images.npy", "labels.npy"


def is_prepared(folder: Path) -> bool:
    return (folder / IMAGES).is_file()


def write_prepared(source: Source, out: Path, resolution: int, channels: int | None = None) -> None:
    """Write a source at one resolution; the folder is there whole or not at all.

    Args:
        channels: 1 or 3; by default 1 where every image is grey.

    Raises DataError where the folder is there already, or too many images cannot be read.
    """
    if out.exists():
        raise DataError(f"{out} is there already; give another folder, or remove it")
    channels = channels or source.channels
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        with (partial / IMAGES).open("wb") as file:
            shape = (channels, resolution, resolution)
            start = _write_header(file, (len(source), *shape))
            kept = source.store(resolution, channels, lambda _, image: _write_image(file, image))
            file.seek(0)
            # numpy leaves room in a header for the first size to grow, and so to shrink.
            if _write_header(file, (len(kept), *shape)) != start:
                raise DataError(f"the header of {out / IMAGES} changed its length")
        labels = source.labels[kept]
        np.save(partial / LABELS, labels)
        (partial / CLASSES).write_text(_classes(source, labels), encoding="utf-8")
        partial.chmod(0o755)
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> int:
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.tell()


def _write_image(file: IO[bytes], image: np.ndarray) -> None:
    file.write(np.ascontiguousarray(image).tobytes())


def _classes(source: Source, labels: np.ndarray) -> str:
    counts = np.bincount(labels, minlength=len(source.class_names))
    about = {
        name: {"images": int(counts[label]), "one_sided": label in source.one_sided}
        for label, name in enumerate(source.class_names)
    }
    return json.dumps(about, indent=2, ensure_ascii=False) + "\n"


def open_prepared(folder: Path, resolution: int, channels: int | None = None) -> ImageSet:
    """A prepared set, mapped into memory. Raises DataError for another size or damaged files."""
    try:
        images = _map(folder / IMAGES)
        labels = np.load(folder / LABELS, allow_pickle=False)
        names = tuple(json.loads((folder / CLASSES).read_text(encoding="utf-8")))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{folder} is no whole prepared set: {error}; prepare it again") from error
    whole = images.ndim == 4 and images.dtype == np.uint8 and labels.shape == images.shape[:1]
    if not whole or not len(labels) or labels.min() < 0 or labels.max() >= max(1, len(names)):
        raise DataError(
            f"{folder} is no whole prepared set: images {images.dtype} {images.shape}, labels "
            f"{labels.shape}, {len(names)} classes; prepare it again"
        )
    if images.shape[2:] != (resolution, resolution):
        raise DataError(
            f"{folder} is prepared at {images.shape[2]}x{images.shape[3]} pixels, and "
            f"{resolution}x{resolution} are asked for: prepare it at that, or give --resolution "
            f"{images.shape[2]}"
        )
    if channels not in (None, images.shape[1]):
        raise DataError(f"{folder} has {images.shape[1]} channels, and {channels} are asked for")
    one_sided = read_one_sided(folder / CLASSES, names)
    return ImageSet(images, labels.astype(np.int64), names, str(folder), one_sided)


def _map(path: Path) -> np.ndarray:
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        # Where addresses are limited (ulimit -v), a map of the file does not fit; a batch does.
        return cast(np.ndarray, FileRows(path))
    return mapped


class FileRows:
    """A .npy file of uint8 rows, read when they are asked for: what batches need of an array.

    Raises ValueError for a file of another kind, or shorter than its header says.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        version = np.lib.format.read_magic(self._file)
        if version != (1, 0):
            raise ValueError(f"it is of format {version}, not 1.0")
        self.shape, fortran, dtype = np.lib.format.read_array_header_1_0(self._file)
        self._start, self._row = self._file.tell(), math.prod(self.shape[1:])
        size = self._start + math.prod(self.shape)
        if fortran or dtype != self.dtype or os.fstat(self._file.fileno()).st_size != size:
            raise ValueError(f"{dtype} {self.shape} do not fit the file's size")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: int | slice | np.ndarray) -> np.ndarray:
        places = np.arange(len(self))[chosen]
        rows = np.empty((places.size, *self.shape[1:]), np.uint8)
        for row, place in zip(rows, places.flat, strict=True):
            self._file.seek(self._start + int(place) * self._row)
            if self._file.readinto(row.data) != self._row:
                raise OSError(f"{self._file.name} ends before row {place}")
        return rows.reshape(*places.shape, *self.shape[1:])


def add_command(commands: Any) -> None:
    """Add `prepare` to the subcommands of `python -m sagan_core.data`."""
    command = commands.add_parser(
        "prepare",
        help="bring a data set to one size and write it as a file that training maps into memory",
        description="Bring a data set of any size to one resolution, once. Training then reads it "
        "from its file: --data OUT.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("source", metavar="SOURCE", help="what --data of training takes")
    command.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    command.add_argument(
        "--resolution", type=int, required=True, choices=RESOLUTIONS, help="pixels"
    )
    command.add_argument(
        "--channels", type=int, choices=(1, 3), help="by default 1 where every image is grey"
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from .data import open_source

    source = open_source(options.source)
    write_prepared(source, options.out, options.resolution, options.channels)
    found = open_prepared(options.out, options.resolution)
    size = found.images.nbytes / 1e6
    print(f"{options.out}: {len(found):,} images, {len(found.class_names)} classes, {size:,.0f} MB")
