"""How one point of an attention layer is made, number by number.

Every number is the layer's own: what was recorded, or what its maps give for the recorded input.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import field as field_module
from .attention import Attend, AttentionField, SelfAttention, mask_keys
from .field import rows_of


@dataclass(frozen=True, eq=False)
class Steps:
    """From x to y at one position; float32. N is the number of keys.

    Attributes:
        x: (C,) the layer's input at the position.
        mapped: (D,) the query map of x, before it is centred or scaled.
        query: (D,) as it meets the keys.
        key_candidates, value_candidates: (P, D, N) and (P, E, N): what each key and value is the
            largest of, per channel; P is 4 where they are max-pooled 2x2, in the order top left,
            top right, bottom left, bottom right, else 1.
        key, value: (D, N) and (E, N).
        logits: (N,) query^T key.
        weights: (N,) softmax of the logits, over the keys that may be looked at.
        mixed: (E,) the weighted sum of the values.
        out: (C,) the output map of `mixed`.
        gamma: as used.
        y: (C,) x + gamma out, what the layer returned.
    """

    x: Tensor
    mapped: Tensor
    query: Tensor
    key_candidates: Tensor
    key: Tensor
    value_candidates: Tensor
    value: Tensor
    logits: Tensor
    weights: Tensor
    mixed: Tensor
    out: Tensor
    gamma: float
    y: Tensor


@torch.no_grad()
def steps_at(
    layer: SelfAttention, field: AttentionField, row: int, col: int, without: Sequence[int] = ()
) -> Steps:
    """What happened at query cell (row, col) of the first image.

    Args:
        layer: the one that made `field`, in eval mode.
        without: keys that might not be looked at, row by row.

    Raises IndexError outside the query grid.
    """
    index = field.query_grid.cell_index(row, col, "query cell")
    device = field.x.device  # a sample's fields are on the CPU, where its model may not be
    x = field.x[:1].to(layer.gamma.device)
    key_candidates, key = _pooled(layer, layer.key(x).float().to(device))
    value_candidates, value = _pooled(layer, layer.value(x).float().to(device))
    query = field.query[0].flatten(1)[:, index]
    weights = field.attended_by(row, col)[0].flatten()
    if without:
        mask = torch.ones_like(weights)
        mask[list(without)] = 0
        weights = mask_keys(weights, mask)
    here = field.x[0].flatten(1)[:, index]
    out = field.out[0].flatten(1)[:, index]
    return Steps(
        x=here,
        mapped=rows_of(layer.query(x).float().to(device))[0, index],
        query=query,
        key_candidates=key_candidates,
        key=key,
        value_candidates=value_candidates,
        value=value,
        logits=query @ key,
        weights=weights,
        mixed=value @ weights,
        out=out,
        gamma=field.gamma,
        y=here + field.gamma * out,
    )


def _pooled(layer: SelfAttention, mapped: Tensor) -> tuple[Tensor, Tensor]:
    """(P, D, N) what is pooled, and (D, N) the largest of it."""
    pooled = layer.pool(mapped)[0].flatten(1)
    if isinstance(layer.pool, nn.Identity):
        return pooled[None], pooled
    height, width = mapped.shape[2] // 2, mapped.shape[3] // 2
    corners = [mapped[0, :, r : 2 * height : 2, c : 2 * width : 2] for r in (0, 1) for c in (0, 1)]
    return torch.stack([corner.flatten(1) for corner in corners]), pooled


class Place(NamedTuple):
    """A line of this package's code."""

    file: str
    line: int
    code: str


# step: (where to look, what the line has in it)
_PLACES: dict[str, tuple[Callable[..., Any], str]] = {
    "x": (SelfAttention.forward, "def forward(self, x"),
    "query": (SelfAttention.forward, "query = self.query(x)"),
    "key": (SelfAttention.forward, "self.pool(self.key(x))"),
    "logits": (field_module.attention_weights, "key.float().transpose"),
    "weights": (field_module.attention_weights, "torch.softmax"),
    "mixed": (Attend.forward, "attended = F.scaled_dot_product_attention"),
    "out": (SelfAttention.forward, "self.out(attended)"),
    "y": (SelfAttention.forward, "return x + self.gamma"),
}


@cache
def places() -> dict[str, Place]:
    """Where in the code each step happens, read from the code that runs."""
    found = {}
    for step, (function, words) in _PLACES.items():
        lines, first = inspect.getsourcelines(function)
        at = next(number for number, line in enumerate(lines) if words in line)
        path = Path(inspect.getfile(function))
        file = path.relative_to(path.parent.parent).as_posix()
        found[step] = Place(file, first + at, lines[at].strip())
    return found
