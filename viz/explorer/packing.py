"""A scene as one binary file for the browser, and the small description that says what is where.

The file holds the image and, for each attention layer, queries and keys, from which the browser
computes any row, softmax(query^T key) as in `Attend`, or any column, and what is known of every
point and every key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sagan_core.attention import AttentionField

from ..suggestions import suggested_pins
from .notes import layer_label, layer_notes

HALF_LIMIT = 65504.0  # the largest 16-bit float
DISCRIMINATOR = "discriminator."


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

    def add_image(self, image: np.ndarray) -> dict[str, int]:
        """Append (H, W, C) uint8."""
        height, width, channels = image.shape
        offset = self.add(image)
        return {"height": height, "width": width, "channels": channels, "offset": offset}


def pack(
    image: np.ndarray,
    fields: Mapping[str, AttentionField],
    learnt: Mapping[str, float] | None = None,
    reference: np.ndarray | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """(content, description) of a scene for the explorer.

    Args:
        image: (H, W, 3 or 1) uint8.
        fields: by layer, the discriminator's with "discriminator." in front; of the first image.
        learnt: gammas as they were learnt, where the fields' differ.
        reference: the image without what was changed in the model; None where nothing was.

    All offsets in the description are in bytes, numbers are little-endian. Per layer, with
    N_query and N_key cells in row-major order:

        query, key   (C, N_query) and (C, N_key) float16: see `half_precision`
        normaliser   (N_query) float32, log sum exp of the logits of these: exp(q.k - normaliser)
                     is how much a query attends to a key, so that a column needs no rows
        mean         (N_key) float32, the average point's row
        strength     (N_key) float32, length of what the key's value adds after the output map
        entropy      (N_query) float32, in nats
        distance     (N_query) float32, mean distance looked, in image heights
    """
    file, learnt = _File(), learnt or {}
    labels = _labels(fields)
    layers = []
    for name, field in fields.items():
        about = {"name": name, "label": labels[name], "network": network_of(name)}
        gammas = {"gamma": field.gamma, "learnt_gamma": learnt.get(name, field.gamma)}
        layers.append({**about, **gammas, **_describe(file, name, field, image)})
    description = {
        "image": file.add_image(image),
        "reference": None if reference is None else file.add_image(reference),
        "layers": layers,
    }
    return b"".join(file.parts), description


def network_of(layer: str) -> str:
    """The network that a layer's name belongs to."""
    return "discriminator" if layer.startswith(DISCRIMINATOR) else "generator"


def _labels(fields: Mapping[str, AttentionField]) -> dict[str, str]:
    """A layer's name for a person, with its number where several have one size."""
    plain = {name: layer_label(field, network_of(name)) for name, field in fields.items()}
    many, seen = Counter(plain.values()), Counter[str]()
    labels = {}
    for name, label in plain.items():
        seen[label] += 1
        labels[name] = f"{label} ({seen[label]})" if many[label] > 1 else label
    return labels


def _describe(file: _File, name: str, field: AttentionField, image: np.ndarray) -> dict[str, Any]:
    query, key = half_precision(field)
    aspect = image.shape[1] / image.shape[0]
    return {
        "notes": layer_notes(field, network_of(name)),
        "query_grid": list(field.query_grid),
        "key_grid": list(field.key_grid),
        "channels": len(query),
        "suggested": [list(pin) for pin in suggested_pins(field, image)],
        "query": file.add(query),
        "key": file.add(key),
        "normaliser": file.add(normaliser(query, key)),
        "mean": file.add(_floats(field.mean_row())),
        "strength": file.add(_floats(field.strength())),
        "entropy": file.add(_floats(field.entropy())),
        "distance": file.add(_floats(field.distance(aspect))),
    }


def _floats(tensor: torch.Tensor) -> np.ndarray:
    return tensor[0].flatten().numpy().astype("<f4")


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


def normaliser(query: np.ndarray, key: np.ndarray, cells: int = 1 << 22) -> np.ndarray:
    """(C, N_query), (C, N_key) -> (N_query) float32: log sum exp of each query's logits."""
    queries, keys = (torch.from_numpy(array.astype(np.float32)) for array in (query, key))
    blocks = queries.T.split(max(1, cells // keys.shape[1]))  # (n, C)
    return torch.cat([torch.logsumexp(block @ keys, 1) for block in blocks]).numpy().astype("<f4")
