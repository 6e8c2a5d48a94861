"""A sample as one binary file for the browser, and the small description that says what is where.

The file holds the colour table, the image, and for each attention layer the mean row, queries
and keys, from which the browser computes any row: softmax(query^T key), as in `Attend`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sagan_core.attention import AttentionField
from sagan_core.sample import Sample

from ..colour import PIN_COLOUR_NAMES, PIN_COLOURS, colour_table
from .notes import layer_label, layer_notes

HALF_LIMIT = 65504.0  # the largest 16-bit float


class _File:
    """Arrays one after the other, each starting at a multiple of four bytes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, array: np.ndarray) -> int:
        """Append an array; returns the offset of its first byte."""
        offset, content = self.size, array.tobytes()
        padding = b"\0" * (-len(content) % 4)
        self.parts += [content, padding]
        self.size += len(content) + len(padding)
        return offset


def pack(sample: Sample) -> tuple[bytes, dict[str, Any]]:
    """(content, description) of a sample for the explorer.

    All offsets in the description are in bytes, numbers are little-endian. Per layer: `mean`, the
    average point's row (N_key float32); `query` (C, N_query) and `key` (C, N_key) float16.
    """
    file = _File()
    height, width, channels = sample.image.shape
    description: dict[str, Any] = {
        "colours": file.add(colour_table()),
        "pin_colours": [
            {"colour": colour, "name": name}
            for colour, name in zip(PIN_COLOURS, PIN_COLOUR_NAMES, strict=True)
        ],
        "image": {
            "height": height,
            "width": width,
            "channels": channels,
            "offset": file.add(sample.image),
        },
        "layers": [_describe(file, name, field) for name, field in sample.fields.items()],
    }
    return b"".join(file.parts), description


def _describe(file: _File, name: str, field: AttentionField) -> dict[str, Any]:
    query, key = half_precision(field)
    return {
        "name": name,
        "label": layer_label(field),
        "notes": layer_notes(field),
        "gamma": field.gamma,
        "query_grid": list(field.query_grid),
        "key_grid": list(field.key_grid),
        "channels": len(query),
        "mean": file.add(field.mean_row()[0].numpy().astype("<f4")),
        "query": file.add(query),
        "key": file.add(key),
    }


def half_precision(field: AttentionField) -> tuple[np.ndarray, np.ndarray]:
    """Queries (C, N_query) and keys (C, N_key) of the first image as float16.

    The rows they give are the field's own up to rounding. Two changes leave the softmax as it is
    and keep the rounding small: the mean key is taken off every key, which moves all logits of a
    row alike; and queries are scaled against keys by a power of two, so that both are of one size
    and neither overflows nor vanishes in 16 bits.
    """
    query = field.query[0].flatten(1).double().numpy()
    key = field.key[0].flatten(1).double().numpy()
    key = key - key.mean(1, keepdims=True)
    largest_query, largest_key = abs(query).max(initial=0.0), abs(key).max(initial=0.0)
    if largest_query > 0 and largest_key > 0:
        balance = 2.0 ** round(math.log2(largest_key / largest_query) / 2)
        query, key = query * balance, key / balance
    query, key = (np.clip(array, -HALF_LIMIT, HALF_LIMIT) for array in (query, key))
    return query.astype("<f2"), key.astype("<f2")
