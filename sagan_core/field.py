"""What one attention layer did: queries and keys, and every figure that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Grid(NamedTuple):
    """The cells of a feature map, row by row."""

    height: int
    width: int

    def cell_index(self, row: int, col: int, kind: str = "cell") -> int:
        """Position of a cell in row-major order. Raises IndexError outside the grid."""
        if not (0 <= row < self.height and 0 <= col < self.width):
            raise IndexError(
                f"{kind} ({row}, {col}) is outside the {self.height}x{self.width} grid"
            )
        return row * self.width + col


def rows_of(tensor: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C)."""
    return tensor.flatten(2).transpose(1, 2)


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """Rows of attention in float32: (B, N_query, C), (B, N_key, C) -> (B, N_query, N_key)."""
    with without_autocast(query.device):
        return torch.softmax(query.float() @ key.float().transpose(1, 2), dim=-1)


def value_weighted(rows: Tensor, strength: Tensor) -> Tensor:
    """Rows of attention times `strength`, each row scaled to sum to 1 again.

    (..., N_key), and (N_key,) or what broadcasts to it. 0 where no key adds anything.
    """
    product = rows * strength
    total = product.sum(-1, keepdim=True)
    return product / torch.where(total > 0, total, 1)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast switched off for `device`, which may be one that knows no autocast (meta)."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


@dataclass(frozen=True, eq=False)
class AttentionField:
    """What one attention layer did in one forward pass.

    Holds queries and keys, from which any row, column or summary follows exactly; the full
    matrix is made only when `weights` is asked for. All tensors are detached and float32.

    Attributes:
        query, key: (B, C, H, W) and (B, C, H', W').
        x, out: the layer's input and its output convolution's result, (B, C_x, H, W) each:
            the layer returned x + gamma * out.
        gamma: the layer's learnt scale.
        value, added: (B, D, H', W') and (B, C_x, H', W'): each key's value, and what it adds after
            the output convolution, whose bias is not part of it. None where they were not kept.
    """

    query: Tensor
    key: Tensor
    x: Tensor
    out: Tensor
    gamma: float
    value: Tensor | None = None
    added: Tensor | None = None

    @property
    def query_grid(self) -> Grid:
        return Grid(*self.query.shape[2:])

    @property
    def key_grid(self) -> Grid:
        return Grid(*self.key.shape[2:])

    @property
    def weights(self) -> Tensor:
        """(B, N_query, N_key): every row a distribution over keys. Made anew at each call."""
        return attention_weights(rows_of(self.query), rows_of(self.key))

    def attended_by(self, row: int, col: int) -> Tensor:
        """(B, H', W'): where query cell (row, col) looked. Sums to 1 per image.

        Raises IndexError outside the query grid."""
        index = self.query_grid.cell_index(row, col, "query cell")
        query = rows_of(self.query)[:, index : index + 1]
        return attention_weights(query, rows_of(self.key)).unflatten(2, self.key_grid)[:, 0]

    def received_by(self, row: int, col: int) -> Tensor:
        """(B, H, W): how much every query attended to key cell (row, col).

        Raises IndexError outside the key grid."""
        index = self.key_grid.cell_index(row, col, "key cell")
        column = torch.cat([rows[:, :, index] for rows in self._row_blocks()], dim=1)
        return column.unflatten(1, self.query_grid)

    def entropy(self) -> Tensor:
        """(B, H, W): entropy of each query's row in nats, from 0 to log N_key."""
        entropies = torch.cat([_entropy(rows) for rows in self._row_blocks()], dim=1)
        return entropies.unflatten(1, self.query_grid)

    def effective_keys(self) -> Tensor:
        """(B, H, W): exp(entropy), as many keys looked at alike would have it; 1 to N_key."""
        return self.entropy().exp()

    def distance(self, aspect: float | None = None) -> Tensor:
        """(B, H, W): each point's mean distance to where it looks, in image heights.

        Between cells' centres. Looking everywhere alike is 0.52 on average in a square image.

        Args:
            aspect: the image's width by its height; by default the query grid's.
        """
        distances = self.cell_distances(aspect).to(self.query.device)
        looked, start = [], 0
        for rows in self._row_blocks():
            looked.append((rows * distances[start : start + rows.shape[1]]).sum(2))
            start += rows.shape[1]
        return torch.cat(looked, 1).unflatten(1, self.query_grid)

    def cell_distances(self, aspect: float | None = None) -> Tensor:
        """(N_query, N_key): between the centres of query and key cells, in image heights."""
        height, width = self.query_grid
        aspect = width / height if aspect is None else aspect
        return torch.cdist(
            cell_centres(self.query_grid, aspect), cell_centres(self.key_grid, aspect)
        )

    def strength(self) -> Tensor:
        """(B, H', W'): the length of what each key's value adds after the output convolution.

        Raises ValueError for a field that was made without values.
        """
        if self.added is None:
            raise ValueError("this attention field was made without its values: record it anew")
        return self.added.norm(dim=1)

    def value_weighted(self, row: int, col: int) -> Tensor:
        """(B, H', W'): where query cell (row, col) looked, times `strength`, scaled to sum to 1.

        0 where no key adds anything. Raises IndexError outside the query grid.
        """
        rows, strength = self.attended_by(row, col).flatten(1), self.strength().flatten(1)
        return value_weighted(rows, strength).unflatten(1, self.key_grid)

    @cached_property
    def _mean_row(self) -> Tensor:
        total = sum((rows.sum(1) for rows in self._row_blocks()), torch.zeros(()))
        return total / math.prod(self.query_grid)  # (B, N_key)

    def mean_row(self) -> Tensor:
        """(B, H', W'): the average point's row, which is also how much each key receives."""
        return self._mean_row.unflatten(1, self.key_grid)

    def dependence(self) -> Tensor:
        """(B,): does the map depend on the point? Nats, from 0 (never) to log N_key.

        The mutual information between query and key position for a uniform query: the mean
        over queries of KL(row || mean row).
        """
        # A key at which next to nobody looks must not make the logarithm infinite.
        mean_row = self._mean_row.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
        total = torch.zeros(len(self.query), dtype=torch.float64)
        for rows in self._row_blocks():
            divergence = torch.xlogy(rows, rows) - torch.xlogy(rows, mean_row)
            total += divergence.sum((1, 2), dtype=torch.float64).cpu()
        return (total / math.prod(self.query_grid)).clamp_min(0).float()

    def update_share(self) -> Tensor:
        """(B, H, W): ||gamma * out|| / ||x|| at each position, norms over channels.

        0 where the layer leaves the signal as it was; infinite where x is 0 and the update is not.
        """
        update = abs(self.gamma) * self.out.norm(dim=1)
        return torch.where(update == 0, update, update / self.x.norm(dim=1))

    def pairwise_share(self) -> Tensor:
        """(B,): the part of the logits that depends on the query, from 0 to 1.

        Logits, less their mean over keys, are a sum: (query - mean query) (key - mean key), the
        pairwise part, and mean query (key - mean key), which all queries share. Over all queries
        and keys their squares add up; this is the first one's share. 0 where both are 0.

        Source: Yin et al. 2020, *Disentangled Non-Local Neural Networks*, section 3.1.
        """
        query, key = rows_of(self.query).double(), rows_of(self.key).double()
        shared = query.mean(1, keepdim=True)
        queries, keys = query - shared, key - key.mean(1, keepdim=True)
        spread = keys.transpose(1, 2) @ keys / keys.shape[1]  # (B, C, C)
        # The mean square of all products, from (C, C) tables instead of the (N, N) matrix.
        pairwise = ((queries.transpose(1, 2) @ queries) * spread).sum((1, 2)) / queries.shape[1]
        unary = (shared @ spread @ shared.transpose(1, 2)).flatten()
        return (pairwise / (pairwise + unary).clamp_min(1e-300)).float()

    def query_cell(self, x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
        """(row, col) of the query whose region holds pixel (x, y) of an image of (height, width).

        Raises IndexError outside the image.
        """
        height, width = size
        if not (0 <= x < width and 0 <= y < height):
            raise IndexError(f"pixel ({x}, {y}) is outside the image of {height}x{width} pixels")
        grid = self.query_grid
        return int(y * grid.height // height), int(x * grid.width // width)

    def to(self, device: torch.device | str) -> AttentionField:
        """The same field with its tensors on `device`."""
        names = ("query", "key", "x", "out", "value", "added")
        kept = {name: tensor for name in names if (tensor := getattr(self, name)) is not None}
        return replace(self, **{name: tensor.to(device) for name, tensor in kept.items()})

    def _row_blocks(self, cells: int = 1 << 22) -> Iterator[Tensor]:
        """Rows (B, n, N_key), a block at a time, each block of about `cells` numbers at most."""
        query, key = rows_of(self.query), rows_of(self.key)
        for block in query.split(max(1, cells // (len(key) * key.shape[1])), dim=1):
            yield attention_weights(block, key)


def cell_centres(grid: tuple[int, int], aspect: float = 1.0) -> Tensor:
    """(N, 2): the centre (row, col) of every cell of an image `aspect` heights wide, in heights."""
    height, width = grid
    rows = (torch.arange(height) + 0.5) / height
    cols = aspect * (torch.arange(width) + 0.5) / width
    return torch.cartesian_prod(rows, cols)


def _entropy(rows: Tensor) -> Tensor:
    return -torch.xlogy(rows, rows).sum(-1)
