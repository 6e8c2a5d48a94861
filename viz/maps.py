"""The numbers of a map: the one place in Python. `maths.js` follows the same rules.

All in float64, of the first image of the batch. For a layer with queries q, keys k and strengths s
(the length of what a key's value adds after the output convolution, ||out(v_k)||), a look with
temperature T, and a set of key cells that are knocked out:

1.  row[q, k] = exp(l[q, k] / T) / sum over k' of exp(l[q, k'] / T), with l[q, k] = q . k, without
    1/sqrt(channels). Knocked-out keys have row 0 and no part in the sum; where no key is left, the
    row is 0, as `mask_keys` has it.
2.  measure "value": row[q, k] = row[q, k] s[k] / sum over k' of row[q, k'] s[k']. Where that sum is
    0, nothing is added from anywhere, and the row is 0.
3.  baseline "uniform": multiple[q, k] = row[q, k] N_key. N_key counts all keys, knocked out or not.
    Baseline "average": multiple[q, k] = row[q, k] / mean over q' of row[q', k], rows as they are
    after 1 and 2; where that mean is 0, the multiple is 1.
4.  direction "from", for a pin on query cell q: the map is multiple[q, :] on the key grid.
    Direction "to": the map is multiple[:, k] on the query grid, k the key cell in which the centre
    of the pin's query cell lies.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sagan_core.attention import AttentionField
from sagan_core.field import value_weighted

from .view import Look, Pin, same_place

ARROWS = 3
ARROW_LEAST = 2.0
"""A pin has at most so many arrows, to places with at least this multiple of the baseline."""


def map_of(
    field: AttentionField, pin: Pin, look: Look | None = None, without: Collection[int] = ()
) -> np.ndarray:
    """One pin's map in multiples of the baseline: (H', W') of the key grid, or for the direction
    "to" (H, W) of the query grid. Arguments and errors as `maps_of`."""
    return maps_of(field, [pin], look, without)[0]


def maps_of(
    field: AttentionField,
    pins: Sequence[Pin],
    look: Look | None = None,
    without: Collection[int] = (),
) -> np.ndarray:
    """The pins' maps in multiples of the baseline, by the rules above: (pins, h, w) float64.

    Args:
        pins: (row, col) cells of the query grid.
        look: its direction, measure, baseline and temperature count.
        without: key cells that may not be looked at, as positions in row-major order.

    Raises IndexError for a pin outside the query grid or a position outside the key grid.
    """
    look = look or Look()
    queries = [field.query_grid.cell_index(*pin, "pin") for pin in pins]
    rows = _Rows(field, look, without)
    average = None
    if look.direction == "from":
        chosen = rows.of(torch.tensor(queries, dtype=torch.long))  # (pins, N_key)
        if look.baseline == "average":
            average = sum((block.sum(0) for block in rows.blocks()), torch.zeros(())) / rows.count
        grid = field.key_grid
    else:
        places = (same_place(pin, field.query_grid, field.key_grid) for pin in pins)
        keys = [field.key_grid.cell_index(*place) for place in places]
        columns = torch.cat([block[:, keys] for block in rows.blocks()])  # (N_query, pins)
        chosen, grid = columns.T, field.query_grid
        if look.baseline == "average":
            average = columns.mean(0)[:, None]
    maps = chosen * math.prod(field.key_grid)
    if average is not None:
        maps = torch.where(average > 0, chosen / average, torch.ones_like(chosen))
    return maps.reshape(len(pins), *grid).numpy()


class _Rows:
    """Rows of a layer after rules 1 and 2, made as they are needed."""

    def __init__(self, field: AttentionField, look: Look, without: Collection[int]) -> None:
        self.query = field.query[0].flatten(1).T.double().cpu() / look.temperature
        self.key = field.key[0].flatten(1).double().cpu()
        self.count = len(self.query)
        self.hidden = knocked_out(field, without)
        self.strength: Tensor | None = None
        if look.measure == "value":
            self.strength = field.strength()[0].flatten().double().cpu()

    def of(self, queries: Tensor | slice) -> Tensor:
        """(n, N_key) for positions of n queries."""
        logits = (self.query[queries] @ self.key).masked_fill(self.hidden, -torch.inf)
        rows = torch.softmax(logits, dim=1).masked_fill(
            self.hidden, 0
        )  # not NaN where none is left
        if self.strength is None:
            return rows
        return value_weighted(rows, self.strength)

    def blocks(self, cells: int = 1 << 22) -> Iterator[Tensor]:
        """All rows in order, a block at a time: the whole matrix may not fit into memory."""
        size = max(1, cells // self.key.shape[1])
        for start in range(0, self.count, size):
            yield self.of(slice(start, start + size))


def knocked_out(field: AttentionField, without: Collection[int]) -> Tensor:
    """(N_key,) bool: true for the key cells that may not be looked at.

    Raises IndexError for a position outside the key grid.
    """
    count = math.prod(field.key_grid)
    hidden = torch.zeros(count, dtype=torch.bool)
    for cell in without:
        if not 0 <= cell < count:
            raise IndexError(f"key cell {cell} is outside the grid of {count} cells")
        hidden[cell] = True
    return hidden


class Target(NamedTuple):
    """Where an arrow leads: a cell of the map's grid, and the map's multiple there."""

    row: int
    col: int
    multiple: float


def targets(multiples: np.ndarray, most: int = ARROWS) -> list[Target]:
    """The most attended regions of a map (h, w): its largest local maxima, the largest first.

    A local maximum is at least as large as its up to eight neighbours, and larger than those that
    come before it in row-major order, so that a plateau counts once. It counts from `ARROW_LEAST`
    on. Of equal ones the first in row-major order comes first.
    """
    height, width = multiples.shape
    padded = np.pad(multiples, 1, constant_values=-np.inf)
    highest = multiples >= ARROW_LEAST
    for down, right in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        beside = padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        before = (down, right) < (0, 0)
        highest &= multiples > beside if before else multiples >= beside
    found = [Target(int(r), int(c), float(multiples[r, c])) for r, c in np.argwhere(highest)]
    return sorted(found, key=lambda target: -target.multiple)[:most]
