"""Attention fields whose rows are known, on grids of several shapes."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from sagan_core.attention import AttentionField
from sagan_core.sample import Sample

KINDS = {  # name: query grid, key grid, channels, size of the logits
    "square": ((8, 8), (8, 8), 6, 2.0),
    "pooled": ((16, 16), (8, 8), 8, 1.5),
    "oblong": ((6, 10), (3, 5), 5, 2.0),
    "coarse queries": ((4, 6), (8, 12), 4, 3.0),
    "flat": ((8, 8), (8, 8), 3, 0.0),
    "large": ((64, 64), (32, 32), 32, 0.6),
}


def make_field(name: str, gamma: float = 0.5) -> AttentionField:
    query_grid, key_grid, channels, size = KINDS[name]
    random = torch.Generator().manual_seed(len(name))
    query = size * torch.randn(1, channels, *query_grid, generator=random)
    key = torch.randn(1, channels, *key_grid, generator=random) + 1
    x = torch.randn(1, 4, *query_grid, generator=random)
    value = torch.randn(1, 3, *key_grid, generator=random)
    added = torch.randn(1, 4, *key_grid, generator=random)
    return AttentionField(query, key, x, torch.ones_like(x), gamma, value, added)


def planted_field() -> AttentionField:
    """Query (row, col) of a 4x6 grid puts all but 1e-6 of its attention on key cell
    (row // 2, col // 2) of a 2x3 grid, whose values add 1, 2, ... 6."""
    query, key = torch.zeros(1, 6, 4, 6), torch.zeros(1, 6, 2, 3)
    for row, col in itertools.product(range(4), range(6)):
        query[0, row // 2 * 3 + col // 2, row, col] = 16
    for row, col in itertools.product(range(2), range(3)):
        key[0, row * 3 + col, row, col] = 1
    ones = torch.ones(1, 1, 4, 6)
    value = torch.arange(1.0, 7.0).reshape(1, 1, 2, 3)
    return AttentionField(query, key, ones, ones, 1.0, value, value)


def planted_sample() -> Sample:
    """One image of 24x40 pixels with a layer of every kind; "planted" comes first."""
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    fields = {"planted": planted_field(), **{name: make_field(name) for name in KINDS}}
    return Sample(image, fields, 3, None, 1.0)
