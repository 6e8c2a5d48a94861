"""Data sets that are arrays in a file: Fashion-MNIST's IDX files and `.npz`, read in blocks."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from .fit import fit_array
from .image_set import DataError
from .source import Source

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Number of images and first labels of the training and the test file.
FASHION_MNIST_STARTS = ((60000, 9, 0, 0, 3, 0, 2, 7, 2), (10000, 9, 2, 1, 1, 6, 1, 4, 6))
IDX_STEMS = {"train": "train", "test": "t10k"}
BLOCK_BYTES = 1 << 22
READING_ERRORS = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)

Split = Literal["train", "test"]


def _blocks(file: IO[bytes], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The uint8 array that follows in a file, a few rows at a time. Raises EOFError at its end."""
    row = math.prod(shape[1:])
    left, each = shape[0], max(1, BLOCK_BYTES // row)
    while left:
        count = min(left, each)
        data = file.read(count * row)
        if len(data) != count * row:
            raise EOFError(f"its data end {left * row - len(data)} bytes before {shape} are there")
        yield np.frombuffer(data, np.uint8).reshape(count, *shape[1:])
        left -= count


# ---- IDX files


def idx_files(folder: Path, split: Split) -> tuple[Path, Path] | None:
    """The images' and the labels' file of a split; None for a folder that holds neither."""

    def find(kind: str) -> Path | None:
        stem = folder / f"{IDX_STEMS[split]}-{kind}-ubyte"
        return next((p for p in (stem, stem.with_name(stem.name + ".gz")) if p.is_file()), None)

    images, labels = find("images-idx3"), find("labels-idx1")
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        missing = "images-idx3" if images is None else "labels-idx1"
        raise DataError(f"{folder} lacks {IDX_STEMS[split]}-{missing}-ubyte(.gz)")
    return images, labels


def _open_idx(path: Path, dimensions: int) -> tuple[IO[bytes], tuple[int, ...]]:
    """An IDX file at its data, and their shape (magic 0x0000 08 dimensions, big-endian sizes)."""
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    file: IO[bytes] = opener(path, "rb")
    header = file.read(4 * (1 + dimensions))
    if len(header) < 4 * (1 + dimensions) or header[:4] != bytes((0, 0, 8, dimensions)):
        file.close()
        raise DataError(f"{path} is not an IDX file of {dimensions}-dimensional bytes")
    return file, struct.unpack(f">{dimensions}I", header[4:])


def _idx_blocks(path: Path, dimensions: int) -> Iterator[np.ndarray]:
    try:
        file, shape = _open_idx(path, dimensions)
        with file:
            yield from _blocks(file, shape)
            if file.read(1):
                raise EOFError(f"more than the {shape} of its header follow")
    except DataError:
        raise
    except EOFError as error:
        raise DataError(f"{path} is damaged: {error}: truncated?") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def idx_source(image_file: Path, label_file: Path) -> Source:
    """The images and labels of two IDX files; 28x28 are padded with background to 32x32."""
    labels = np.concatenate([np.empty(0, np.uint8), *_idx_blocks(label_file, 1)]).astype(np.int64)
    try:
        file, shape = _open_idx(image_file, 3)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{image_file} cannot be read: {error}") from error
    file.close()
    if shape[0] != len(labels) or not math.prod(shape):
        raise DataError(f"{image_file.parent} has {shape[0]} images and {len(labels)} labels")
    edge = 2 if shape[1:] == (28, 28) else 0

    def read(resolution: int, channels: int) -> Iterator[np.ndarray]:
        for block in _idx_blocks(image_file, 3):
            padded = np.pad(block, ((0, 0), (edge, edge), (edge, edge)))
            for image in padded[..., None]:
                yield fit_array(image, resolution, channels)

    fashion = (len(labels), *labels[:8].tolist()) in FASHION_MNIST_STARTS
    plain = tuple(map(str, range(int(labels.max()) + 1)))
    return Source(
        labels,
        FASHION_MNIST_CLASSES if fashion else plain,
        "Fashion-MNIST" if fashion else str(image_file.parent),
        1,
        read,
        lambda index: f"image {index}",
    )


# ---- .npz files


def npz_source(path: Path) -> Source:
    """The arrays 'images' and optionally 'labels' and 'class_names' of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            name = next((n for n in ("images", "x_train") if n in file.files), None)
            others = {n: file[n] for n in ("labels", "y_train", "class_names") if n in file.files}
        header = None if name is None else _npz_header(path, name)
    except READING_ERRORS as error:
        raise DataError(f"{path} is not a readable .npz of plain arrays: {error}") from error
    if name is None or header is None or header[2] != np.uint8 or len(header[0]) not in (3, 4):
        what = "none" if header is None else f"{header[2]} {header[0]}"
        raise DataError(f"{path}: 'images' must be uint8 (N, H, W) or (N, H, W, C), not {what}")
    shape = header[0]
    first = len(shape) == 4 and shape[-1] not in (1, 3) and shape[1] in (1, 3)
    channels = 1 if len(shape) == 3 else shape[1 if first else 3]
    if channels not in (1, 3) or not math.prod(shape):
        raise DataError(f"{path}: 'images' has shape {shape}; 1 or 3 channels are needed")
    labels = _checked_labels(path, others.get("labels", others.get("y_train")), shape[0])
    classes = int(labels.max()) + 1
    names = tuple(map(_text, others.get("class_names", np.arange(classes)).tolist()))
    if len(names) < classes:
        raise DataError(f"{path}: {len(names)} class_names for labels up to {classes - 1}")

    def read(resolution: int, channels: int) -> Iterator[np.ndarray]:
        for block in _npz_blocks(path, name):
            whole = block[..., None] if len(shape) == 3 else block
            for image in whole.transpose(0, 2, 3, 1) if first else whole:
                yield fit_array(image, resolution, channels)

    shown = names if len(names) > 1 else ()
    return Source(labels, shown, str(path), channels, read, lambda index: f"image {index}")


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"its arrays are of format {version}; 1.0 and 2.0 are read")
    shape, fortran, dtype = readers[version](member)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which would have to be unpickled")
    return shape, fortran, dtype


def _npz_header(path: Path, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        return _read_header(member)


def _npz_blocks(path: Path, name: str) -> Iterator[np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            shape, fortran, _ = _read_header(member)
            if not fortran:
                yield from _blocks(member, shape)
                return
        # Column by column no image is whole before all are.
        with np.load(path, allow_pickle=False) as file:
            yield file[name]
    except READING_ERRORS as error:
        raise DataError(f"{path} is not a readable .npz of plain arrays: {error}") from error


def _checked_labels(path: Path, labels: np.ndarray | None, count: int) -> np.ndarray:
    if labels is None:
        return np.zeros(count, np.int64)
    whole = labels.size == count and labels.dtype.kind in "iu"
    if not whole or labels.min() < 0 or labels.max() >= count:
        raise DataError(
            f"{path}: 'labels' must be {count} whole numbers from 0, one class index per image, "
            f"not {labels.dtype} {labels.shape}"
        )
    return labels.reshape(count).astype(np.int64)
