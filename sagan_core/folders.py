"""A folder of images whose sub-folders are classes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from .fit import DECODING_ERRORS, fit_image, is_grey
from .image_set import DataError
from .source import Read, Source

CLASSES = "classes.json"
PICTURES = "png jpg jpeg jpe jfif webp bmp gif tif tiff ppm pgm pbm pnm tga jp2 ico avif"
IMAGE_SUFFIXES = frozenset(f".{name}" for name in PICTURES.split())
SPLITS = ("train", "training", "val", "valid", "validation", "test")
AT_ONCE = 512  # images that wait for each other, so that memory holds no more

T = TypeVar("T")


def folder_source(folder: Path, accepted: str) -> Source:
    """The images of a folder; every folder in it is a class.

    Args:
        accepted: what may be given instead, for the message where there are no images.
    """
    paths, labels, names = _list_folder(folder, accepted)
    grey = all(_in_threads(lambda path: _has_no_colour(folder / path), paths))

    def read(resolution: int, channels: int) -> Iterator[Read]:
        def decode(path: str) -> Read:
            try:
                with Image.open(folder / path) as image:
                    return fit_image(image, resolution, channels)
            except DECODING_ERRORS as error:
                return str(error)

        yield from _in_threads(decode, paths)

    return Source(
        labels,
        names,
        str(folder),
        1 if grey else 3,
        read,
        lambda index: paths[index],
        read_one_sided(folder / CLASSES, names),
    )


def _in_threads(work: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), AT_ONCE):
            yield from pool.map(work, paths[start : start + AT_ONCE])


def _has_no_colour(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return is_grey(image.mode)
    except DECODING_ERRORS:
        return True  # it says nothing about the others; reading it will tell what is wrong


def read_one_sided(file: Path, names: Sequence[str]) -> tuple[int, ...]:
    """Labels of the classes that a `classes.json`, where there is one, calls so."""
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


def _images_below(folder: Path) -> list[str]:
    """Paths of image files, relative to the folder, in the order of their parts."""
    found: list[str] = []
    # A class may be a link to a folder elsewhere; links further down are not followed.
    links = [entry.path for entry in os.scandir(folder) if entry.is_dir() and entry.is_symlink()]
    for top in (str(folder), *links):
        for place, folders, files in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith((".", "__"))]
            relative = os.path.relpath(place, folder)
            if relative.startswith((".", "__")) and relative != ".":
                continue
            start = "" if relative == "." else relative + os.sep
            found += [start + name for name in files if _is_image(name)]
    # A million names are a hundred megabytes: no Path is kept for each.
    return sorted(found, key=lambda path: path.split(os.sep))


def _is_image(name: str) -> bool:
    hidden = name.startswith((".", "__"))
    return not hidden and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _list_folder(folder: Path, accepted: str) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Image files in a fixed order, their class indices, and the classes' names."""
    paths = _images_below(folder)
    loose = [path for path in paths if os.sep not in path]
    if not paths:
        raise DataError(f"no images in {folder}; --data takes {accepted}")
    if not loose:
        return _list_classes(folder, paths)
    if len(loose) < len(paths):
        classes = [path for path in paths if os.sep in path]
        raise DataError(
            f"{folder} holds images ({loose[0]}, ...) beside folders of images "
            f"({classes[0].split(os.sep)[0]}, ...): either every image is in a class folder or "
            "none is"
        )
    return paths, np.zeros(len(paths), np.int64), ()


def _list_classes(folder: Path, paths: list[str]) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    names: list[str] = []
    labels = np.empty(len(paths), np.int64)
    deeper: dict[str, set[str]] = {}  # folders in a class's folder, "" for images in it itself
    for index, path in enumerate(paths):
        name, *rest = path.split(os.sep)
        if not names or names[-1] != name:
            names.append(name)
        labels[index] = len(names) - 1
        deeper.setdefault(name, set()).add(rest[0] if len(rest) > 1 else "")
    for name, inner in deeper.items():
        if name in SPLITS and "" not in inner and len(inner) > 1:
            raise DataError(
                f"{folder / name} looks like a part of a data set with its own class folders "
                f"({', '.join(sorted(inner)[:3])}, ...): give that folder instead"
            )
    return paths, labels, tuple(names) if len(names) > 1 else ()
