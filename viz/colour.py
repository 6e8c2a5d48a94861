"""Colours, and how numbers become colours: the one place for both the page and the figure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

COLOUR_MAPS: tuple[str, ...] = ("inferno", "viridis", "cividis")
"""Perceptually uniform, legible with colour blindness, on light images and on dark ones."""

LOG_SPAN = 100.0
"""A logarithmic scale ends at this many times where it starts."""

PIN_COLOURS: tuple[str, ...] = (
    "#f02b19",
    "#14965f",
    "#3e46e1",
    "#ffca30",
    "#c27cff",
    "#75f6ff",
    "#6e4146",
    "#ecfee9",
)
"""Red, green and blue as in the paper's figure, then five more.

Any two are at least 15 apart in CIEDE2000, also as seen with protanopia, deuteranopia and
tritanopia (Machado et al. 2009)."""

PIN_COLOUR_NAMES: tuple[str, ...] = (
    "red",
    "green",
    "blue",
    "yellow",
    "violet",
    "cyan",
    "brown",
    "white",
)

PLEASANT = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
"""What a scale may end at, times a power of ten."""

LEAST_TOP = 2.0
"""The scale reaches at least this multiple of the baseline, so that a nearly uniform row, whose
multiples are all about 1, looks flat."""


@cache
def colour_table(name: str = "inferno") -> np.ndarray:
    """A perceptually uniform sequential map, legible with colour blindness: (256, 3) uint8 sRGB.

    `name` is one of matplotlib's maps; inferno's low end is black, so that a map laid over an
    image darkens what was not attended. Raises ValueError for a name that matplotlib lacks.
    """
    from matplotlib import colormaps  # takes a third of a second, and not every caller needs it

    if name not in colormaps:
        raise ValueError(f"no colour map {name!r}; for instance inferno, viridis, cividis")
    table = np.rint(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)
    table.flags.writeable = False
    return table


def scale_top(maps: ArrayLike | Iterable[Any]) -> float:
    """The upper end of the one scale that all panels share, in multiples of the baseline.

    It is the smallest pleasant number (1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten) that is
    at least 2 and at least the geometric mean of the maps' largest multiples, give or take a
    thousandth; the lower end is 0. So colours in different panels mean the same, and one peaked
    map does not leave the others dark; what lies above the end has its colour, and whoever draws
    the scale says so with a "≥". `scaleTop` in maths.js is the same rule.

    `maps` is any number of maps, each an array of finite multiples; 2 where there is none.
    """
    peaks = [max(1.0, float(np.max(one))) for one in maps]  # type: ignore[union-attr]
    mean = math.exp(sum(map(math.log, peaks)) / len(peaks)) if peaks else LEAST_TOP
    least = max(LEAST_TOP, mean) / 1.001
    magnitude = 10.0 ** math.floor(math.log10(least))
    steps = [magnitude * step for step in (*PLEASANT, 10.0)]
    return max(LEAST_TOP, next(step for step in steps if step >= least))


def colour_position(multiples: ArrayLike, top: float, log: bool = False) -> np.ndarray:
    """Where multiples stand on the scale of colours, from 0 (its start) to 1 (`top` and above).

    A linear scale starts at 0; a logarithmic one at `top` / 100, and what is below it has its
    colour. The colour is the table's at 255 times the position, rounded. `colourIndex` in maths.js
    is the same rule.
    """
    share = np.asarray(multiples, dtype=np.float64) / top
    if log:
        share = 1 + np.log(np.clip(share, 1 / LOG_SPAN, 1)) / math.log(LOG_SPAN)
    return np.clip(share, 0, 1)
