"""Images on disk as one uint8 array (N, C, R, R) with labels.

Sources: Fashion-MNIST's IDX files (any folder with files of those names), a folder of images
whose sub-folders are classes, and an `.npz` file.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
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
PICTURES = "png jpg jpeg jpe jfif webp bmp gif tif tiff ppm pgm pbm pnm tga jp2 ico avif"
IMAGE_SUFFIXES = frozenset(f".{name}" for name in PICTURES.split())
# What Pillow raises for files that are damaged, in their pixels or in their EXIF block.
DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
CLASSES = "classes.json"
SPLITS = ("train", "training", "val", "valid", "validation", "test")
BROKEN_SHARE = 0.01
SOURCES = (
    "'fashion-mnist', a folder with its IDX files, a folder of images (sub-folders are classes), "
    "or an .npz file with 'images' and optionally 'labels' and 'class_names'"
)

Split = Literal["train", "test"]
T = TypeVar("T")


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

    def fingerprint(self) -> int:
        """A checksum of the labels and of some images: other data have another."""
        some = np.ascontiguousarray(self.images[:: max(1, len(self) // 64)])
        return zlib.crc32(some.tobytes(), zlib.crc32(self.labels.tobytes()))

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) indices -> float images (B, C, R, R) in [-1, 1] and labels (B,)."""
        chosen = indices.numpy()
        return to_signed(torch.from_numpy(self.images[chosen])), torch.from_numpy(
            self.labels[chosen]
        )


def to_signed(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1, as the released code scales: x * 2 / 255 - 1."""
    return images.float().mul_(2 / 255).sub_(1)


def load_images(
    source: str | Path,
    resolution: int,
    split: Split = "train",
    channels: int | None = None,
    memory_limit: int | None = None,
) -> ImageSet:
    """Read a whole data set at one resolution.

    Args:
        source: 'fashion-mnist', a folder, or an .npz file.
        resolution: height and width of the result in pixels. Images are cropped to the central
            square and resized; Fashion-MNIST's 28x28 are padded with background to 32x32 first.
        split: 'test' is the held-out part; only IDX folders have one.
        channels: 1 or 3; by default 1 where every image is grey.
        memory_limit: bytes above which pixels go to a memory-mapped temporary file (in TMPDIR);
            by default half of this machine's memory.

    Raises DataError when nothing usable is found or more than 1% of the images are broken; fewer
    are named in a warning and left out.
    """
    limit = _half_of_memory() if memory_limit is None else memory_limit
    path = _source_path(source)
    if not path.exists():
        hint = ""
        if path == FASHION_MNIST:
            hint = " (Debian's package dataset-fashion-mnist installs it)"
        raise DataError(f"no data at {path}{hint}; --data takes {SOURCES}")
    idx = _idx_files(path, split)
    if idx is not None:
        found = _load_idx(*idx, resolution, channels, limit)
    elif split == "test":
        raise DataError(f"{path} has no held-out test part; only folders of IDX files have one")
    elif path.suffix == ".npz":
        found = _load_npz(path, resolution, channels, limit)
    elif path.is_dir():
        found = _load_folder(path, resolution, channels, limit)
    else:
        raise DataError(f"{path} is not a source of images; --data takes {SOURCES}")
    return found


def has_test_part(source: str | Path) -> bool:
    """Whether `load_images(source, ..., "test")` has held-out images to read."""
    return any(_source_path(source).glob(f"{IDX_STEMS['test']}-*-ubyte*"))


def _source_path(source: str | Path) -> Path:
    return FASHION_MNIST if str(source) == "fashion-mnist" else Path(source).expanduser()


def _half_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _empty_pixels(shape: tuple[int, ...], limit: int) -> np.ndarray:
    """uint8 array in memory, or in an unnamed temporary file when larger than `limit` bytes."""
    if math.prod(shape) <= limit:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


# ---- IDX files


def _idx_files(folder: Path, split: Split) -> tuple[Path, Path] | None:
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


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of one IDX file (magic 0x0000 08 dimensions, big-endian sizes, data)."""
    opener: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:  # type: ignore[attr-defined]
            data: bytes = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    header = 4 * (1 + dimensions)
    if len(data) < header or data[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"{path} is not an IDX file of {dimensions}-dimensional bytes")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise DataError(
            f"{path} holds {len(data) - header} bytes of data; its header says {shape}: truncated?"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _load_idx(
    image_file: Path, label_file: Path, resolution: int, channels: int | None, limit: int
) -> ImageSet:
    images, labels = _read_idx(image_file, 3), _read_idx(label_file, 1).astype(np.int64)
    if len(images) != len(labels) or not len(images):
        raise DataError(f"{image_file.parent} has {len(images)} images and {len(labels)} labels")
    if images.shape[1:] == (28, 28):
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    classes = int(labels.max()) + 1
    fashion = (len(labels), *labels[:8].tolist()) in FASHION_MNIST_STARTS
    names = FASHION_MNIST_CLASSES if fashion else tuple(map(str, range(classes)))
    pixels = _fit_arrays(images[..., None], resolution, channels or 1, limit)
    return ImageSet(pixels, labels, names, "Fashion-MNIST" if fashion else str(image_file.parent))


# ---- .npz files


def _load_npz(path: Path, resolution: int, channels: int | None, limit: int) -> ImageSet:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable .npz of plain arrays: {error}") from error
    images = arrays.get("images", arrays.get("x_train"))
    if images is None or images.dtype != np.uint8 or images.ndim not in (3, 4):
        what = "none" if images is None else f"{images.dtype} {images.shape}"
        raise DataError(f"{path}: 'images' must be uint8 (N, H, W) or (N, H, W, C), not {what}")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[-1] not in (1, 3) or not images.size:
        raise DataError(f"{path}: 'images' has shape {images.shape}; 1 or 3 channels are needed")
    labels = arrays.get("labels", arrays.get("y_train"))
    labels = _checked_labels(path, labels, len(images))
    classes = int(labels.max()) + 1
    names = tuple(map(str, arrays.get("class_names", np.arange(classes))))
    if len(names) < classes:
        raise DataError(f"{path}: {len(names)} class_names for labels up to {classes - 1}")
    pixels = _fit_arrays(images, resolution, channels or images.shape[-1], limit)
    return ImageSet(pixels, labels, names if len(names) > 1 else (), str(path))


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


def _fit_arrays(images: np.ndarray, resolution: int, channels: int, limit: int) -> np.ndarray:
    """(N, H, W, 1 or 3) uint8 -> (N, channels, R, R)."""
    pixels = _empty_pixels((len(images), channels, resolution, resolution), limit)
    if images.shape[1:] == (resolution, resolution, channels):
        pixels[:] = images.transpose(0, 3, 1, 2)
        return pixels
    for index, image in enumerate(tqdm(images, "resizing images", leave=False, disable=None)):
        plain = image[..., 0] if image.shape[-1] == 1 else image
        pixels[index] = fit_image(Image.fromarray(plain), resolution, channels)
    return pixels


# ---- folders of images


def _load_folder(folder: Path, resolution: int, channels: int | None, limit: int) -> ImageSet:
    paths, labels, names = _list_folder(folder)
    grey, broken = _inspect(paths)
    _report_broken(folder, paths, broken)
    channels = channels or (1 if grey else 3)
    kept = [index for index in range(len(paths)) if index not in broken]
    pixels = _empty_pixels((len(kept), channels, resolution, resolution), limit)

    def decode(place: int) -> str | None:
        try:
            with Image.open(paths[kept[place]]) as image:
                pixels[place] = fit_image(image, resolution, channels)
        except DECODING_ERRORS as error:
            return str(error)
        return None

    errors = _in_threads(decode, range(len(kept)), "decoding images")
    failed = {place: error for place, error in enumerate(errors) if error is not None}
    broken.update({kept[place]: error for place, error in failed.items()})
    if failed:
        _report_broken(folder, paths, broken)
        good = [place for place in range(len(kept)) if place not in failed]
        for target, place in enumerate(good):
            pixels[target] = pixels[place]
        pixels, kept = pixels[: len(good)], [kept[place] for place in good]
    kept_labels = np.asarray(labels, np.int64)[kept]
    return ImageSet(pixels, kept_labels, names, str(folder), _one_sided(folder, names))


def _one_sided(folder: Path, names: Sequence[str]) -> tuple[int, ...]:
    """Labels of the classes that the folder's `classes.json`, where there is one, calls so."""
    file = folder / CLASSES
    if not file.is_file():
        return ()
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        marked = {name for name, one in about.items() if one["one_sided"]}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise DataError(
            f'{file} must hold {{"class": {{"one_sided": true or false}}, ...}}: {error!r}'
        ) from error
    return tuple(label for label, name in enumerate(names) if name in marked)


def _list_folder(folder: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Image files in a fixed order, their class indices, and the classes' names."""

    def images_below(root: Path) -> list[Path]:
        return [
            path
            for path in sorted(root.rglob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES
            and path.is_file()
            and not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
        ]

    classes = {
        child.name: found
        for child in sorted(folder.iterdir())
        if child.is_dir() and (found := images_below(child))
    }
    loose = [path for path in images_below(folder) if path.parent == folder]
    if not classes and not loose:
        raise DataError(f"no images in {folder}; --data takes {SOURCES}")
    if classes and loose:
        raise DataError(
            f"{folder} holds images ({loose[0].name}, ...) beside folders of images "
            f"({next(iter(classes))}, ...): either every image is in a class folder or none is"
        )
    for name, found in classes.items():
        deeper = {path.relative_to(folder).parts[1] for path in found if path.parent.name != name}
        if name in SPLITS and len(deeper) > 1 and all(p.parent.parent != folder for p in found):
            raise DataError(
                f"{folder / name} looks like a part of a data set with its own class folders "
                f"({', '.join(sorted(deeper)[:3])}, ...): give that folder instead"
            )
    groups = list(classes.values()) or [loose]
    paths = [path for group in groups for path in group]
    labels = [label for label, group in enumerate(groups) for _ in group]
    return paths, labels, tuple(classes) if len(classes) > 1 else ()


def _inspect(paths: Sequence[Path]) -> tuple[bool, dict[int, str]]:
    """Whether every readable image is grey, and the unreadable ones with their errors."""

    def mode(index: int) -> tuple[str, str | None]:
        try:
            with Image.open(paths[index]) as image:
                return image.mode, None
        except DECODING_ERRORS as error:
            return "", str(error)

    modes = _in_threads(mode, range(len(paths)), "reading headers")
    broken = {index: error for index, (_, error) in enumerate(modes) if error is not None}
    grey = all(m in ("1", "L", "LA") or m.startswith("I") for m, error in modes if error is None)
    return grey, broken


def _in_threads(work: Callable[[int], T], items: Iterable[int], what: str) -> list[T]:
    items = list(items)
    with ThreadPoolExecutor() as pool:
        return list(
            tqdm(pool.map(work, items), what, len(items), leave=False, disable=None, unit="img")
        )


def _report_broken(folder: Path, paths: Sequence[Path], broken: dict[int, str]) -> None:
    if not broken:
        return
    more = f"; and {len(broken) - 5} more" if len(broken) > 5 else ""
    named = "; ".join(
        f"{paths[index].relative_to(folder)} ({error.split(chr(10))[0][:80]})"
        for index, error in list(broken.items())[:5]
    )
    text = f"{len(broken)} of {len(paths)} images in {folder} cannot be read: {named}{more}"
    if len(broken) > BROKEN_SHARE * len(paths):
        raise DataError(f"{text}. More than {BROKEN_SHARE:.0%} is too many: remove or mend them")
    warnings.warn(f"{text}. Left out", stacklevel=4)


def fit_image(image: Image.Image, resolution: int, channels: int) -> np.ndarray:
    """Any image, first frame and upright, centre-cropped and resized: (channels, R, R) uint8.

    Transparency is laid on white; 16-bit greys are scaled to 8 bits, not clipped.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (resolution, resolution):
        image = ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(resolution, resolution, channels).transpose(2, 0, 1)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"values from {values.min()} to {values.max()} are neither 8 nor 16 bits")
    if image.mode == "F" and values.max() <= 1:
        values = values * 255
    scale = 257 if image.mode.startswith("I;16") or values.max() > 255 else 1
    return Image.fromarray(np.round(values / scale).astype(np.uint8))


if __name__ == "__main__":
    import sys

    from .data_command import main

    sys.exit(main())
