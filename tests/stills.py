"""What the tests of still figures share: where things are on the page, and what is there."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from io import BytesIO

import numpy as np
from PIL import Image

from viz.figure import StillFigure
from viz.layout import BlockLayout, Box

SVG = "{http://www.w3.org/2000/svg}"
PINS = [(0, 0), (3, 5), (2, 1), (1, 3), (3, 0), (0, 4), (2, 4), (1, 1)]


def pixels(still: StillFigure) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(still.render("png"))).convert("RGB"))


def boxes(still: StillFigure) -> BlockLayout:
    (block,) = still.blocks
    pins, size = len(block.layers[0].pins), block.image.shape[:2]
    return BlockLayout.of(pins, size, len(block.layers), own_scale=still.look.scale == "own")


def panels(still: StillFigure) -> list[Box]:
    return [box for row in boxes(still).panels for box in row]


def inside(page: np.ndarray, box: Box) -> np.ndarray:
    return page[box.top : box.bottom, box.left : box.right]


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def away_from_mark(still: StillFigure, index: int, box: Box) -> np.ndarray:
    """Where neither the outline of the query cell nor anything else is drawn over the map."""
    layer = still.blocks[0].layers[0]
    (row, col), grid, room = layer.pins[index], layer.query_grid, 16
    free = np.ones((box.height, box.width), dtype=bool)
    top, bottom = row * box.height / grid.height, (row + 1) * box.height / grid.height
    left, right = col * box.width / grid.width, (col + 1) * box.width / grid.width
    free[
        max(0, int(top) - room) : int(bottom) + room, max(0, int(left) - room) : int(right) + room
    ] = False
    return free


def texts(svg: bytes) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]
