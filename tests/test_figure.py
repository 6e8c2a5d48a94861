"""The still figure: its pixels, its files, and that nothing outside leaks into it."""

from __future__ import annotations

import re
import threading
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib import rc_context, rcParams
from PIL import Image
from planted import KINDS, planted_sample
from stills import PINS, SVG, away_from_mark, boxes, inside, panels, pixels, rgb, texts

from viz import lettering
from viz.colour import PIN_COLOURS, colour_table, scale_top
from viz.drawing import bar_labels, format_multiple
from viz.figure import figure
from viz.layout import DOTS_PER_INCH, MARGIN, BlockLayout
from viz.lettering import legible, text_width, wrap


@pytest.fixture(scope="module")
def sample():
    return planted_sample()


# Pixels


@pytest.mark.parametrize("layer", ["planted", *(kind for kind in KINDS if kind != "large")])
@pytest.mark.parametrize("baseline", ["uniform", "average"])
def test_every_pixel_has_the_colour_of_its_multiple(sample, layer, baseline):
    pins = PINS[:3]
    still = figure(sample, layer, pins, baseline=baseline, opacity=1)
    page, field = pixels(still), sample.fields[layer]
    weights = field.weights[0].double().numpy()
    against = np.full(weights.shape[1], 1 / weights.shape[1])
    if baseline == "average":
        against = weights.mean(0)
    rows = [weights[row * field.query_grid.width + col] / against for row, col in pins]
    top = scale_top(rows)
    for index, box in enumerate(panels(still)):
        expected = np.zeros((box.height, box.width, 3), np.uint8)
        height, width = field.key_grid
        for row in range(height):
            for col in range(width):
                multiple = rows[index][row * width + col]
                top_edge, bottom_edge = (
                    -(-row * box.height // height),
                    (row + 1) * box.height / height,
                )
                left_edge, right_edge = -(-col * box.width // width), (col + 1) * box.width / width
                expected[
                    top_edge : int(np.ceil(bottom_edge)), left_edge : int(np.ceil(right_edge))
                ] = colour_table()[round(255 * min(1, multiple / top))]
        difference = np.abs(inside(page, box).astype(int) - expected)
        # A colour may be its neighbour's where a multiple lies between two, by rounding.
        assert difference[away_from_mark(still, index, box)].max() <= 3


def test_a_planted_row_shows_one_bright_cell(sample):
    still = figure(sample, "planted", [(3, 5)], opacity=1)
    (box,) = panels(still)
    shown = inside(pixels(still), box)
    assert still.top == 6  # of six key cells, all attention on one
    for row in range(2):
        for col in range(3):
            cell = shown[
                row * box.height // 2 : (row + 1) * box.height // 2,
                col * box.width // 3 : (col + 1) * box.width // 3,
            ]
            expected = colour_table()[255 if (row, col) == (1, 2) else 0]
            assert (cell[10, 10] == expected).all()


def test_a_uniform_row_looks_flat(sample):
    still = figure(sample, "flat", [(3, 5)], opacity=1)
    (box,) = panels(still)
    shown = inside(pixels(still), box)[away_from_mark(still, 0, box)]
    assert (shown == colour_table()[round(255 / 2)]).all()  # 1x on a scale from 0 to 2


@pytest.mark.parametrize("opacity", [0, 0.5])
def test_the_image_is_under_the_map_with_crisp_pixels(sample, opacity):
    still = figure(sample, "flat", [(3, 5)], opacity=opacity)
    layout, (box,) = boxes(still), panels(still)
    page, zoom = pixels(still), box.height // 24
    large = sample.image.repeat(zoom, 0).repeat(zoom, 1)
    colour = colour_table()[round(255 / 2)].astype(float)
    expected = (1 - opacity) * large + opacity * colour
    free = away_from_mark(still, 0, box)
    assert np.abs(inside(page, box) - expected)[free].max() <= 0.5
    assert (inside(page, layout.image)[0, -1] == sample.image[0, -1]).all()
    assert (inside(page, layout.image)[-1, 0] == sample.image[-1, 0]).all()


def test_a_grey_image_is_drawn_grey(sample):
    grey = replace(sample, image=sample.image[:, :, :1])
    still = figure(grey, "flat", [(0, 0)], opacity=0)
    shown = inside(pixels(still), boxes(still).image)
    assert (shown[-1, -1] == grey.image[-1, -1]).all()


@pytest.mark.parametrize("count", [1, 3, 5, 6, 7, 8])
def test_pins_have_their_colours_on_the_image_and_around_their_panels(sample, count):
    still = figure(sample, "planted", PINS[:count])
    layout, page = boxes(still), pixels(still)
    assert len(panels(still)) == count
    pins = still.blocks[0].layers[0].pins
    for index, ((row, col), box) in enumerate(zip(pins, panels(still), strict=True)):
        colour = rgb(PIN_COLOURS[index])
        for y, x in (
            (box.top - 4, box.left + 100),
            (box.bottom + 3, box.left + 100),
            (box.top + 100, box.left - 4),
            (box.top + 100, box.right + 3),
        ):
            assert tuple(page[y, x]) == colour
        x = layout.image.left + round((col + 0.5) * layout.image.width / 6)
        y = layout.image.top + round((row + 0.5) * layout.image.height / 4)
        assert tuple(page[y + 13, x]) == colour  # below the number in the shape
        assert tuple(page[box.top - 31 + 13, box.left + 10]) == colour


def test_the_bar_shows_all_colours_from_zero_to_the_top(sample):
    still = figure(sample, "planted", [(0, 0)])
    bar = inside(pixels(still), boxes(still).bar)
    assert (bar[0] == colour_table()[255]).all()
    assert (bar[-1] == colour_table()[0]).all()
    half = bar[bar.shape[0] // 2, 0].astype(int)
    assert np.abs(half - colour_table()[127]).max() <= 3


# Numbers


@pytest.mark.parametrize(
    ("top", "peak", "expected"),
    [
        (2, 1.1, ["0×", "0.5×", "1×", "1.5×", "2×"]),
        (6, 6, ["0×", "1×", "2×", "4×", "6×"]),
        (10, 31, ["0×", "1×", "2×", "4×", "6×", "8×", "≥10×"]),
        (30, 42, ["1×", "10×", "20×", "≥30×"]),
        (4096, 4096, ["1×", "1000×", "2000×", "3000×", "4100×"]),
    ],
)
def test_the_bar_names_one_the_top_and_round_multiples(top, peak, expected):
    assert [text for _, text in bar_labels(top, peak, room=0.08)] == expected


@pytest.mark.parametrize("top", [2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 60, 80, 100, 1500, 8000])
@pytest.mark.parametrize("room", [0.02, 0.08, 0.2])
def test_labels_on_the_bar_keep_apart(top, room):
    values = [value for value, _ in bar_labels(top, top, room)]
    assert {1, top} <= set(values)
    gaps = np.diff(values)
    assert len(values) <= 7
    assert (gaps[1:] >= room * top * 0.999).all() or top * room > top - 1


def test_multiples_are_written_as_on_the_page():
    values = {6.24: "6.2×", 31.72: "31.7×", 1: "1×", 1234: "1230×", 0.5: "0.5×", 0: "0×"}
    assert {value: format_multiple(value) for value in values} == values


# The page


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize(
    "size", [(32, 32), (64, 64), (128, 128), (256, 256), (600, 600), (24, 40), (16, 64), (64, 16)]
)
def test_nothing_on_the_page_overlaps(count, size):
    layout = BlockLayout.of(count, size)
    everything = [layout.image, *layout.panels[0], layout.bar]
    for index, one in enumerate(everything):
        assert one.left >= MARGIN
        assert one.width > 0
        assert one.height > 0
        for other in everything[index + 1 :]:
            apart = one.right + 15 <= other.left or one.bottom + 15 <= other.top
            assert apart or other.right + 15 <= one.left or other.bottom + 15 <= one.top
    assert layout.bar.bottom == layout.image.bottom == max(box.bottom for box in layout.panels[0])
    if size[0] == size[1]:
        assert layout.bar.right <= 7.5 * DOTS_PER_INCH


def test_whole_dots_per_pixel_where_pixels_are_seen():
    for size in (32, 64, 128):
        for count in (1, 3, 5, 8):
            assert all(
                box.height % size == 0 for box in BlockLayout.of(count, (size, size)).panels[0]
            )


# Words


def test_the_figure_says_what_it_shows(sample):
    still = figure(sample, "pooled", [(3, 5), (15, 0)], caption="a-checkpoint, Coat")
    said = texts(still.render("svg"))
    assert "a-checkpoint, Coat" in said
    assert "seed 3 · truncation 1 · pooled, 16×16 queries, 8×8 keys · gamma 0.5" in " ".join(said)
    assert {"generated image", "(3, 5)", "(15, 0)", "1×"} <= set(said)
    assert f"max {format_multiple(still.blocks[0].layers[0].maps[0].max())}" in said
    assert "Colours show multiples of uniform attention: at 1× a point looks" in " ".join(said)
    said = texts(figure(sample, "pooled", [(3, 5)], baseline="average").render("svg"))
    assert "multiples of the average point's attention" in " ".join(said)


def test_any_text_is_drawn_as_it_is(sample, monkeypatch):
    monkeypatch.setattr(lettering, "_east_asian_files", tuple)  # a machine without such fonts
    hostile = "$\\frac{1}{0}$ <script>&amp; 小猫 \x00\ud800 🐱\n\\alpha é"
    still = figure(sample, "flat", [(0, 0)], changes=hostile)
    shown = "$\\frac{1}{0}$ <script>&amp; \\u5c0f\\u732b \\x00\\ud800 🐱 \\alpha é"
    assert " ".join(texts(still.render("svg"))).count(shown) == 1
    assert still.render("pdf").startswith(b"%PDF")
    assert still.render("png").startswith(b"\x89PNG")


def test_names_in_other_scripts_use_a_font_of_the_system(sample):
    if "\\" in legible("小猫"):
        pytest.skip("no font with Chinese characters on this machine")
    still = figure(sample, "flat", [(0, 0)], caption="Cat 小猫, 3", changes="小猫")
    said = texts(still.render("svg"))
    assert {"Cat ", "小猫", ", 3"} <= set(said)
    assert still.render("pdf").startswith(b"%PDF")
    plain = replace(still, blocks=(replace(still.blocks[0], title="Cat , 3"),))
    assert (pixels(still) != pixels(plain)).any()


def test_lines_are_broken_to_fit():
    assert wrap("", 100, 6.5) == []
    words = legible("a generator at sixteen by sixteen, " * 5).strip()
    lines = wrap(words, 120, 6.5, most=20)
    assert " ".join(lines) == words
    assert all(text_width(line, 6.5) <= 120 for line in lines)
    lines = wrap("W" * 10_000, 120, 6.5, bold=True, most=3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(text_width(line, 6.5, bold=True) <= 120 for line in lines)


# Files


def test_the_pdf_is_one_page_with_real_fonts(sample):
    content = figure(sample, "planted", PINS[:3], caption="Coat").render("pdf")
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) == 1
    assert content.count(b"/FontFile2") == 2  # regular and bold, as TrueType
    assert b"/Type3" not in content
    assert content.count(b"/Subtype /Image") == 1 + 3 + 1  # image, panels, bar: none was merged
    assert b"/Interpolate true" not in content


def test_the_svg_is_xml_with_vector_frames(sample):
    content = figure(sample, "planted", PINS).render("svg")
    root = ElementTree.fromstring(content)
    assert len(list(root.iter(f"{SVG}image"))) == 1 + 8 + 1
    for colour in PIN_COLOURS:
        assert content.count(f"stroke: {colour}".encode()) == 2  # the frame and the query cell
    assert b"http://www.w3.org/1999/xlink" in content
    assert b"'DejaVu Sans', Verdana, sans-serif" in content


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_same_figure_is_the_same_bytes(sample, tmp_path, kind):
    first, second = tmp_path / f"first.{kind}", tmp_path / f"second.{kind.upper()}"
    figure(sample, "planted", PINS[:2], caption="Coat").save(first)
    figure(sample, "pooled", PINS[:5]).render(kind)
    figure(sample, "planted", PINS[:2], caption="Coat").save(second)
    assert first.read_bytes() == second.read_bytes()
    assert b"Date" not in first.read_bytes()


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_persons_own_style_does_not_leak_in_or_out(sample, kind):
    still = figure(sample, "planted", PINS[:2], caption="Coat")
    plain = still.render(kind)
    style = {
        "savefig.bbox": "tight",
        "figure.autolayout": True,
        "figure.facecolor": "black",
        "text.color": "white",
        "text.usetex": True,
        "font.family": "serif",
        "font.size": 30,
        "image.interpolation": "bilinear",
        "image.origin": "lower",
        "image.aspect": "equal",
        "patch.linewidth": 9,
        "patch.force_edgecolor": True,
        "axes.titlesize": 40,
        "pdf.fonttype": 3,
        "svg.fonttype": "path",
        "svg.hashsalt": "theirs",
        "path.sketch": (1, 100, 2),
    }
    with rc_context(style):
        assert still.render(kind) == plain
        assert rcParams["savefig.bbox"] == "tight"
        assert rcParams["svg.hashsalt"] == "theirs"


def test_threads_draw_at_the_same_time(sample):
    figures = [figure(sample, "planted", PINS[: 1 + index]) for index in range(3)]
    alone = [still.render("svg") for still in figures]
    together: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda i=i: together.update({i: figures[i].render("svg")}))
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[index] for index in range(3)] == alone


def test_a_notebook_shows_the_picture(sample):
    still = figure(sample, "planted", [(0, 0)])
    assert still._repr_png_() == still.render("png")
    assert Image.open(BytesIO(still._repr_png_())).info["dpi"] == pytest.approx((300, 300), abs=0.1)


# Errors


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"layer": "blocks.9"}, KeyError, "no attention layer 'blocks.9'; this sample has planted"),
        ({"pins": []}, ValueError, "0 pins; a figure takes from 1 to 8"),
        ({"pins": [(0, 0)] * 9}, ValueError, "9 pins; a figure takes from 1 to 8"),
        ({"pins": [(4, 0)]}, IndexError, r"pin \(4, 0\) is outside the 4x6 grid"),
        ({"pins": [(0, -1)]}, IndexError, r"pin \(0, -1\) is outside the 4x6 grid"),
        ({"pins": [(0.5, 1)]}, ValueError, r"pin \(0.5, 1\) is not a pair of whole numbers"),
        ({"pins": [3, 4]}, ValueError, "pin 3 is not a pair of whole numbers"),
        ({"baseline": "zero"}, ValueError, "baseline is 'zero'; it must be one of uniform"),
        ({"opacity": 1.5}, ValueError, "opacity is 1.5; it must be a number from 0 to 1"),
        ({"opacity": float("nan")}, ValueError, "opacity is nan"),
    ],
)
def test_wrong_arguments_are_named(sample, change, kind, said):
    arguments = {"layer": "planted", "pins": [(0, 0)], **change}
    with pytest.raises(kind, match=said):
        figure(sample, **arguments)


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "pdf"])
def test_an_unknown_suffix_is_an_error_and_leaves_no_file(sample, tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf, \.svg"):
        figure(sample, "planted", [(0, 0)]).save(tmp_path / name)
    assert not list(tmp_path.iterdir())
