"""Drawing the still figure with matplotlib: how everything looks that `layout.py` places.

Lengths on the page are dots of 1/300 inch from its top left; type sizes and line widths are points.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .colour import LOG_SPAN, PIN_COLOURS, colour_position, colour_table
from .layout import BAR_TICK, DOTS_PER_INCH, GAP, MARGIN, POINT, BlockLayout, Box
from .legend import legend, what_if
from .lettering import legible, text_width, wrap, write
from .maps import targets
from .shapes import PIN_SHAPES
from .view import Look, same_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .figure import Block, LayerMaps, StillFigure

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom."""

Label = tuple[float, str, bool]
"""Of the colour bar: its place from 0 (below) to 1, its text, and is it bold?"""

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


def smoothed(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) -> (height, width): linear between the cells' centres, level beyond the outer ones."""
    for axis, size in enumerate((height, width)):
        count = array.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, count - 1)
        share = np.expand_dims(at - low, 1 - axis)
        array = (1 - share) * array.take(low, axis) + share * array.take(high, axis)
    return array


def shade(image: np.ndarray, multiples: np.ndarray, top: float, look: Look) -> np.ndarray:
    """An image under a map: (H, W, 3 or 1) uint8 and (H, W) multiples -> (H, W, 3) uint8.

    In the overlay style, colours mixed with the image by the look's opacity. In the mask style,
    the image times 1 - opacity * (1 - position), with the position on the scale from 0 to 1.
    """
    position = colour_position(multiples, top, look.log)
    if look.style == "mask":
        mixed = image * (1 - look.opacity * (1 - position[..., None]))
    else:
        index = np.rint(255 * position).astype(np.uint8)
        mixed = (1 - look.opacity) * image + look.opacity * colour_table(look.colours)[index]
    return np.broadcast_to(np.rint(mixed).astype(np.uint8), (*multiples.shape, 3))


def draw(still: StillFigure) -> Figure:
    """The page as a matplotlib figure that belongs to no window and to no pyplot."""
    from matplotlib.figure import Figure

    own = still.look.scale == "own"
    sizes = [
        (len(block.layers[0].pins), (block.image.shape[0], block.image.shape[1]), len(block.layers))
        for block in still.blocks
    ]
    drafts = [BlockLayout.of(*size, own_scale=own) for size in sizes]
    labels = [_bar_labels(still, draft.bar) for draft in drafts]
    longest = max(text_width(text, TYPE, bold=True) for part in labels for _, text, _ in part)
    width = (
        max(draft.bar.right for draft in drafts) + BAR_TICK + math.ceil(longest * POINT) + MARGIN
    )
    captions = [_caption(block, (width - 2 * MARGIN) / POINT) for block in still.blocks]
    captions[-1] += _explained(still, (width - 2 * MARGIN) / POINT)

    page = Figure()
    page.set_layout_engine("none")  # a person's style may ask for one
    axes = page.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    top = MARGIN
    for block, size, bar, lines in zip(still.blocks, sizes, labels, captions, strict=True):
        layout = BlockLayout.of(*size, top=top, own_scale=own)
        _draw_block(axes, still, block, layout, bar)
        for index, (text, bold) in enumerate(lines):
            baseline = layout.bottom + GAP + LINE * (index + 0.8)
            colour = INK if bold else GREY
            write(axes, MARGIN, baseline, text, colour=colour, size=TYPE, bold=bold)
        bottom = layout.bottom + GAP + LINE * len(lines)
        top = math.ceil(bottom + GAP)
    height = math.ceil(bottom + MARGIN)
    page.set_dpi(DOTS_PER_INCH)
    page.set_size_inches(width / DOTS_PER_INCH, height / DOTS_PER_INCH)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return page


def draw_panels(axes: Axes, still: StillFigure, left: int, top: int) -> float:
    """A figure's first image and its panels on a page of one's own, from (left, top) on.

    Args:
        axes: covers the page, in dots from its top left.

    Returns the bottom edge.
    """
    block = still.blocks[0]
    size = (block.image.shape[0], block.image.shape[1])
    layout = BlockLayout.of(len(block.layers[0].pins), size, len(block.layers), top)
    moved = layout.moved(left - MARGIN)
    _draw_block(axes, still, block, moved, _bar_labels(still, moved.bar))
    return moved.bottom


def _caption(block: Block, width: float) -> list[tuple[str, bool]]:
    """(text, bold) of each line under a block, no wider than `width` points."""
    lines = [(line, True) for line in wrap(legible(block.title), width, TYPE, bold=True, most=2)]
    return lines + [
        (line, False) for text in block.lines for line in wrap(legible(text), width, TYPE)
    ]


def _explained(still: StillFigure, width: float) -> list[tuple[str, bool]]:
    """The same of what holds for all blocks: what is a what-if, and what the colours mean."""
    return [
        *((line, True) for line in wrap(what_if(still.look), width, TYPE, bold=True)),
        *((line, False) for line in wrap(legend(still.look, still.panels), width, TYPE, most=6)),
    ]


def _draw_block(
    axes: Axes, still: StillFigure, block: Block, layout: BlockLayout, bar: list[Label]
) -> None:
    _draw_image(axes, still, block, layout.image)
    for layer, boxes in zip(block.layers, layout.panels, strict=True):
        if len(block.layers) > 1:
            room = (layout.bar.right - boxes[0].left) / POINT
            (label,) = wrap(legible(layer.facts), room, TYPE, most=1)
            write(axes, boxes[0].left, boxes[0].top - 15 * POINT, label, colour=INK, size=TYPE)
        for index, box in enumerate(boxes):
            _draw_panel(axes, still, block, layer, index, box)
    _draw_bar(axes, still.look, bar, layout.bar)


def _draw_image(axes: Axes, still: StillFigure, block: Block, box: Box) -> None:
    """The image with its numbered points, those of its first layer."""
    _show(axes, block.image, box)
    _outline(axes, (box.left, box.top, box.right, box.bottom), GREY, 0.3)
    _heading(axes, box.left, box, block.kind, GREY)
    layer = block.layers[0]
    points = [_centre(box, pin, layer.query_grid) for pin in layer.pins]
    if still.look.arrows and len(block.layers) == 1:
        for index, point in enumerate(points):
            _draw_arrows(axes, still, layer, index, point, box)
    for index, (x, y) in enumerate(points):
        _draw_badge(axes, x, y, index)


def _centre(box: Box, cell: tuple[int, int], grid: tuple[int, int]) -> tuple[float, float]:
    """(x, y) on the page of the centre of a grid's cell."""
    (row, col), (height, width) = cell, grid
    return box.left + (col + 0.5) * box.width / width, box.top + (row + 0.5) * box.height / height


def _draw_panel(
    axes: Axes, still: StillFigure, block: Block, layer: LayerMaps, index: int, box: Box
) -> None:
    """The image under one pin's map, framed in the pin's colour, with the asked cell outlined."""
    look, multiples, fill = still.look, layer.maps[index], PIN_COLOURS[index]
    # Drawn at a size in which both image pixels and key cells keep their regions.
    height = max(box.height, block.image.shape[0])
    width = max(box.width, block.image.shape[1])
    spread = smoothed if look.smooth else enlarge
    top = still.top_of(multiples)
    image = enlarge(block.image, height, width)
    _show(axes, shade(image, spread(multiples, height, width), top, look), box)

    corners: Corners = (box.left, box.top, box.right, box.bottom)
    if _luminance(fill) > PALE:
        _outline(axes, corners, GREY, FRAME + 0.4)  # seen as a thin rim around what follows
    _outline(axes, corners, fill, FRAME)
    cell, grid = layer.pins[index], layer.query_grid
    if look.direction == "to":  # what was looked at is a key, which may be coarser
        cell, grid = same_place(cell, grid, layer.key_grid), layer.key_grid
    x, y = _centre(box, cell, grid)
    # A small cell's outline is drawn larger, to be seen.
    sizes = (box.width / grid.width, box.height / grid.height)
    half_width, half_height = (max(size, 3 * POINT) / 2 for size in sizes)
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    _outline(axes, corners, _rim(fill), 1.8)
    _outline(axes, corners, fill, 1.2)
    if look.arrows:
        _draw_arrows(
            axes, still, layer, index, _centre(box, layer.pins[index], layer.query_grid), box
        )

    _draw_badge(axes, box.left + 2.4 * POINT, box.top - 7.4 * POINT, index)
    row, col = layer.pins[index]
    where, peak = f"({row}, {col})", f"max {format_multiple(multiples.max())}"
    if text_width(where, TYPE) + text_width(peak, TYPE) + 13 <= box.width / POINT:
        _heading(axes, box.left + 9.5 * POINT, box, where, INK)
    _heading(axes, box.right, box, peak, GREY, right=True)
    if look.scale == "own":
        text = f"own scale, to {format_multiple(top)}"
        if text_width(text, 5.5, bold=True) > box.width / POINT:
            text = "own scale"
        write(axes, box.left, box.bottom + 8 * POINT, text, colour=INK, size=5.5, bold=True)


def _draw_arrows(
    axes: Axes,
    still: StillFigure,
    layer: LayerMaps,
    index: int,
    point: tuple[float, float],
    box: Box,
) -> None:
    """Arrows between a pin and the peaks of its map, wider for larger multiples."""
    fill, shape = PIN_COLOURS[index], layer.maps[index].shape
    peaks = targets(layer.maps[index])
    for peak in peaks[::-1]:  # the largest on top
        place = _centre(box, (peak.row, peak.col), (shape[0], shape[1]))
        if math.dist(point, place) < 6 * POINT:  # hardly longer than its own head
            continue
        start, end = (point, place) if still.look.direction == "from" else (place, point)
        _draw_arrow(axes, start, end, fill, 0.5 + 1.3 * peak.multiple / peaks[0].multiple)


def _draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], fill: str, line: float
) -> None:
    """One arrow, its shaft `line` points wide, with a rim that sets it off from the image."""
    from matplotlib.patches import Polygon

    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    shaft, head = line / 2 * POINT, (line / 2 + 1.2) * POINT
    neck = length - 2 * head
    outline = [(0, shaft), (neck, shaft), (neck, head), (length, 0)]
    outline += [(at, -aside) for at, aside in outline[-2::-1]]
    corners = [
        (start[0] + at * along[0] - aside * along[1], start[1] + at * along[1] + aside * along[0])
        for at, aside in outline
    ]
    arrow = Polygon(corners, closed=True)
    arrow.set(facecolor=fill, edgecolor=_rim(fill), linewidth=0.5, joinstyle="miter")
    axes.add_patch(arrow)


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
    """The pin's shape in its colour, with its number, centred on (x, y)."""
    from matplotlib.patches import Polygon

    size, fill, name = 6, PIN_COLOURS[index], list(PIN_SHAPES)[index]
    width = 8.4 * POINT
    corners = [
        (x + (right / 100 - 0.5) * width, y + (down / 100 - 0.5) * width)
        for right, down in PIN_SHAPES[name]
    ]
    shape = Polygon(corners, closed=True)
    shape.set(facecolor=fill, edgecolor=_rim(fill), linewidth=0.6, clip_on=False)
    axes.add_patch(shape)
    room = 0.5 * POINT if name == "triangle" else 0  # it is narrow where others are wide
    baseline = y + DIGIT / 2 * size * POINT + room
    ink = _ink_on(fill)
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


def _draw_bar(axes: Axes, look: Look, labels: list[Label], box: Box) -> None:
    """The scale of colours, with its numbers in multiples of the baseline."""
    from matplotlib.patches import Rectangle

    ramp = colour_table(look.colours)[::-1, None]
    if look.style == "mask":  # what becomes of a white pixel
        white = 255 * (1 - look.opacity * np.linspace(0, 1, 256))
        ramp = np.rint(white).astype(np.uint8)[:, None, None]
    _show(axes, ramp, box)
    for position, text, bold in labels:
        y = box.bottom - position * box.height
        tick = Rectangle((box.right, y - POINT / 4), 2 * POINT, POINT / 2)
        tick.set(facecolor=GREY, edgecolor="none", linewidth=0)
        axes.add_patch(tick)
        at = (box.right + BAR_TICK, y + DIGIT / 2 * TYPE * POINT)
        write(axes, *at, text, colour=INK if bold else GREY, size=TYPE, bold=bold)


def _bar_labels(still: StillFigure, box: Box) -> list[Label]:
    """What stands beside the bar. Where each panel has its own scale there are no numbers."""
    if still.look.scale == "own":
        return [(0, "top/100" if still.look.log else "0×", False), (1, "own top", False)]
    peak = max(float(layer.maps.max()) for block in still.blocks for layer in block.layers)
    numbers = bar_labels(still.top, peak, 8 * POINT / box.height, still.look.log)
    places = colour_position([value for value, _ in numbers], still.top, still.look.log)
    return [
        (float(place), text, value == 1)
        for place, (value, text) in zip(places, numbers, strict=True)
    ]


def bar_labels(top: float, peak: float, room: float, log: bool = False) -> list[tuple[float, str]]:
    """Numbers on the colour bar, ascending: its ends, 1, and round ones where there is room.

    Args:
        top: the multiple at the bar's upper end, at least 1.
        peak: the largest multiple in any map; above `top` it has the top's colour.
        room: least distance between two labels, as a share of the bar's height. The lower end gives
            way to 1.
        log: the scale is logarithmic and starts at `top` / 100, else linear from 0.
    """

    def place(value: float) -> float:
        return float(colour_position(value, top, log))

    low = top / LOG_SPAN if log else 0.0
    shown = {1.0, top} if place(1.0) < room else {low, 1.0, top}
    for value in _round_numbers(top, log):
        if low < value < top and all(abs(place(value) - place(other)) >= room for other in shown):
            shown.add(value)
    beyond = "≥" if peak > 1.001 * top else ""
    return [(x, f"{beyond if x == top else ''}{format_multiple(x)}") for x in sorted(shown)]


def _round_numbers(top: float, log: bool) -> list[float]:
    magnitude = 10.0 ** math.floor(math.log10(top))
    if log:
        return [magnitude * part / 10**down for part in (1, 5, 2) for down in range(3)]
    steps = (magnitude * part for part in (0.2, 0.5, 1, 2, 5))
    step = next(step for step in steps if math.ceil(top / step) <= 5)
    return [step * count for count in range(1, math.ceil(top / step))]


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
