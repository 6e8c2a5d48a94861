"""The claims' figure: of each claim the first samples with a map, and every sample's preference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from .claims import Example, Trial

TILE, GAP, MARGIN, PLOT = 96, 6, 24, 300
INK, PALE, POINT, TARGET = (30, 30, 30), (190, 190, 190), (220, 30, 60), (20, 110, 220)


def draw_trials(trials: Mapping[str, Trial]) -> Image.Image:
    """One row per claim: pairs of a sample and the map of its red points, then all preferences.

    In the sample the points are red and the cells that they are claimed to look at blue; the map
    beside it, these points' mean, is darkest where most attention is. At the right stands a dot
    per sample and condition.
    """
    most = max((len(trial.examples) for trial in trials.values()), default=0)
    left = MARGIN + max(1, most) * (2 * TILE + 3 * GAP)
    row_height = TILE + 46
    sheet = Image.new("RGB", (left + PLOT + MARGIN, MARGIN + len(trials) * row_height), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for row, trial in enumerate(trials.values()):
        top = MARGIN // 2 + row * row_height
        used = len(trial.preferences["trained"])
        text = f"{trial.claim.title} ({used} of {trial.tried} samples)"
        pen.text((MARGIN, top), text, INK, font)
        for place, example in enumerate(trial.examples):
            corner = MARGIN + place * (2 * TILE + 3 * GAP)
            sheet.paste(_enlarged(example.image), (corner, top + 22))
            _mark(pen, example, (corner, top + 22))
            sheet.paste(_map(example.looked), (corner + TILE + GAP, top + 22))
            pen.rectangle(_box(corner + TILE + GAP, top + 22), outline=PALE)
        _dots(pen, trial.preferences, (left + 80, top + 22), font)
    return sheet


def _box(x: int, y: int) -> tuple[int, int, int, int]:
    return x - 1, y - 1, x + TILE, y + TILE


def _enlarged(image: np.ndarray) -> Image.Image:
    plain = np.broadcast_to(image, (*image.shape[:2], 3))
    return Image.fromarray(plain).resize((TILE, TILE), Image.Resampling.NEAREST)


def _map(looked: np.ndarray) -> Image.Image:
    darkness = 255 * (1 - np.sqrt(looked / looked.max()))
    grey = Image.fromarray(darkness.round().astype(np.uint8))
    return grey.resize((TILE, TILE), Image.Resampling.NEAREST).convert("RGB")


def _mark(pen: ImageDraw.ImageDraw, example: Example, corner: tuple[int, int]) -> None:
    """A dot in every query cell (red) and in every cell claimed to be looked at (blue)."""
    height, width = example.looked.shape
    for cells, grid, colour in (
        (np.flatnonzero(example.pair.same), (height, width), TARGET),
        (example.pair.queries, example.query_grid, POINT),
    ):
        step, reach = TILE / grid[0], max(1.5, TILE / grid[0] / 5)
        for cell in cells:
            x = corner[0] + (cell % grid[1] + 0.5) * step
            y = corner[1] + (cell // grid[1] + 0.5) * step
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)


def _dots(
    pen: ImageDraw.ImageDraw,
    preferences: Mapping[str, np.ndarray],
    corner: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A strip of dots per condition over 0 to 1, its mean as a bar, and a line at 0.5."""
    x, y = corner
    width, strip = PLOT - 90, TILE // max(1, len(preferences))
    spread = np.random.default_rng(0)
    for index, (name, values) in enumerate(preferences.items()):
        top = y + index * strip
        pen.text((x - 70, top + strip // 2 - 8), name, INK, font)
        for value in values:
            across = x + float(value) * width
            down = top + 4 + spread.random() * (strip - 8)
            pen.ellipse((across - 1, down - 1, across + 1, down + 1), fill=PALE)
        if len(values):
            mean = x + float(values.mean()) * width
            pen.line((mean, top + 2, mean, top + strip - 2), POINT, 3)
    pen.line((x + width / 2, y, x + width / 2, y + TILE), INK)
    for value in (0, 0.5, 1):
        pen.text((x + value * width - 8, y + TILE + 4), f"{value:g}", INK, font)
