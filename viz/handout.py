"""The lesson on one sheet of paper: a real map, the equation, and the seven questions.

Lengths are dots of 1/300 inch from the top left of an A4 page; type sizes are points.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .drawing import GREY, INK, draw_panels
from .figure import Pane, StillFigure, panes_figure, rendering
from .kept import Shown
from .language import EXPLORER, LANGUAGES, catalogue, exported
from .layout import DOTS_PER_INCH, POINT
from .lettering import legible, undrawable, undrawable_in_bold, wrap, write
from .making import title
from .workshop import Workshop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 2480, 3508  # A4
SIDE, TOP, BOTTOM = 180, 170, 160
COLUMN = (WIDTH - 2 * SIDE) / POINT  # points
RULE = 0.3  # of the lines to write on
STEP = 16.5 * POINT  # from one of them to the next
PINS = 3

EQUATION = (
    r"$\beta_{j,i} = \exp(s_{ij})\ /\ \sum_{i=1}^{N}\exp(s_{ij})$",
    r"$s_{ij} = f(x_i)^{\mathsf{T}} g(x_j)$",
    r"$o_j = v\left(\sum_{i=1}^{N} \beta_{j,i}\, h(x_i)\right)$",
    r"$y_j = \gamma\, o_j + x_j$",
)
"""Zhang et al. 2018, equations 1 to 3."""

WORDS = {
    "en": {
        "title": "Where does a point look? Self-attention in SAGAN",
        "name": "Name",
        "kind": "generated image",
        "symbols": "g(xⱼ) query of the point, f(xᵢ) keys, h(xᵢ) values, v output convolution; the "
        "sum runs over the N keys. Gamma starts at 0. There is no 1/√d.",
        "open": "This image, with the lesson",
        "colours": "Colours show multiples of uniform attention: at 1× a point looks everywhere "
        "alike.",
        "minutes": "{minutes} min",
        "image": "{title}, seed {seed}, {layer}, gamma {gamma:.2g}",
    },
    "ko": {
        "title": "점은 어디를 바라보는가? SAGAN의 셀프 어텐션(self-attention)",
        "name": "이름",
        "kind": "생성된 이미지",
        "symbols": "g(xⱼ) 점의 쿼리(query), f(xᵢ) 키(key), h(xᵢ) 값(value), v 출력 합성곱"
        "(convolution). 합은 키 N개에 대해 구합니다. 감마(gamma)는 0에서 시작합니다. 1/√d는 "
        "없습니다.",
        "open": "이 이미지와 수업",
        "colours": "색은 균등 어텐션의 몇 배인지를 나타냅니다. 1×이면 모든 곳을 고르게 보는 "
        "것입니다.",
        "minutes": "{minutes}분",
        "image": "{title}, 시드(seed) {seed}, {layer}, 감마 {gamma:.2g}",
    },
}

FONTS = {"ko": "fonts-nanum"}
"""Debian's package of a font with the letters of a language."""


def handout(workshop: Workshop, state: Mapping[str, Any], language: str, address: str) -> bytes:
    """The sheet as a PDF of one page; its text is text. The same sheet, the same bytes.

    Args:
        state: which image, layer and pins, as a browser has it; see `Workshop.beginning`.
        language: "en" or "ko".
        address: where the page is opened in class.

    Raises ValueError for an unknown language, for one whose letters no font here has, and for a
    layer of the discriminator; and what `Shown.of` raises.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; it must be one of {', '.join(LANGUAGES)}")
    words = WORDS[language]
    if undrawable(words["title"]):
        raise ValueError(
            f"no font here has the letters of language {language!r}; install one, on Debian with "
            f"apt-get install {FONTS[language]}"
        )
    shown = Shown.of(workshop, {**state, "other": None, "all_layers": False})
    still = _still(shown, words)
    with rendering():
        file = io.BytesIO()
        page = _page(still, _facts(workshop, shown, words), language, _link(address, shown))
        metadata = {"Title": words["title"], "Creator": "SAGAN Lens", "CreationDate": None}
        page.savefig(file, format="pdf", dpi=DOTS_PER_INCH, facecolor="white", metadata=metadata)
    return file.getvalue()


def _still(shown: Shown, words: Mapping[str, str]) -> StillFigure:
    if shown.layers[0].startswith("discriminator."):
        raise ValueError(f"layer is {shown.layers[0]}; a handout is about one of the generator")
    made, pins = shown.made[0], shown.view.pins[:PINS]
    pane = Pane(made.image, made.fields, shown.layers[0], kind=words["kind"])
    return panes_figure([pane], pins, shown.view.look)


def _facts(workshop: Workshop, shown: Shown, words: Mapping[str, str]) -> str:
    source = shown.made[0].source
    names = workshop.networks.checkpoint(source.checkpoint).class_names
    field = shown.made[0].fields[shown.layers[0]]
    layer = f"{field.query_grid.height}×{field.query_grid.width}"
    named = title(source, names)
    return words["image"].format(title=named, seed=source.seed, layer=layer, gamma=field.gamma)


def _link(address: str, shown: Shown) -> str:
    """Opens the same image, with the lesson at its first step."""
    source, query = shown.made[0].source, {}
    if source.label is not None:
        query["class"] = str(source.label)
    query |= {"seed": str(source.seed), "layer": shown.layers[0]}
    query["pins"] = ",".join(f"{row}.{col}" for row, col in shown.view.pins[:PINS])
    return f"{address}?{urlencode({**query, 'lesson': '1'}, safe=',')}"


def questions(language: str, numbers: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """(title, minutes, question) of the lesson's steps, with the layer's numbers in them."""
    said = catalogue(language)
    steps = exported(EXPLORER / "lesson_steps.js")["steps"]

    def filled(sentence: str) -> str:
        return said.get(sentence, sentence).format(**numbers)

    return [(filled(one["title"]), one["minutes"], filled(one["question"])) for one in steps]


def _page(still: StillFigure, facts: str, language: str, link: str) -> Any:
    from matplotlib.figure import Figure

    words = WORDS[language]
    page = Figure(figsize=(WIDTH / DOTS_PER_INCH, HEIGHT / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    page.set_layout_engine("none")  # a person's style may ask for one
    axes = page.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    y = TOP + 14 * POINT
    bold = not undrawable_in_bold(words["title"])  # a line half in bold looks like a mistake
    write(axes, SIDE, y, words["title"], colour=INK, size=14, bold=bold)
    y += 20 * POINT
    write(axes, SIDE, y, f"{words['name']}:", colour=INK, size=9)
    _line(axes, SIDE + 40 * POINT, y + 2 * POINT, SIDE + 220 * POINT)
    bottom = draw_panels(axes, still, SIDE, round(y + 14 * POINT))
    y = _lines(axes, bottom + 12 * POINT, legible(f"{facts}. {words['colours']}"), 7.5, GREY)
    y = _lines(axes, y, legible(f"{words['open']}: {link}"), 7.5, INK) + 18 * POINT
    for part, x in zip(EQUATION, (0, 0.33, 0.55, 0.84), strict=True):
        place = SIDE + x * COLUMN * POINT
        axes.text(place, y, part, color=INK, fontsize=11, va="center", math_fontfamily="dejavusans")
    y = _lines(axes, y + 30 * POINT, words["symbols"], 7.5, GREY)
    field = still.blocks[0].layers[0]
    numbers = {"queries": field.query_grid.height * field.query_grid.width}
    _ask(axes, y + 8 * POINT, questions(language, numbers), words["minutes"], bold)
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="auto")
    return page


def _ask(axes: Axes, y: float, asked: list[tuple[str, int, str]], minutes: str, bold: bool) -> None:
    """The questions, with the rest of the page shared out as room to write."""
    wrapped = [wrap(question, COLUMN, 9) for _, _, question in asked]
    taken = sum(13 * POINT * (1 + len(lines)) + 8 * POINT for lines in wrapped)
    rules = max(1, int((HEIGHT - BOTTOM - y - taken) / len(asked) / STEP))
    room = (HEIGHT - BOTTOM - y - taken) / len(asked) / rules
    for number, ((heading, time, _), lines) in enumerate(zip(asked, wrapped, strict=True), 1):
        first = f"{number}. {heading} ({minutes.format(minutes=time)})"
        write(axes, SIDE, y + 9 * POINT, first, colour=INK, size=9.5, bold=bold)
        y += 22 * POINT
        for line in lines:
            write(axes, SIDE, y, line, colour=INK, size=9)
            y += 13 * POINT
        y -= 11 * POINT
        for _ in range(rules):
            y += room
            _line(axes, SIDE, y, WIDTH - SIDE)
        y += 8 * POINT


def _lines(axes: Axes, y: float, text: str, size: float, colour: str) -> float:
    """Write wrapped text from the baseline y on; returns the next line's."""
    for line in wrap(text, COLUMN, size):
        write(axes, SIDE, y, line, colour=colour, size=size)
        y += 1.45 * size * POINT
    return y


def _line(axes: Axes, left: float, y: float, right: float) -> None:
    axes.plot((left, right), (y, y), color=GREY, linewidth=RULE, solid_capstyle="butt")
