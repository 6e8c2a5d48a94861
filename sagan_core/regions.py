"""Places of an image that belong together, found by their colours: skin, eyes, stripes.

Written for Noto Color Emoji's pictures: its skin tones, yellow faces and dark eyes on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .attention import AttentionField

SKIN_TONES = np.array(
    [
        (252, 203, 42),  # none chosen: yellow
        (251, 220, 188),
        (227, 189, 149),
        (189, 142, 107),
        (164, 108, 68),
        (116, 85, 76),
    ],
    np.float64,
)
# Distances between colours, in levels of 255 over the three channels.
SAME_TONE, SAME_COLOUR, OTHER_COLOUR, NEAR_WHITE = 40.0, 48.0, 96.0, 60.0
FAR = 0.25  # of the image's side
LEAST_CELLS = 3


@dataclass(frozen=True)
class Pair:
    """Places that a claim ties together in one image.

    Attributes:
        queries: (n,) indices of query cells.
        same: (N_key,) bool, the key cells that these points are claimed to look at.
        other: (N_key,) bool, key cells of other colours to compare with.
    """

    queries: np.ndarray
    same: np.ndarray
    other: np.ndarray


@dataclass(frozen=True)
class Cells:
    """An image as the attention layer's two grids see it: (H, W, 3) mean colours, 0 to 255."""

    query: np.ndarray
    key: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, field: AttentionField) -> Cells:
        """The mean colours of (R, R, 3) uint8 on the grids of `field`."""

        def mean(grid: tuple[int, int]) -> np.ndarray:
            height, width = grid
            blocks = image.reshape(height, len(image) // height, width, -1, 3).astype(np.float64)
            return blocks.mean((1, 3))

        return cls(mean(field.query_grid), mean(field.key_grid))

    def queries_in(self, keys: np.ndarray) -> np.ndarray:
        """(n,) indices of the query cells that lie in these key cells, (H', W') bool."""
        rows = np.arange(self.query.shape[0]) * keys.shape[0] // self.query.shape[0]
        cols = np.arange(self.query.shape[1]) * keys.shape[1] // self.query.shape[1]
        return np.flatnonzero(keys[np.ix_(rows, cols)])


def apart(colours: np.ndarray, colour: Sequence[float] | np.ndarray) -> np.ndarray:
    """Distance of every colour (..., 3) to one, in levels."""
    return np.linalg.norm(colours - np.asarray(colour), axis=-1)


def patches(mask: np.ndarray) -> list[np.ndarray]:
    """The connected parts (sharing an edge) of a bool grid as grids, the largest first."""
    left, found = mask.copy(), []
    while left.any():
        part = np.zeros_like(mask)
        waiting = [tuple(np.argwhere(left)[0])]
        while waiting:
            row, col = waiting.pop()
            if 0 <= row < len(mask) and 0 <= col < mask.shape[1] and left[row, col]:
                left[row, col], part[row, col] = False, True
                waiting += [(row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)]
        found.append(part)
    return sorted(found, key=lambda part: -int(part.sum()))


def skin_pairs(cells: Cells) -> list[Pair]:
    """Every patch of the image's most frequent skin tone with all the others of that tone."""
    distances = np.stack([apart(cells.key, tone) for tone in SKIN_TONES])
    nearest = np.where(distances.min(0) < SAME_TONE, distances.argmin(0), -1)
    counts = np.bincount(nearest[nearest >= 0], minlength=len(SKIN_TONES))
    tone = int(counts.argmax())
    found = [p for p in patches(nearest == tone) if p.sum() >= LEAST_CELLS]
    other = (distances[tone] > SAME_TONE) & (apart(cells.key, (255, 255, 255)) > NEAR_WHITE)
    whole = np.any(found, axis=0) if len(found) > 1 else None
    return [
        Pair(cells.queries_in(patch), (whole & ~patch).ravel(), other.ravel())
        for patch in (found if whole is not None else [])
    ]


def eye_pairs(cells: Cells) -> list[Pair]:
    """The two dark, small patches side by side in the upper half of a yellow face, both ways."""
    height, width = cells.query.shape[:2]
    yellow = apart(cells.query, SKIN_TONES[0]) < OTHER_COLOUR
    if yellow.mean() < 0.2:
        return []
    dark = cells.query.mean(2) < 128
    spots: list[tuple[float, float, np.ndarray]] = []
    for patch in patches(dark):
        row, col = np.argwhere(patch).mean(0) / (height, width)
        small = 2 / 1024 <= patch.mean() <= 40 / 1024
        if small and 0.2 < row < 0.6 and 0.15 < col < 0.85:
            spots.append((float(row), float(col), patch))
    level = [
        (abs(a[0] - b[0]), a[2], b[2])
        for i, a in enumerate(spots)
        for b in spots[:i]
        if abs(a[0] - b[0]) < 0.08 and 0.15 < abs(a[1] - b[1]) < 0.6
    ]
    if not level:
        return []
    _, one, two = min(level, key=lambda pair: pair[0])

    def on_keys(patch: np.ndarray) -> np.ndarray:
        rows, cols = np.nonzero(patch)
        keys: np.ndarray = np.zeros(cells.key.shape[:2], bool)
        keys[rows * keys.shape[0] // height, cols * keys.shape[1] // width] = True
        return keys

    face = (apart(cells.key, SKIN_TONES[0]) < OTHER_COLOUR) & ~on_keys(one) & ~on_keys(two)
    return [
        Pair(np.flatnonzero(a), on_keys(b).ravel(), face.ravel())
        for a, b in ((one, two), (two, one))
    ]


def stripe_pairs(cells: Cells) -> list[Pair]:
    """For every coloured cell the far cells of its colour, in an image of two colours or more."""
    coloured = (apart(cells.key, (255, 255, 255)) > NEAR_WHITE).ravel()
    colours = cells.key.reshape(-1, 3)
    grid = np.argwhere(np.ones(cells.key.shape[:2])) / cells.key.shape[0]
    found = []
    for index in np.flatnonzero(coloured):
        if index % cells.key.shape[1] % 2 or index // cells.key.shape[1] % 2:
            continue  # every other row and column are enough
        distance = apart(colours, colours[index])
        far = np.linalg.norm(grid - grid[index], axis=1) >= FAR
        same = coloured & far & (distance < SAME_COLOUR)
        other = coloured & far & (distance > OTHER_COLOUR)
        if min(same.sum(), other.sum()) >= LEAST_CELLS:
            here = np.zeros(len(colours), bool)
            here[index] = True
            queries = cells.queries_in(here.reshape(cells.key.shape[:2]))
            found.append(Pair(queries, same, other))
    return found
