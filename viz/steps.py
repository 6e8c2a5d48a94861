"""How a pin's point was made, for a browser that asks: every number between x and y."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Any

import numpy as np
from torch import Tensor

from sagan_core.sample import evaluating
from sagan_core.steps import places, steps_at

from .source import Source, short, whole
from .workshop import Workshop

MOST_NUMBERS = 4_000_000
"""Above this, what keys and values are the largest of is left out."""


def steps_json(workshop: Workshop, request: Any) -> dict[str, Any]:
    """Every number of one point of a layer.

    Args:
        request: {"source", "layer", "cell": [row, col] on its query grid}.

    Returns {"cell", "query_grid", "key_grid", "channels", "centred", "scale", "pooled", "bias",
    "blocked", "gamma", "places": {step: [file, line, code]}, "arrays": {name: {"shape", "data"}}};
    data is float32 in base64, and its names are those of `sagan_core.steps.Steps`.

    Raises ValueError, LookupError or CheckpointError, in words for a person.
    """
    if not isinstance(request, Mapping):
        raise ValueError(f"expected an object, not {short(request)}")
    source = workshop.checked(Source.from_json(request.get("source")))
    made = workshop.made(source)
    name = request.get("layer")
    if not isinstance(name, str) or name not in made.fields:
        raise LookupError(f"no attention layer {short(name)}; there are {', '.join(made.fields)}")
    field = made.fields[name]
    cell = request.get("cell")
    if not isinstance(cell, list) or len(cell) != 2:
        raise ValueError(f"cell is {short(cell)}; it must be [row, column]")
    height, width = field.query_grid
    row, col = whole(cell[0], "row", 0, height - 1), whole(cell[1], "column", 0, width - 1)
    pair = workshop.networks.pair(made.source.checkpoint, made.source.weights)
    blocked = dict(made.source.without).get(name, ())
    with pair.lock:
        layer = pair.layers()[name]
        with evaluating(layer):
            steps = steps_at(layer, field, row, col, blocked)
    arrays = {one.name: getattr(steps, one.name) for one in fields_of(steps) if one.name != "gamma"}
    if sum(tensor.numel() for tensor in arrays.values()) > MOST_NUMBERS:
        arrays = {name: tensor for name, tensor in arrays.items() if "candidates" not in name}
    return {
        "cell": [row, col],
        "query_grid": list(field.query_grid),
        "key_grid": list(field.key_grid),
        "centred": layer.centre,
        "scale": layer.scale,
        "pooled": len(steps.key_candidates) > 1,
        "blocked": list(blocked),
        "gamma": steps.gamma,
        "places": {step: list(place) for step, place in places().items()},
        "arrays": {name: _packed(tensor) for name, tensor in arrays.items()},
    }


def _packed(tensor: Tensor) -> dict[str, Any]:
    array = tensor.cpu().numpy().astype(np.float32)
    return {
        "shape": list(array.shape),
        "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
    }
