"""Where everything stands on a still figure's page.

Lengths are dots of 1/300 inch from the page's top left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DOTS_PER_INCH = 300
POINT = DOTS_PER_INCH / 72  # dots
MARGIN = round(5 * POINT)
GAP = round(9 * POINT)
HEADER = round(13 * POINT)  # above each panel: its number, its cell and its largest multiple
LABEL = round(10 * POINT)  # above a row of panels, where each row is another layer
FOOT = round(9 * POINT)  # under a panel that has a scale of its own: the badge that says so
BAR_WIDTH = round(6 * POINT)
BAR_TICK = round(4 * POINT)  # from the bar to its numbers


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
class BlockLayout:
    """One image, its panels row by row (a row is a layer, or a part of one), and the colour bar.

    `panels` holds one tuple per layer.
    """

    image: Box
    panels: tuple[tuple[Box, ...], ...]
    bar: Box
    bottom: int

    @classmethod
    def of(
        cls,
        pins: int,
        image_size: tuple[int, int],
        layers: int = 1,
        top: int = MARGIN,
        own_scale: bool = False,
    ) -> BlockLayout:
        """Up to five panels of a layer stand in a row, more in two.

        With square images all this is at most 7.5 inches wide.

        Args:
            image_size: (height, width) in pixels.
            top: where the block starts on the page.
            own_scale: leave room for a badge under each panel.
        """
        rows = 1 if pins <= 5 else 2
        columns = -(-pins // rows)
        target = 384 if pins <= 3 else 320
        scale = target / max(image_size)
        if scale >= 1:
            scale = round(scale)  # whole dots per pixel keep all pixels alike
        height, width = (max(1, round(size * scale)) for size in image_size)
        head = HEADER + (LABEL if layers > 1 else 0)
        foot = FOOT if own_scale else 0
        step = height + GAP + head + foot
        first = top + head
        tall = (
            height + (rows * layers - 1) * step
        )  # from the first panel's top to the last's bottom
        large = min(tall, 2 * height + GAP + HEADER)
        image = Box(MARGIN, first, round(width * large / height), large)
        panels = tuple(
            tuple(
                Box(
                    image.right + GAP + index % columns * (width + GAP),
                    first + (layer * rows + index // columns) * step,
                    width,
                    height,
                )
                for index in range(pins)
            )
            for layer in range(layers)
        )
        right = image.right + GAP + columns * (width + GAP)
        return cls(image, panels, Box(right, first, BAR_WIDTH, tall), first + tall + foot)

    def moved(self, right: int) -> BlockLayout:
        """The same, further to the right."""

        def move(box: Box) -> Box:
            return replace(box, left=box.left + right)

        panels = tuple(tuple(map(move, row)) for row in self.panels)
        return replace(self, image=move(self.image), panels=panels, bar=move(self.bar))
