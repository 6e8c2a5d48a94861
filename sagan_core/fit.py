"""Any image -> uint8 of one size and number of channels."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image, ImageOps

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


def is_grey(mode: str) -> bool:
    """Whether images of a Pillow mode have no colour."""
    return mode in ("1", "L", "LA", "F") or mode.startswith("I")


def fit_image(image: Image.Image, resolution: int, channels: int) -> np.ndarray:
    """Any image, first frame and upright, centre-cropped and resized: (channels, R, R) uint8.

    Transparency is laid on white; 16-bit greys are scaled to 8 bits, not clipped.
    """
    file_format = image.format
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image, file_format)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (resolution, resolution):
        image = ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(resolution, resolution, channels).transpose(2, 0, 1)


def fit_array(pixels: np.ndarray, resolution: int, channels: int) -> np.ndarray:
    """(H, W, 1 or 3) uint8 -> (channels, R, R) uint8."""
    if pixels.shape == (resolution, resolution, channels):
        return pixels.transpose(2, 0, 1)
    plain = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return fit_image(Image.fromarray(np.ascontiguousarray(plain)), resolution, channels)


def _to_eight_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"values from {values.min()} to {values.max()} are neither 8 nor 16 bits")
    if image.mode == "F" and values.max() <= 1:
        values = values * 255
    # PNG and PGM have these modes for 16 bits alone, so that a dark image is no 8-bit one; what a
    # TIFF of 32-bit numbers means is not written in it.
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM"))
    scale = 257 if sixteen or values.max() > 255 else 1
    return Image.fromarray(np.round(values / scale).astype(np.uint8))
