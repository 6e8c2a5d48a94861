"""Words on a still figure: the font, what it can draw, and lines that fit.

DejaVu Sans comes with matplotlib, so that a figure is the same on every machine. Only characters
that it lacks, such as those of a Chinese or Korean name, are set in a font of the system, where
there is one that has them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .layout import POINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

FAMILY = "DejaVu Sans"
EAST_ASIAN = re.compile(
    r"cjk|wqy|wenquan|droidsansfallback|nanum|undotum|malgun|msyh|simhei|simsun|meiryo|msgothic"
    r"|yugoth|hiragino|pingfang|applesdgothic|applegothic|arialuni|unifont|ipag|takao|sourcehan",
    re.IGNORECASE,
)
"""Files of fonts with Chinese, Japanese or Korean characters, as systems call them."""


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
    for file, run in _runs(text, bold):
        axes.text(
            x,
            y,
            run,
            color=colour,
            fontproperties=_font(file, size, bold),
            horizontalalignment=align,
            verticalalignment="baseline",
            parse_math=False,
            usetex=False,
        )
        x += _advance(file, run, size) * POINT  # only lines from the left have several runs


def legible(text: str) -> str:
    r"""Text that the fonts can draw on one line.

    Runs of white space become one space; a character that they lack or that is not printable
    becomes its escape, such as \u5c0f.
    """

    def drawn(character: str) -> str:
        if character.isprintable() and _file_with(character, bold=False):
            return character
        return character.encode("unicode_escape").decode()

    return "".join(map(drawn, " ".join(text.split())))


def undrawable(text: str) -> str:
    """The characters of a text that no font here has."""
    return "".join(one for one in text if one.isprintable() and not _file_with(one, bold=False))


def undrawable_in_bold(text: str) -> str:
    """The characters of a text that are drawn, if at all, in a font without bold letters."""
    return "".join(one for one in text if _file_with(one, bold=True) != _own_file(True))


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
    return sum(_advance(file, run, size) for file, run in _runs(text, bold))


def _advance(file: str, run: str, size: float) -> float:
    """From where a run starts to where the next one does, in points."""
    from matplotlib.font_manager import get_font

    font = get_font(file)
    font.set_size(size, 72)
    return sum(font.load_char(ord(character)).linearHoriAdvance for character in run) / 65536


def _runs(text: str, bold: bool) -> list[tuple[str, str]]:
    """(font file, part) of a text, in order. What no font has is left to ours."""

    def file_of(character: str) -> str:
        return _file_with(character, bold) or _own_file(bold)

    return [(file, "".join(part)) for file, part in groupby(text, file_of)]


def _file_with(character: str, bold: bool) -> str | None:
    for file in (_own_file(bold), _own_file(False)):
        if ord(character) in _glyphs(file):
            return file
    return next((file for file in _east_asian_files() if ord(character) in _glyphs(file)), None)


def _font(file: str, size: float, bold: bool) -> FontProperties:
    from matplotlib.font_manager import FontProperties, get_font

    family = get_font(file).family_name
    weight = "bold" if file == _own_file(True) and bold else "normal"
    return FontProperties(family=family, weight=weight, size=size, fname=file)


def _own_file(bold: bool) -> str:
    from matplotlib import get_data_path

    return str(Path(get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf"))


@cache
def _east_asian_files() -> tuple[str, ...]:
    """Fonts of the system, in a fixed order. Looking for them takes a while."""
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(file for file in findSystemFonts() if EAST_ASIAN.search(Path(file).name)))


@cache
def _glyphs(file: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    return frozenset(get_font(file).get_charmap())
