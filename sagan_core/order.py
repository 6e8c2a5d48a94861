"""In which order images are shown: endless streams that are pure functions of seed and position.

A resumed run therefore sees what it would have seen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class ShuffledOrder:
    """Indices of an endless stream: every image once per epoch, a new order for each."""

    def __init__(self, images: int, seed: int) -> None:
        self.images, self.seed = images, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def slice(self, start: int, count: int) -> Tensor:
        """(count,) indices at positions start, start + 1, ... of the stream."""
        parts = []
        while count:
            epoch, place = divmod(start, self.images)
            if epoch != self._epoch:
                self._epoch, self._order = epoch, self._shuffled(epoch)
            part = self._order[place : place + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(parts)

    def _shuffled(self, epoch: int) -> Tensor:
        """(images,) indices: the stream's part from position epoch * images on."""
        rng = torch.Generator().manual_seed((self.seed << 24) + epoch)
        return torch.randperm(self.images, generator=rng)


class BalancedOrder(ShuffledOrder):
    """The same, but with every class equally often, however few images it has.

    The generator is asked for every class equally often. Where the real images are not, the best
    discriminator of a rare class calls everything fake, and its images stay bad.

    Args:
        labels: (N,) the images' classes; classes without images are left out.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        # An epoch has as many images as the data, rounded up to the same number of each class.
        self._each = -(-len(labels) // len(members))
        super().__init__(self._each * len(members), seed)
        self._members = [torch.from_numpy(rows) for rows in members]
        self._within = [ShuffledOrder(len(rows), seed) for rows in members]

    def _shuffled(self, epoch: int) -> Tensor:
        chosen = [
            rows[order.slice(epoch * self._each, self._each)]
            for rows, order in zip(self._members, self._within, strict=True)
        ]
        return torch.cat(chosen)[super()._shuffled(epoch)]
