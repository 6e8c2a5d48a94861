"""Images that people drop on the page: read with care, and fitted as training data are."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from sagan_core.data import fit_image

from .bounded import Bounded
from .source import short
from .uploads import uploaded_file

FORMATS = ("PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")  # and JPEG
MOST_BYTES = 100_000_000
MOST_PIXELS, MOST_JPEG_PIXELS = 89_000_000, 500_000_000
"""A JPEG can be decoded at an eighth of its size, so a larger one fits into memory."""

SCALED_WHILE_READING = 50_000_000
"""Pixels above which that is done; below, an image is fitted exactly as one to train on."""

KEPT_BYTES = 200_000_000
Shape = tuple[int, int]  # resolution, channels

ORIENTATION, TURNED_BY_A_QUARTER = 0x0112, (5, 6, 7, 8)
_reading = threading.Lock()  # a large image takes much memory, so they are read one by one


@dataclass(frozen=True, eq=False)
class Fitted:
    """An image from outside, as a model takes it: (R, R, C) uint8, and what was done in words."""

    image: np.ndarray
    words: str


class Dropped:
    """The images that people dropped lately, by the hash of their file. Safe for many threads."""

    def __init__(self) -> None:
        self._kept = Bounded[str, Mapping[Shape, Fitted]](
            KEPT_BYTES, lambda fits: sum(one.image.nbytes for one in fits.values()) + 1000
        )

    def add(self, request: Any, shapes: Iterable[Shape]) -> tuple[str, Mapping[Shape, Fitted]]:
        """(id, the image at every shape) of {"path": an uploaded file, "name": what it is called}.

        Raises ValueError for a request that names no uploaded file, and, in words for the person,
        for a file that is too large or no image.
        """
        if not isinstance(request, Mapping):
            raise ValueError(f"expected the path of an uploaded image, not {short(request)}")
        name = request.get("name")
        called = name[:80] if isinstance(name, str) and name else "This file"
        path = uploaded_file(request.get("path"))
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(
                f"{called} has {size / 1e6:,.0f} MB; images of up to {MOST_BYTES / 1e6:.0f} MB can "
                "be dropped here."
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        wanted = set(shapes)
        known = self._kept.find(digest)
        if known is None or not wanted <= known.keys():
            with _reading:
                known = fit_file(path, wanted, called)
            self._kept.put(digest, known)
        return digest, known

    def find(self, digest: str, shape: Shape) -> Fitted:
        """The image of that id for a model. Raises LookupError where it is gone."""
        fitted = (self._kept.find(digest) or {}).get(shape)
        if fitted is None:
            raise LookupError("The dropped image is no longer there: drop it again.")
        return fitted


def fit_file(path: Path, shapes: Iterable[Shape], called: str) -> dict[Shape, Fitted]:
    """An image file at every shape (resolution, channels), by the rule of training data.

    Its first frame, upright, transparency on white, cropped to the central square. Raises
    ValueError, in words for the person who calls the file `called`.
    """
    shapes = sorted(shapes)
    try:
        with path.open("rb") as file, _opened(file, called) as image:
            whole = image.size
            if whole[0] * whole[1] > SCALED_WHILE_READING:
                largest = 2 * max(resolution for resolution, _ in shapes)
                image.draft(None, (largest, largest))
            animated = bool(getattr(image, "is_animated", False))
            image.seek(0)
            return {shape: _fitted(image, whole, animated, *shape) for shape in shapes}
    except _TooLargeError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # a damaged file makes the decoders of ten formats raise anything
        raise ValueError(f"{called} cannot be read as an image: it may be damaged.") from error


class _TooLargeError(Exception):
    """An image of too many pixels; the message says so to the person."""


def _opened(file: Any, called: str) -> Image.Image:
    """The image in a file, its size checked before any pixel is decoded."""
    jpeg = file.read(3) == b"\xff\xd8\xff"
    file.seek(0)
    try:
        if jpeg:
            # Not through Image.open, which refuses sizes that are harmless at an eighth.
            image: Image.Image = JpegImagePlugin.JpegImageFile(file)
        else:
            Image.init()
            image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _TooLargeError(_too_large(called, MOST_PIXELS)) from None
    # A progressive JPEG is held whole while it is decoded, at an eighth too.
    most = MOST_JPEG_PIXELS if jpeg and not image.info.get("progressive") else MOST_PIXELS
    if image.width * image.height > most:
        raise _TooLargeError(_too_large(called, most, image.size))
    return image


def _too_large(called: str, most: int, size: tuple[int, int] | None = None) -> str:
    has = f"{size[0]}×{size[1]} pixels" if size else "too many pixels"
    return (
        f"{called} has {has}; up to {most / 1e6:.0f} megapixels can be read, and "
        f"{MOST_JPEG_PIXELS / 1e6:.0f} of a plain JPEG. Make it smaller and drop it again."
    )


def _fitted(
    image: Image.Image, whole: tuple[int, int], animated: bool, resolution: int, channels: int
) -> Fitted:
    # The mode is the decoder's, so these must be asked before the image is converted.
    turned = image.getexif().get(ORIENTATION, 1)
    width, height = whole[::-1] if turned in TURNED_BY_A_QUARTER else whole
    parts = ["first frame"] if animated else []
    if turned in range(2, 9):
        parts.append("turned upright")
    side, size = min(width, height), f"{resolution}×{resolution}"
    if width != height:
        parts.append(f"cropped to the middle {side}×{side} of {width}×{height}")
    if side != resolution:
        parts.append(f"scaled {'' if width != height else f'from {side}×{side} '}to {size}")
    words = [" and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))]
    deep = image.mode.startswith("I") or image.mode == "F"
    if deep:
        words.append("its values scaled to 8 bits")
    if image.has_transparency_data:
        words.append("transparency laid on white")
    if channels == 1 and not deep and image.mode not in ("1", "L", "LA"):
        words.append("turned to grey")
    elif image.mode in ("CMYK", "YCCK", "LAB"):
        words.append(f"turned from {image.mode} to RGB")
    said = "; ".join(word for word in words if word) or f"Taken as it is, {size}"
    pixels = fit_image(image, resolution, channels).transpose(1, 2, 0)
    return Fitted(np.ascontiguousarray(pixels), said[0].upper() + said[1:])
