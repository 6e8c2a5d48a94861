"""Words on a still figure: the font, what it can draw, and lines that fit.

DejaVu Sans comes with matplotlib, so that a figure is the same on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

FAMILY = "DejaVu Sans"


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    colour: str,
    size: float,
    bold: bool = False,
    align: Literal["left", "center", "right"] = "left",
) -> None:
    """Put text of `size` points with its baseline at (x, y). It is never read as a formula."""
    axes.text(
        x,
        y,
        text,
        color=colour,
        fontproperties=_font(size, bold),
        horizontalalignment=align,
        verticalalignment="baseline",
        parse_math=False,
        usetex=False,
    )


def legible(text: str) -> str:
    r"""Text that the font can draw on one line.

    Runs of white space become one space; a character that the font lacks or that is not printable
    becomes its escape, such as \u5c0f.
    """
    from matplotlib.font_manager import get_font

    glyphs = get_font(_font_file(bold=False)).get_charmap()

    def drawn(character: str) -> str:
        if character.isprintable() and ord(character) in glyphs:
            return character
        return character.encode("unicode_escape").decode()

    return "".join(map(drawn, " ".join(text.split())))


def wrap(text: str, width: float, size: float, *, bold: bool = False, most: int = 4) -> list[str]:
    """Break legible text into at most `most` lines, between words where possible.

    `width` and `size` are points. What does not fit in the last line is replaced by "…".
    """

    def measure(line: str) -> float:
        return text_width(line, size, bold=bold)

    def fitting(word: str) -> int:
        """How many of its characters fit in a line; one at least."""
        lengths = range(1, len(word) + 1)
        return max(1, bisect_right(lengths, width, key=lambda length: measure(word[:length])))

    lines: list[str] = []
    words = text[:2000].split()[::-1]  # more than fills the lines; long words take long to measure
    while words and len(lines) <= most:
        word = words.pop()
        if lines and measure(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        fits = fitting(word)
        lines.append(word[:fits])
        if word[fits:]:
            words.append(word[fits:])
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while len(last) > 1 and measure(last + "…") > width:
        last = last[:-1]
    return [*lines[: most - 1], last + "…"]


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide `text` is in `size` points: points."""
    from matplotlib.font_manager import get_font

    font = get_font(_font_file(bold))
    font.set_size(size, 720)  # ten dots per point
    font.set_text(text)
    return float(font.get_width_height()[0]) / 64 / 10


def _font(size: float, bold: bool) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    weight = "bold" if bold else "normal"
    return FontProperties(family=FAMILY, weight=weight, size=size, fname=_font_file(bold))


def _font_file(bold: bool) -> str:
    from matplotlib import get_data_path

    return str(Path(get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf"))
