"""An attention layer in numbers: what it does to the signal, where it looks, what it is worth.

`summarise` is of one field and is logged while training; `image_changes` needs the model, as it
asks what its images would be without the layer.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .attention import AttentionField, attention_layers, edit_attention
from .model import Generator
from .sample import evaluating, to_uint8


def summarise(field: AttentionField) -> dict[str, float]:
    """A layer in numbers: means over images and positions, of the update the median.

    gamma; update, ||gamma out|| / ||x||; entropy and dependence in nats; the effective number of
    keys, exp(entropy), of `keys`; the distance looked over, in image sides; and the pairwise share
    of the logits (`AttentionField.pairwise_share`).
    """
    entropy = field.entropy()
    return {
        "gamma": field.gamma,
        "update": field.update_share().median().item(),
        "entropy": entropy.mean().item(),
        "dependence": field.dependence().mean().item(),
        "effective_keys": entropy.exp().mean().item(),
        "keys": float(math.prod(field.key_grid)),
        "distance": distance_looked(field).mean().item(),
        "pairwise": field.pairwise_share().mean().item(),
    }


def cell_centres(grid: tuple[int, int]) -> Tensor:
    """(N, 2): the centre (row, col) of every cell, in image sides from 0 to 1."""
    height, width = grid
    rows = (torch.arange(height) + 0.5) / height
    cols = (torch.arange(width) + 0.5) / width
    return torch.cartesian_prod(rows, cols)


def cell_distances(field: AttentionField) -> Tensor:
    """(N_query, N_key): between cells' centres, in image sides."""
    return torch.cdist(cell_centres(field.query_grid), cell_centres(field.key_grid))


def distance_looked(field: AttentionField) -> Tensor:
    """(B, H, W): each point's mean distance to where it looks, in image sides.

    Looking everywhere alike is a mean distance of 0.52.
    """
    distances = cell_distances(field).to(field.query.device)
    looked, start = [], 0
    for rows in field._row_blocks():
        looked.append((rows * distances[start : start + rows.shape[1]]).sum(2))
        start += rows.shape[1]
    return torch.cat(looked, 1).unflatten(1, field.query_grid)


def image_changes(generator: Generator, z: Tensor, labels: Tensor | None) -> dict[str, float]:
    """How much the images change when one attention layer is taken out, by layer.

    Mean absolute difference over pixels and channels, of 255 levels.
    """

    def images() -> np.ndarray:
        with evaluating(generator):
            return to_uint8(generator(z, labels)).astype(np.float64)

    changes, whole = {}, images()
    for layer in attention_layers(generator):
        with edit_attention(generator, layer, torch.zeros_like):
            changes[layer] = float(np.abs(images() - whole).mean())
    return changes
