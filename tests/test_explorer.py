"""The explorer in a browser: its numbers, what the canvas shows, and its pins."""

from __future__ import annotations

import base64
import io
import itertools

import gradio as gr
import numpy as np
import pytest
from browser import EXPLORER, LOOK, visit
from PIL import Image
from planted import KINDS, planted_sample

from sagan_core.sample import Sample
from viz.colour import PIN_COLOUR_NAMES, PIN_COLOURS, colour_table, scale_top
from viz.explorer.explorer import explorer
from viz.explorer.packing import pack
from viz.maps import map_of
from viz.view import Look

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own

COLOURS = ("inferno", "viridis", "cividis")
PINS = [[0, 0], [3, 5]]


@pytest.fixture(scope="module")
def sample() -> Sample:
    return planted_sample()


@pytest.fixture(scope="module")
def address(sample, tmp_path_factory):
    content, description = pack(sample.image, sample.fields)
    folder = tmp_path_factory.mktemp("planted")
    (folder / "scene.bin").write_bytes(content)
    gr.set_static_paths([folder])
    source = {"checkpoint": "planted", "seed": 3, "label": None, "without": {}}
    scene = {
        **description,
        "id": "planted",
        "source": source,
        "file": {"path": str(folder / "scene.bin")},
        "title": "A planted image",
        "subtitle": "seed 3",
        "fitted": "",
    }
    lab = {
        "checkpoint": "planted",
        "checkpoints": ["planted"],
        "class_names": [],
        "snapshots": [],
        "real": 0,
        "discriminator": False,
        "max_seed": 2**32 - 1,
        "colours": {name: base64.b64encode(colour_table(name)).decode() for name in COLOURS},
        "pin_colours": [
            {"colour": colour, "name": name}
            for colour, name in zip(PIN_COLOURS, PIN_COLOUR_NAMES, strict=True)
        ],
    }
    state = {**LOOK, "source": source, "other": None, "layer": "planted", "pins": PINS}
    with gr.Blocks() as page:
        explorer({"lab": lab, "scene": scene, "state": state}, [], elem_id="explorer")
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, run_history=False, ssr_mode=False
    )
    yield address
    page.close()


@pytest.fixture(scope="module")
def opened(chromium, address):
    with visit(chromium, address) as opened:
        yield opened


@pytest.fixture
def fresh(opened):
    """The page as it opens: two pins on the planted layer, nothing under the pointer."""
    opened.page.mouse.move(0, 0)
    opened.page.evaluate(
        f"""([look, pins]) => {{
          const explorer = {EXPLORER};
          document.activeElement.blur();
          explorer.selected = null;
          explorer.set({{ ...look, layer: "planted", points: explorer.pointsOf(pins, "planted") }});
        }}""",
        [LOOK, PINS],
    )
    opened.frame()
    return opened


def module(name: str) -> str:
    """A JavaScript expression for one of the explorer's loaded modules."""
    return (
        "await import(performance.getEntriesByType('resource')"
        f".find(({{ name }}) => name.endsWith('/{name}.js')).name)"
    )


# Numbers in the browser


def test_every_16_bit_float_is_decoded(opened):
    bits = np.arange(2**16, dtype=np.uint16)
    decoded = opened.page.evaluate(
        f"""async () => {{
          const {{ decodeHalf }} = {module("maths")};
          const bits = Uint16Array.from({{ length: 65536 }}, (_, i) => i);
          return Array.from(decodeHalf(bits.buffer, 0, 65536), String);
        }}"""
    )
    np.testing.assert_array_equal(np.array(decoded, np.float32), bits.view(np.float16))


def test_the_browser_has_the_same_scale_as_python(opened):
    largest = [0, 1, 1.999, 2.0005, 2.01, 3, 7.9, 8.1, 9.99, 10.005, 10.02, 14, 99, 151, 4096]
    tops = opened.page.evaluate(
        f"""async (largest) => {{
          const {{ scaleTop }} = {module("maths")};
          return [scaleTop([]), ...largest.map((value) => scaleTop([[1.5], [value, 0]]))];
        }}""",
        largest,
    )
    assert tops == [2, *(scale_top([np.full(1, 1.5), np.array([value, 0])]) for value in largest)]


def test_half_of_the_attention_and_regions(opened):
    counts, shares = opened.page.evaluate(
        f"""async () => {{
          const {{ cellsForHalf }} = {module("maths")};
          const {{ regionShares }} = {module("words")};
          const corner = [0, 0, 0, 0, 0, 0, 0.25, 0, 0.75];
          return [[cellsForHalf([0.25, 0.25, 0.25, 0.25]), cellsForHalf([0.1, 0.8, 0.1])],
            regionShares(corner, {{ height: 3, width: 3 }}).slice(0, 2)];
        }}"""
    )
    assert counts == [2, 1]
    assert shares == [
        {"name": "bottom right", "share": 0.75},
        {"name": "bottom left", "share": 0.25},
    ]


ASKED = [
    {},
    {"direction": "to"},
    {"baseline": "average"},
    {"measure": "value"},
    {"temperature": 2.5, "baseline": "average"},
    {"temperature": 0.5, "direction": "to", "measure": "value"},
    {"direction": "to", "baseline": "average"},
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: ", ".join(map(str, asked.values())))
@pytest.mark.parametrize("name", ["planted", *(name for name in KINDS if name != "large")])
def test_the_browsers_maps_are_pythons(fresh, sample, name, asked):
    """Every map, from a point and to it, plain and changed, with and without blocked keys."""
    field, look = sample.fields[name], Look(**asked)
    grid = field.query_grid
    step = max(1, grid.height // 6)
    cells = list(itertools.product(range(0, grid.height, step), range(0, grid.width, step)))
    for without in ((), (0, 3)):
        ask = {**LOOK, **asked, "without": list(without)}
        maps = fresh.page.evaluate(
            f"""async ([name, ask, cells]) => {{
              const {{ pointMap, middleOf }} = {module("maths")};
              const layer = {EXPLORER}.panes[0].layerNamed(name);
              return cells.map(([row, col]) =>
                Array.from(pointMap(layer, middleOf({{ row, col }}, layer.queryGrid), ask).map));
            }}""",
            [name, ask, cells],
        )
        exact = np.stack([map_of(field, cell, look, without).ravel() for cell in cells])
        # Rows from 16-bit floats are right to a hundredth of the largest.
        assert np.abs(np.array(maps) - exact).max() < 0.02 * exact.max()


# What is painted

PIXELS = """(selector) => {
  const canvas = document.querySelector(selector);
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return [height, width, Array.from(data)];
}"""


def pixels(opened, selector: str) -> np.ndarray:
    """(height, width, 3) of a canvas."""
    height, width, data = opened.page.evaluate(PIXELS, selector)
    return np.array(data, np.uint8).reshape(height, width, 4)[:, :, :3]


def test_the_image_is_painted_as_it_is(opened, sample):
    assert (pixels(opened, ".picture > .image") == sample.image).all()


def test_hovering_paints_the_planted_row(fresh):
    """Row (2, 3) looks at key cell (1, 1) of 2x3: at 6x uniform, with the scale's end at 6."""
    fresh.hover(3.5 / 6, 2.5 / 4)
    assert fresh.preview() == {"row": 2, "col": 3}
    expected = np.broadcast_to(colour_table()[0], (2, 3, 3)).copy()
    expected[1, 1] = colour_table()[255]
    assert (pixels(fresh, ".picture > .map") == expected).all()
    readout = fresh.page.locator(".readout").inner_text()
    assert "Row 2, column 3" in readout
    assert "1 of 6 cells" in readout
    assert "6× uniform" in readout


def test_a_uniform_row_is_one_flat_colour(fresh):
    fresh.set(layer="flat")
    fresh.hover(0.3, 0.3)
    fresh.frame()
    middle = colour_table()[128]  # 1x on the least scale, from 0 to 2x
    assert (pixels(fresh, ".picture > .map") == middle).all()
    assert (pixels(fresh, ".groups .panel:nth-child(2) .map") == middle).all()
    assert "alike" in fresh.page.locator(".readout").inner_text()


def test_panels_share_one_scale(fresh, sample):
    fresh.set(layer="pooled")
    maps = [64 * sample.fields["pooled"].attended_by(*pin)[0].numpy() for pin in fresh.pins()]
    top = scale_top(maps)
    for number, values in enumerate(maps, 1):
        index = np.rint(255 * np.clip(values / top, 0, 1)).astype(int)
        painted = pixels(fresh, f".groups .panel:nth-child({number}) .map").astype(int)
        # Rows from 16-bit floats may fall on the next of 256 colours.
        near = [np.abs(painted - colour_table()[np.clip(index + k, 0, 255)]) for k in (-1, 0, 1)]
        assert (np.minimum.reduce([part.sum(-1) for part in near]) == 0).all()
        numbers = (
            fresh.page.locator(f".groups .panel:nth-child({number}) .bar").inner_text().split()
        )
        assert numbers[-2:] == ["1×", f"{'≥' if values.max() > 1.001 * top else ''}{top:g}×"]


def test_the_screen_shows_image_and_map_mixed_by_opacity(fresh, sample):
    """Read from a screenshot: every key region's colour over the image's own pixels."""
    fresh.set(layer="coarse queries", opacity=0.4)
    fresh.hover(0.02, 0.98)
    fresh.frame()
    shown = fresh.page.locator(".picture").screenshot()
    screen = np.array(Image.open(io.BytesIO(shown)).convert("RGB")).astype(float)
    maps = pixels(fresh, ".picture > .map")  # (8, 12, 3)
    height, width = sample.image.shape[:2]
    misses = 0
    for row, col in itertools.product(range(height), range(width)):
        key = maps[row * 8 // height, int((col + 0.5) * 12 / width)]
        y, x = ((at + 0.5) / size for at, size in ((row, height), (col, width)))
        seen = screen[int(y * len(screen)), int(x * screen.shape[1])]
        expected = 0.6 * sample.image[row, col] + 0.4 * key.astype(float)
        misses += bool(np.abs(seen - expected).max() > 3)
    assert misses < 0.12 * height * width  # two pins and the outlined cell lie over the rest


def test_a_key_cell_covers_its_region_and_the_query_its_own(fresh):
    fresh.hover(3.5 / 6, 2.5 / 4)
    fresh.frame()
    box = """(selector) => {
      const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
      return [x, y, width, height];
    }"""
    picture = np.array(fresh.page.evaluate(box, ".picture"))
    assert fresh.page.evaluate(box, ".picture > .map") == picture.tolist()
    x, y, width, height = fresh.page.evaluate(box, ".picture > .cell")
    expected = [3 / 6 * picture[2], 2 / 4 * picture[3], picture[2] / 6, picture[3] / 4]
    np.testing.assert_allclose([x - picture[0], y - picture[1], width, height], expected, atol=0.1)


@pytest.mark.parametrize("ratio", [1, 2.5])
@pytest.mark.parametrize("width", [390, 1100, 2560])
def test_pixel_to_cell_at_every_corner(chromium, address, width, ratio):
    with visit(chromium, address, width, 900, ratio) as opened:
        opened.set(layer="oblong")  # 6x10
        box = opened.page.locator(".picture").bounding_box()
        right, bottom = 1 - 0.6 / box["width"], 1 - 0.6 / box["height"]
        left, top = 0.6 / box["width"], 0.6 / box["height"]
        for x, y, cell in (
            (left, top, {"row": 0, "col": 0}),
            (right, top, {"row": 0, "col": 9}),
            (left, bottom, {"row": 5, "col": 0}),
            (right, bottom, {"row": 5, "col": 9}),
            (0.5 - left, 0.5 - top, {"row": 2, "col": 4}),
            (0.5 + left, 0.5 + top, {"row": 3, "col": 5}),
        ):
            opened.hover(x, y)
            assert opened.preview() == cell, (x, y)
        assert opened.complaints == []


# Pins


def test_click_pins_and_clicking_a_pin_again_does_not(fresh):
    fresh.click(2.5 / 6, 1.2 / 4)
    assert fresh.pins() == [[0, 0], [3, 5], [1, 2]]
    assert fresh.page.locator(".groups .panel").count() == 3
    colours = fresh.page.locator(".marker").evaluate_all(
        "(markers) => markers.map(({ style }) => style.getPropertyValue('--pin'))"
    )
    assert tuple(colours) == PIN_COLOURS[:3]
    fresh.click(2.5 / 6, 1.5 / 4)
    fresh.click(2.05 / 6, 1.05 / 4)
    assert len(fresh.pins()) == 3


def test_eight_pins_and_no_more(fresh):
    for col in range(6):
        fresh.click((col + 0.5) / 6, 1.5 / 4)
    assert len(fresh.pins()) == 8
    fresh.click(0.5 / 6, 3.5 / 4)
    assert len(fresh.pins()) == 8
    assert "8 pins already" in fresh.page.locator(".message").inner_text()


def test_dragging_moves_a_pin_and_escape_puts_it_back(fresh):
    mouse = fresh.page.mouse
    fresh.hover(0.5 / 6, 0.5 / 4)
    mouse.down()
    mouse.move(*fresh.at(2.5 / 6, 2.5 / 4), steps=4)
    assert fresh.pins()[0] == [2, 2]
    mouse.up()
    assert fresh.pins() == [[2, 2], [3, 5]]
    mouse.down()
    mouse.move(*fresh.at(5.5 / 6, 0.5 / 4), steps=4)
    assert fresh.pins()[0] == [0, 5]
    fresh.page.keyboard.press("Escape")
    mouse.up()
    assert fresh.pins() == [[2, 2], [3, 5]]


def test_dragging_out_of_the_image_stops_at_its_rim(fresh):
    fresh.hover(0.5 / 6, 0.5 / 4)
    fresh.page.mouse.down()
    fresh.page.mouse.move(*fresh.at(1.5, 0.5), steps=4)
    fresh.page.mouse.up()
    assert fresh.pins()[0] == [2, 5]


def test_pins_by_keyboard(fresh):
    press = fresh.page.keyboard.press
    fresh.page.locator(".picture").focus()
    press("Tab")
    for key in ("ArrowDown", "ArrowRight", "ArrowUp", "ArrowUp"):
        press(key)
    assert fresh.pins() == [[0, 1], [3, 5]]
    press("Shift+ArrowRight")
    assert fresh.pins() == [[0, 5], [3, 5]]
    fresh.page.wait_for_function(
        "document.querySelector('.spoken').textContent.startsWith('Pin 1, red, row 0, column 5')"
    )
    press("Tab")
    press("Delete")
    assert fresh.pins() == [[0, 5]]
    press("Backspace")
    assert fresh.pins() == []
    assert fresh.page.evaluate("document.activeElement.className") == "picture"
    press("ArrowLeft")
    press("ArrowLeft")
    assert fresh.preview() == {"row": 2, "col": 2}
    press("Enter")
    assert fresh.pins() == [[2, 2]]
    press("Escape")
    assert fresh.preview() is None


def test_removing_and_clearing(fresh):
    fresh.page.get_by_role("button", name="Remove pin 1").click()
    assert fresh.pins() == [[3, 5]]
    assert fresh.page.locator(".marker").inner_text() == "1"
    fresh.page.get_by_role("button", name="Clear all").click()
    assert fresh.pins() == []
    assert fresh.page.locator(".empty").is_visible()


def test_pins_stay_in_place_across_grids(fresh):
    for layer, pins in (
        ("pooled", [[2, 1], [14, 14]]),
        ("oblong", [[0, 0], [5, 9]]),
        ("planted", [[0, 0], [3, 5]]),
    ):
        fresh.set(layer=layer)
        assert fresh.pins() == pins


def test_a_finger_pins_and_can_scroll_past_the_image(chromium, address):
    touch = {"has_touch": True, "is_mobile": True}
    with visit(chromium, address, 390, 600, 2, **touch) as opened:
        assert "Tap" in opened.page.locator(".readout").inner_text()
        opened.page.touchscreen.tap(*opened.at(2.5 / 6, 1.5 / 4))
        assert opened.pins() == [[0, 0], [3, 5], [1, 2]]
        opened.page.get_by_text("Pin 3, blue, row 1, column 2: looks most at").first.wait_for()
        actions = "(s) => getComputedStyle(document.querySelector(s)).touchAction"
        assert opened.page.evaluate(actions, ".picture") == "manipulation"
        assert opened.page.evaluate(actions, ".marker") == "none"
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_hovering_is_quick_on_64_by_64_queries(fresh):
    """A frame is 16 ms. Half of it is the aim; a busy machine may take the whole."""
    times = fresh.page.evaluate(
        f"""async () => {{
          const explorer = {EXPLORER};
          explorer.set({{ layer: "large" }});
          const times = [];
          for (let i = 0; i < 200; i++) {{
            const start = performance.now();
            explorer.pointer = {{ x: ((i * 13) % 64) / 64, y: ((i * 7) % 64) / 64 }};
            explorer.paintPointer();
            times.push(performance.now() - start);
            if (i % 20 === 0) await new Promise(requestAnimationFrame);
          }}
          return times.sort((a, b) => a - b);
        }}"""
    )
    print(f"hover: median {times[100]:.2f} ms, 95th percentile {times[190]:.2f} ms")
    assert times[190] < 16


def test_the_page_did_not_complain(opened):
    assert opened.complaints == []
