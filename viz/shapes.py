"""The shapes of pins, which tell them apart where colours do not; explorer.css has the same."""

from __future__ import annotations

import math

Corners = tuple[tuple[float, float], ...]

_CIRCLE = tuple(
    (50 + 50 * math.cos(turn), 50 + 50 * math.sin(turn))
    for turn in (2 * math.pi * step / 60 for step in range(60))
)

PIN_SHAPES: dict[str, Corners] = {
    "circle": _CIRCLE,
    "square": ((7, 7), (93, 7), (93, 93), (7, 93)),
    "diamond": ((50, -4), (104, 50), (50, 104), (-4, 50)),
    "triangle": ((50, -8), (108, 96), (-8, 96)),
    "hexagon": ((25, 2), (75, 2), (102, 50), (75, 98), (25, 98), (-2, 50)),
    "pentagon": ((50, -4), (104, 38), (84, 100), (16, 100), (-4, 38)),
    "house": ((4, 2), (96, 2), (96, 60), (50, 106), (4, 60)),
    "plus": (
        *((26, -2), (74, -2), (74, 26), (102, 26), (102, 74), (74, 74)),
        *((74, 102), (26, 102), (26, 74), (-2, 74), (-2, 26), (26, 26)),
    ),
}
"""By name, in the order of the pins: corners (x, y) in hundredths of the badge's width."""
