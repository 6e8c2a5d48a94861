"""Pins to open with: points whose maps are worth comparing."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sagan_core.attention import AttentionField, attention_weights

MOST_CANDIDATES = 1024


def suggested_pins(
    field: AttentionField, image: np.ndarray, count: int = 3
) -> list[tuple[int, int]]:
    """(row, col) query cells of the first image, on the object, apart, with maps that differ.

    A first point is taken for what it shows (`_interest`), each further one for that times how far
    it is from those before it and how different its map is.

    Args:
        image: (H, W, 3 or 1) uint8, the image that the field belongs to.
        count: how many; fewer come back only from a grid with fewer cells.
    """
    cells = _candidates(field)  # (n, 2)
    query = field.query[0, :, cells[:, 0], cells[:, 1]].T[None]  # (1, n, C)
    rows = attention_weights(query, field.key.flatten(2).transpose(1, 2))[0]  # (n, N_key)
    interest = _interest(field, image, cells, rows)
    places = cells.float() / torch.tensor(field.query_grid)
    score, chosen = interest, []
    for _ in range(min(count, len(cells))):
        best = int(score.argmax())
        chosen.append(best)
        distance = (places - places[best]).norm(dim=1)
        difference = (rows - rows[best]).abs().sum(1) / 2  # total variation, 0 to 1
        # The floor lets distance alone decide where all maps are alike.
        score = score * distance * (difference + 0.05)
        score[chosen] = -1
    pins = [(int(row), int(col)) for row, col in cells[chosen].tolist()]
    return sorted(pins)


def _candidates(field: AttentionField) -> Tensor:
    """All query cells, or an even choice of about `MOST_CANDIDATES` of them: (n, 2)."""
    height, width = field.query_grid
    step = max(1, math.ceil(math.sqrt(height * width / MOST_CANDIDATES)))
    rows, cols = torch.arange(step // 2, height, step), torch.arange(step // 2, width, step)
    return torch.cartesian_prod(rows, cols)


def _interest(field: AttentionField, image: np.ndarray, cells: Tensor, rows: Tensor) -> Tensor:
    """(n,): large where the image is not background and the map is the point's own."""
    mean = field.mean_row()[0].flatten().clamp_min(torch.finfo(torch.float32).tiny)
    own = (torch.xlogy(rows, rows) - torch.xlogy(rows, mean)).sum(1).clamp_min(0)  # nats
    return (own + 0.05) * (_foreground(image, field)[cells[:, 0], cells[:, 1]] + 0.02)


def _foreground(image: np.ndarray, field: AttentionField) -> Tensor:
    """(H, W) of the query grid: how far each cell's colour is from the border's, 0 to 1.

    Cells on the rim count for half: what is said of them is often about the edge of the image.
    """
    height, width = field.query_grid
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)  # (C, H, W)
    border = torch.cat(
        [pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], dim=1
    ).median(dim=1)
    cells = torch.nn.functional.adaptive_avg_pool2d(pixels, (height, width))
    difference = (cells - border.values[:, None, None]).abs().amax(0)
    inner = torch.full((height, width), 0.5)
    inner[1:-1, 1:-1] = 1
    return difference * inner
