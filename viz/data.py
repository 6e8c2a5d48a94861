"""The numbers behind a picture, in one NPZ file: image, pins, and every layer's attention."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sagan_core.attention import AttentionField
from sagan_core.sample import Sample

from .view import Pin

WEIGHTS_LIMIT = 256_000_000
"""Bytes above which a layer's weights are left out of the file; its queries and keys never are."""


def attention_field(fields: Mapping[str, AttentionField], layer: str) -> AttentionField:
    """What `layer` did for an image. Raises KeyError naming the layers that there are."""
    if layer not in fields:
        raise KeyError(f"no attention layer {layer!r}; this sample has {_listed(fields)}")
    return fields[layer]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none: its model has no attention"


def checked_pins(field: AttentionField, pins: Iterable[Sequence[int]]) -> list[Pin]:
    """The pins as (row, col) cells of the query grid.

    Raises ValueError for what is not a pair of whole numbers, IndexError outside the grid.
    """
    return [_checked_pin(field, pin) for pin in pins]


def _checked_pin(field: AttentionField, pin: Sequence[int]) -> Pin:
    try:
        row, col = map(operator.index, pin)
    except (TypeError, ValueError):
        raise ValueError(f"pin {pin!r} is not a pair of whole numbers (row, col)") from None
    field.query_grid.cell_index(row, col, "pin")
    return row, col


def save_data(
    path: str | Path,
    sample: Sample,
    layer: str,
    pins: Iterable[Sequence[int]],
    *,
    checkpoint: str = "",
    class_name: str = "",
) -> None:
    """Write a compressed NPZ that `numpy.load(path, allow_pickle=False)` reads.

    The same arguments give the same bytes. For an image of H x W pixels and P pins it holds

        image          (H, W, 3 or 1) uint8
        layer          the layer on whose query grid the pins are
        pins           (P, 2) int64, each (row, col), counted from 0 at the top left
        seed, truncation   what made the image
        label          class index, -1 for a model without classes
        checkpoint, class_name   as given here
        layers         names of all layers, in forward order

    and for each of these layers, under its name (for instance `blocks.1.attention/query`)

        NAME/query     (C, h, w) float32
        NAME/key       (C, h', w') float32
        NAME/gamma     the layer's learnt scale
        NAME/weights   (h * w, h' * w') float32, softmax(query^T key): row `r * w + c` says how much
                       query cell (r, c) attends to each key cell, row by row, and sums to 1

    In place of weights larger than `WEIGHTS_LIMIT` bytes there is `NAME/weights_left_out`, a text
    that says so; they follow from query and key.

    Raises ValueError for a path that does not end in .npz and for a malformed pin, KeyError for
    an unknown layer, IndexError for a pin outside the layer's query grid, OSError where the file
    cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"cannot write {path.name!r}: the file name must end in .npz")
    cells = checked_pins(attention_field(sample.fields, layer), pins)
    arrays: dict[str, np.ndarray] = {
        "image": sample.image,
        "layer": np.array(layer),
        "pins": np.array(cells, dtype=np.int64).reshape(-1, 2),
        "seed": np.array(sample.seed, dtype=np.int64),
        "label": np.array(-1 if sample.label is None else sample.label, dtype=np.int64),
        "truncation": np.array(sample.truncation, dtype=np.float64),
        "checkpoint": np.array(checkpoint),
        "class_name": np.array(class_name),
        "layers": np.array(list(sample.fields)),
    }
    for name, field in sample.fields.items():
        arrays |= {f"{name}/{part}": array for part, array in _field_arrays(field).items()}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _field_arrays(field: AttentionField) -> dict[str, np.ndarray]:
    arrays = {
        "query": field.query[0].cpu().numpy(),
        "key": field.key[0].cpu().numpy(),
        "gamma": np.array(field.gamma, dtype=np.float64),
    }
    queries, keys = math.prod(field.query_grid), math.prod(field.key_grid)
    size = 4 * queries * keys
    if size <= WEIGHTS_LIMIT:
        arrays["weights"] = field.weights[0].cpu().numpy()
    else:
        arrays["weights_left_out"] = np.array(
            f"{queries} x {keys} float32 weights take {size:,} bytes, more than {WEIGHTS_LIMIT:,}; "
            "softmax(query^T key) gives them"
        )
    return arrays
