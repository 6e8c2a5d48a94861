"""Drawing the still figure with matplotlib: where everything stands, and how it looks.

Lengths on the page are dots of 1/300 inch from its top left; type sizes and line widths are points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .colour import PIN_COLOURS, colour_table
from .lettering import legible, text_width, wrap, write
from .view import Baseline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .figure import StillFigure

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom."""

LEGENDS: dict[Baseline, str] = {
    "uniform": "Colours show multiples of uniform attention: at 1× a point looks everywhere alike.",
    "average": "Colours show multiples of the average point's attention: at 1× a point looks like "
    "the others.",
}

DOTS_PER_INCH = 300
POINT = DOTS_PER_INCH / 72  # dots
MARGIN = round(5 * POINT)
GAP = round(9 * POINT)
HEADER = round(13 * POINT)  # above each panel: its number, its cell and its largest multiple
BAR_WIDTH = round(6 * POINT)
BAR_TICK = round(4 * POINT)  # from the bar to its numbers
LINE = 9.5 * POINT  # from one line of the caption to the next
TYPE = 6.5
FRAME = 1.8  # drawn outside the panel, so that it covers no pixel
DIGIT = 0.73  # height of a digit, of the type size
INK, GREY = "#1a1a1a", "#5c5c5c"
PALE = 0.5  # luminance above which a colour is lost on white paper


def format_multiple(value: float) -> str:
    """6.24 -> "6.2×", 31.72 -> "31.7×"; the same numbers as on the page."""
    rounded = float(f"{value:.{3 if value >= 10 else 2}g}")
    return f"{rounded:.10g}×"


def enlarge(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, ...) -> (height, width, ...): each output pixel takes the cell in which it lies."""
    rows = np.arange(height) * array.shape[0] // height
    cols = np.arange(width) * array.shape[1] // width
    return array[rows[:, None], cols]


def shade(image: np.ndarray, multiple: np.ndarray, top: float, opacity: float) -> np.ndarray:
    """An image under a map: (H, W, 3 or 1) uint8 and (H, W) multiples -> (H, W, 3) uint8."""
    index = np.rint(255 * np.clip(multiple / top, 0, 1)).astype(np.uint8)
    mixed = (1 - opacity) * image + opacity * colour_table()[index]
    return np.rint(mixed).astype(np.uint8)


# The page


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, in whole dots."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height


@dataclass(frozen=True)
class Layout:
    """Where everything is: up to five panels in a row, more in two rows beside a larger image.

    With square images all this is at most 7.5 inches wide.
    """

    image: Box
    panels: tuple[Box, ...]
    bar: Box

    @classmethod
    def of(cls, pins: int, image_size: tuple[int, int]) -> Layout:
        rows = 1 if pins <= 5 else 2
        columns = -(-pins // rows)
        target = 384 if pins <= 3 else 320
        scale = target / max(image_size)
        if scale >= 1:
            scale = round(scale)  # whole dots per pixel keep all pixels alike
        height, width = (max(1, round(size * scale)) for size in image_size)
        top = MARGIN + HEADER
        tall = rows * height + (rows - 1) * (GAP + HEADER)
        image = Box(MARGIN, top, round(width * tall / height), tall)
        panels = tuple(
            Box(
                image.right + GAP + index % columns * (width + GAP),
                top + index // columns * (height + GAP + HEADER),
                width,
                height,
            )
            for index in range(pins)
        )
        bar = Box(max(panel.right for panel in panels) + GAP, top, BAR_WIDTH, tall)
        return cls(image, panels, bar)


def draw(still: StillFigure) -> Figure:
    """The page as a matplotlib figure that belongs to no window and to no pyplot."""
    from matplotlib.figure import Figure

    layout = Layout.of(len(still.pins), (still.image.shape[0], still.image.shape[1]))
    labels = bar_labels(still.top, float(still.maps.max()), room=8 * POINT / layout.bar.height)
    longest = max(text_width(text, TYPE, bold=True) for _, text in labels)
    width = layout.bar.right + BAR_TICK + math.ceil(longest * POINT) + MARGIN
    lines = _caption(still, (width - 2 * MARGIN) / POINT)
    caption_top = layout.image.bottom + GAP
    height = math.ceil(caption_top + LINE * len(lines) + MARGIN)
    page = Figure((width / DOTS_PER_INCH, height / DOTS_PER_INCH), DOTS_PER_INCH)
    page.set_layout_engine("none")  # a person's style may ask for one
    axes = page.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    _draw_image(axes, still, layout.image)
    for index, box in enumerate(layout.panels):
        _draw_panel(axes, still, index, box)
    _draw_bar(axes, still.top, labels, layout.bar)
    for index, (text, bold) in enumerate(lines):
        baseline = caption_top + LINE * (index + 0.8)
        colour = INK if bold else GREY
        write(axes, MARGIN, baseline, text, colour=colour, size=TYPE, bold=bold)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return page


def _caption(still: StillFigure, width: float) -> list[tuple[str, bool]]:
    """(text, bold) of each line under the picture, no wider than `width` points."""
    scale = " One scale for all panels." if len(still.pins) > 1 else ""
    texts = (legible(still.facts), LEGENDS[still.baseline] + scale)
    lines = [(line, True) for line in wrap(legible(still.title), width, TYPE, bold=True, most=2)]
    return lines + [(line, False) for text in texts for line in wrap(text, width, TYPE)]


def _draw_image(axes: Axes, still: StillFigure, box: Box) -> None:
    """The generated image with its numbered points."""
    _show(axes, still.image, box)
    _outline(axes, (box.left, box.top, box.right, box.bottom), GREY, 0.3)
    _heading(axes, box.left, box, "generated image", GREY)
    for index, (row, col) in enumerate(still.pins):
        x = box.left + (col + 0.5) * box.width / still.query_grid.width
        y = box.top + (row + 0.5) * box.height / still.query_grid.height
        _draw_badge(axes, x, y, index)


def _draw_panel(axes: Axes, still: StillFigure, index: int, box: Box) -> None:
    """The image under one pin's map, framed in the pin's colour, with the query cell outlined."""
    (row, col), multiple, fill = still.pins[index], still.maps[index], PIN_COLOURS[index]
    # Drawn at a size in which both image pixels and key cells keep their regions.
    height = max(box.height, still.image.shape[0])
    width = max(box.width, still.image.shape[1])
    image = enlarge(still.image, height, width)
    _show(axes, shade(image, enlarge(multiple, height, width), still.top, still.opacity), box)

    corners: Corners = (box.left, box.top, box.right, box.bottom)
    if _luminance(fill) > PALE:
        _outline(axes, corners, GREY, FRAME + 0.4)  # seen as a thin rim around what follows
    _outline(axes, corners, fill, FRAME)
    cell_width, cell_height = (
        box.width / still.query_grid.width,
        box.height / still.query_grid.height,
    )
    x, y = box.left + (col + 0.5) * cell_width, box.top + (row + 0.5) * cell_height
    # A small cell's outline is drawn larger, to be seen.
    half_width, half_height = (max(size, 3 * POINT) / 2 for size in (cell_width, cell_height))
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    _outline(axes, corners, _rim(fill), 1.8)
    _outline(axes, corners, fill, 1.2)

    _draw_badge(axes, box.left + 2.4 * POINT, box.top - 7.4 * POINT, index)
    _heading(axes, box.left + 9.5 * POINT, box, f"({row}, {col})", INK)
    _heading(axes, box.right, box, f"max {format_multiple(multiple.max())}", GREY, right=True)


def _outline(axes: Axes, corners: Corners, colour: str, line: float) -> None:
    """A line of `line` points around a rectangle, outside it."""
    from matplotlib.patches import Rectangle

    left, top, right, bottom = corners
    out = line / 2 * POINT
    rectangle = Rectangle((left - out, top - out), right - left + 2 * out, bottom - top + 2 * out)
    rectangle.set(facecolor="none", edgecolor=colour, linewidth=line)
    rectangle.set(joinstyle="miter", clip_on=False, snap=False)
    axes.add_patch(rectangle)


def _draw_badge(axes: Axes, x: float, y: float, index: int) -> None:
    """A disc in the pin's colour with its number, centred on (x, y)."""
    from matplotlib.patches import Circle

    size, fill = 6, PIN_COLOURS[index]
    ink = _ink_on(fill)
    disc = Circle((x, y), 4.2 * POINT)
    disc.set(facecolor=fill, edgecolor=_rim(fill), linewidth=0.6, clip_on=False)
    axes.add_patch(disc)
    baseline = y + DIGIT / 2 * size * POINT
    write(axes, x, baseline, str(index + 1), colour=ink, size=size, bold=True, align="center")


def _luminance(colour: str) -> float:
    """Of #rrggbb, from 0 (black) to 1 (white)."""
    red, green, blue = ((int(colour[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _ink_on(fill: str) -> str:
    """Dark or white, whichever reads better on a colour; `inkOn` in markers.js."""
    return INK if _luminance(fill) > 0.18 else "white"


def _rim(fill: str) -> str:
    """What sets a mark of this colour off from the image under it."""
    return INK if _luminance(fill) > PALE else "white"


def _draw_bar(axes: Axes, top: float, labels: list[tuple[float, str]], box: Box) -> None:
    """The colour scale from 0 to `top`, with its numbers in multiples of the baseline."""
    from matplotlib.patches import Rectangle

    _show(axes, colour_table()[::-1, None], box)
    for value, text in labels:
        y = box.bottom - value / top * box.height
        tick = Rectangle((box.right, y - POINT / 4), 2 * POINT, POINT / 2)
        tick.set(facecolor=GREY, edgecolor="none", linewidth=0)
        axes.add_patch(tick)
        at, bold = (box.right + BAR_TICK, y + DIGIT / 2 * TYPE * POINT), value == 1
        write(axes, *at, text, colour=INK if bold else GREY, size=TYPE, bold=bold)


def bar_labels(top: float, peak: float, room: float) -> list[tuple[float, str]]:
    """Numbers on the colour bar, ascending: 0, 1, the top, and round ones where there is room.

    Args:
        top: the multiple at the bar's upper end, at least 1.
        peak: the largest multiple in any map; above `top` it has the top's colour.
        room: least distance between two labels, as a share of the bar's height. 0 gives way to 1.
    """
    shown = {1.0, top} if 1 / top < room else {0.0, 1.0, top}
    magnitude = 10.0 ** math.floor(math.log10(top))
    steps = (magnitude * part for part in (0.2, 0.5, 1, 2, 5))
    step = next(step for step in steps if math.ceil(top / step) <= 5)
    for value in (step * count for count in range(1, math.ceil(top / step))):
        if all(abs(value - other) >= room * top for other in shown):
            shown.add(value)
    beyond = "≥" if peak > 1.001 * top else ""
    return [(x, f"{beyond if x == top else ''}{format_multiple(x)}") for x in sorted(shown)]


def _heading(axes: Axes, x: float, box: Box, text: str, colour: str, right: bool = False) -> None:
    """A few words above a box."""
    align: Any = "right" if right else "left"
    write(axes, x, box.top - 5 * POINT, text, colour=colour, size=TYPE, align=align)


def _show(axes: Axes, pixels: np.ndarray, box: Box) -> None:
    """Show (h, w, 3 or 1) uint8 in a box, enlarged here so that no viewer smooths it."""
    height, width = max(box.height, pixels.shape[0]), max(box.width, pixels.shape[1])
    colours = np.broadcast_to(enlarge(pixels, height, width), (height, width, 3))
    extent = (box.left, box.right, box.bottom, box.top)
    shown = axes.imshow(colours, extent=extent, origin="upper", interpolation="none")
    shown.set_clip_on(False)  # clipped images would be merged into one of a lower resolution
