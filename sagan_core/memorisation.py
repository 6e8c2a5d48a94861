"""Does a generator repeat its training images? Nearest training neighbours of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .data import ImageSet
from .metrics import closer_share, nearest
from .reference import RealData
from .sample import image_grid

QUERIES, KEYS_AT_ONCE = 2000, 5000
PIXELS = 32
COPY_QUANTILE = 0.01
GRID_ROWS, GRID_NEIGHBOURS = 10, 7

# (images, rows of them) -> (n, D), the space in which distances are taken.
Embed = Callable[[ImageSet, np.ndarray], Tensor]


def pixels(data: ImageSet, rows: np.ndarray) -> Tensor:
    """(n, C r r) float32 in 0..1: the images at `rows`, averaged down to 32x32 where larger."""
    images = torch.from_numpy(data.images[rows]).float().div_(255)
    factor = max(1, images.shape[-1] // PIXELS)
    return F.avg_pool2d(images, factor).flatten(1)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Which training images are nearest to samples, and how near real images come to them.

    Attributes:
        distances: (n, k) of every sample to its nearest training images, nearest first.
        indices: (n, k), of these images.
        baseline: (m,) of real images to their nearest training image: of test images where the
            generator has not seen them, else of training images to the nearest other one.
    """

    distances: Tensor
    indices: Tensor
    baseline: Tensor

    @property
    def closer(self) -> float:
        """Chance that a sample is closer to a training image than a real image is; 0.5 if alike.

        Blurred or simple samples come close too, without being copies.
        """
        return closer_share(self.distances[:, 0], self.baseline)

    @property
    def copies(self) -> tuple[float, float]:
        """Share of samples, and of real images, no farther than 1% of the real images are."""
        limit = self.baseline.quantile(COPY_QUANTILE)
        shares = [(d <= limit).double().mean() for d in (self.distances[:, 0], self.baseline)]
        return shares[0].item(), shares[1].item()


def find_neighbours(
    real: RealData,
    samples: ImageSet,
    embed: Embed = pixels,
    seed: int = 0,
    k: int = GRID_NEIGHBOURS,
) -> Neighbours:
    """Compare the first 2,000 samples and as many random real images with all training images.

    Where there are fewer than k training images, all of them are neighbours.
    """
    count, k = len(real.images), min(k, len(real.images) - 1)
    rng = np.random.default_rng(seed)

    def training() -> Iterator[Tensor]:
        for start in range(0, count, KEYS_AT_ONCE):
            yield embed(real.images, np.arange(start, min(count, start + KEYS_AT_ONCE)))

    queries = embed(samples, np.arange(min(QUERIES, len(samples))))
    distances, indices = nearest(queries, training(), k)
    if real.test_is_new:
        rows = rng.permutation(len(real.test))[:QUERIES]
        baseline = nearest(embed(real.test, rows), training(), 1)[0][:, 0]
    else:
        rows = rng.permutation(count)[:QUERIES]
        near, names = nearest(embed(real.images, rows), training(), 2)
        itself = names[:, 0] == torch.from_numpy(rows).to(names.device)
        baseline = torch.where(itself, near[:, 1], near[:, 0])
    return Neighbours(distances.cpu(), indices.cpu(), baseline.cpu())


def neighbour_grid(real: RealData, samples: ImageSet, found: Neighbours) -> Image.Image:
    """A row for each of ten samples: the sample, then its nearest training images.

    The uppermost sample is the closest of all to a training image, the lowest the farthest, the
    others evenly between in rank.
    """
    order = found.distances[:, 0].argsort().numpy()
    shown = order[np.linspace(0, len(order) - 1, min(GRID_ROWS, len(order))).round().astype(int)]
    rows = [
        np.concatenate([samples.images[row][None], real.images.images[found.indices[row].numpy()]])
        for row in shown
    ]
    return image_grid(np.concatenate(rows).transpose(0, 2, 3, 1), len(rows[0]))
