"""The numbers behind a picture, in one NPZ file: image, pins, and every layer's attention."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from sagan_core.attention import AttentionField, SelfAttention
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
        source         what made the image and what was changed in the model, as JSON; may be empty
        layers         names of all layers, in forward order; the discriminator's begin with
                       "discriminator."

    and for each of these layers, under its name (for instance `blocks.1.attention/query`), all
    float32, for N = h * w queries and N' = h' * w' keys, both row by row

        NAME/x           (C, h, w)     the layer's input
        NAME/query       (D, h, w)
        NAME/key         (D, h', w')
        NAME/value       (E, h', w')
        NAME/added       (C, h', w')   what each key's value adds: the output convolution of value
        NAME/weights     (N, N')       softmax(query^T key): row `r * w + c` says how much query
                                       cell (r, c) attends to each key cell, and sums to 1
        NAME/out         (C, h, w)     weights times added, unless keys were knocked out
        NAME/gamma       the scale as used; the layer's output is x + gamma * out
        NAME/learnt_gamma   the scale as learnt, where it was changed
        NAME/strength    (h', w')      length of added over its channels
        NAME/entropy     (h, w)        of each query's row of weights, in nats

    A file of the page also has how these came about

        NAME/query_map, NAME/key_map, NAME/value_map, NAME/out_map   (D, C), (D, C), (E, C), (C, E):
                         the 1x1 convolutions, as used; NAME/query_bias and so on, where there are
        NAME/pooled, NAME/centred, NAME/scale   keys and values are the largest of each 2x2; queries
                         are less their mean over positions; and times this

    With keys knocked out, query, key and weights are those before, so that the knock-out can be
    repeated: set the columns to 0, scale rows to sum to 1, and `out` follows.

    In place of weights larger than `WEIGHTS_LIMIT` bytes there is `NAME/weights_left_out`, a text
    that says so; they follow from query and key.

    Raises ValueError for a path that does not end in .npz and for a malformed pin, KeyError for
    an unknown layer, IndexError for a pin outside the layer's query grid, OSError where the file
    cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"cannot write {path.name!r}: the file name must end in .npz")
    content = BytesIO()
    write_data(content, sample, layer, pins, checkpoint=checkpoint, class_name=class_name)
    path.write_bytes(content.getvalue())


def write_data(
    file: IO[bytes],
    sample: Sample,
    layer: str,
    pins: Iterable[Sequence[int]],
    *,
    checkpoint: str = "",
    class_name: str = "",
    source: str = "",
    learnt: Mapping[str, float] | None = None,
    layers: Mapping[str, SelfAttention] | None = None,
) -> None:
    """The same into an open file. `learnt` and `layers` have gammas as learnt, and layers."""
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
        "source": np.array(source),
        "layers": np.array(list(sample.fields)),
    }
    for name, field in sample.fields.items():
        arrays |= {f"{name}/{part}": array for part, array in _field_arrays(field).items()}
        gamma = (learnt or {}).get(name, field.gamma)
        if gamma != field.gamma:
            arrays[f"{name}/learnt_gamma"] = np.array(gamma, dtype=np.float64)
    for name, one in (layers or {}).items():
        if name in sample.fields:
            arrays |= {f"{name}/{part}": array for part, array in _map_arrays(one).items()}
    np.savez_compressed(file, allow_pickle=False, **arrays)


def _field_arrays(field: AttentionField) -> dict[str, np.ndarray]:
    tensors = {
        "x": field.x,
        "query": field.query,
        "key": field.key,
        "out": field.out,
        "entropy": field.entropy(),
    }
    if field.value is not None and field.added is not None:
        tensors |= {"value": field.value, "added": field.added, "strength": field.strength()}
    arrays = {name: tensor[0].cpu().numpy() for name, tensor in tensors.items()}
    arrays["gamma"] = np.array(field.gamma, dtype=np.float64)
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


@torch.no_grad()
def _map_arrays(layer: SelfAttention) -> dict[str, np.ndarray]:
    """The layer must be in eval mode, or reading a normalised weight would change it."""
    arrays = {
        "pooled": np.array(not isinstance(layer.pool, nn.Identity)),
        "centred": np.array(layer.centre),
        "scale": np.array(layer.scale, dtype=np.float64),
    }
    for name in ("query", "key", "value", "out"):
        one = getattr(layer, name)
        if isinstance(one, nn.Conv2d):
            arrays[f"{name}_map"] = one.weight.flatten(1).float().cpu().numpy()
            if one.bias is not None:
                arrays[f"{name}_bias"] = one.bias.float().cpu().numpy()
    return arrays
