"""The page in one file: opened from the disk without a network, it shows the planted rows."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from browser import EXPLORER, visit
from planted import KINDS, planted_sample

import viz
from sagan_core import Checkpoint, Discriminator, Generator, SAGANConfig, save_checkpoint
from viz.colour import colour_table
from viz.maps import map_of
from viz.view import Look

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>${`--><!--"
PIXELS = """(selector) => {
  const canvas = document.querySelector(selector);
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return [height, width, Array.from(data)];
}"""


@pytest.fixture(scope="module")
def sample():
    return planted_sample()


@pytest.fixture(scope="module")
def file(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "a page & more.html"
    viz.explore(sample, "planted", [(0, 0), (3, 5)], title=HOSTILE).save(path)
    return path


@pytest.fixture
def opened(chromium, file):
    with visit(chromium, file.as_uri(), offline=True) as opened:
        yield opened
        assert opened.complaints == []
        others = [url for url in opened.requests if not url.startswith(("file:", "data:"))]
        assert others == []
        assert opened.page.evaluate("window.hacked") is None


def pixels(opened, selector: str) -> np.ndarray:
    height, width, data = opened.page.evaluate(PIXELS, selector)
    return np.array(data, np.uint8).reshape(height, width, 4)[:, :, :3]


def planted(row: int, col: int) -> np.ndarray:
    colours = np.broadcast_to(colour_table()[0], (2, 3, 3)).copy()
    colours[row // 2, col // 2] = colour_table()[255]
    return colours


def test_hovering_shows_the_planted_row_of_every_cell(opened):
    assert (pixels(opened, ".picture > .image") == planted_sample().image).all()
    for row, col in itertools.product(range(4), range(6)):
        opened.hover((col + 0.5) / 6, (row + 0.5) / 4)
        assert opened.preview() == {"row": row, "col": col}
        assert (pixels(opened, ".picture > .map") == planted(row, col)).all()


def test_pins_show_their_rows_and_can_be_set(opened):
    assert opened.pins() == [[0, 0], [3, 5]]
    opened.click(2.5 / 6, 1.5 / 4)
    assert opened.pins() == [[0, 0], [3, 5], [1, 2]]
    maps = opened.page.locator(".panel .map")
    assert maps.count() >= 3
    opened.page.keyboard.press("Control+z")
    assert opened.pins() == [[0, 0], [3, 5]]


@pytest.mark.parametrize("layer", [name for name in KINDS if name != "large"])
@pytest.mark.parametrize("look", [{}, {"direction": "to"}, {"baseline": "average"}])
def test_every_layer_is_there(opened, sample, layer, look):
    opened.set(layer=layer, **look)
    found = opened.page.evaluate(
        f"""async ([name, look]) => {{
          const {{ pointMap, middleOf }} = await import("lens/maths.js");
          const pane = {EXPLORER}.panes[0];
          const layer = pane.layerNamed(name);
          const middle = middleOf({{ row: 2, col: 3 }}, layer.queryGrid);
          return Array.from(pointMap(layer, middle, pane.askOf(layer)).map);
        }}""",
        [layer, look],
    )
    exact = map_of(sample.fields[layer], (2, 3), Look(**look)).ravel()
    assert np.abs(np.array(found) - exact).max() < 0.02 * exact.max()


def test_names_are_text_and_nothing_else(opened):
    assert opened.page.locator(".subject").inner_text() == HOSTILE
    assert opened.page.title() == HOSTILE


def test_what_needs_a_server_is_not_offered(opened):
    assert opened.page.locator(".lens").get_attribute("data-server") == "false"
    assert not opened.page.locator(".controls .server").locator("visible=true").count()
    assert opened.page.url.endswith(".html")  # and nothing is written into the address


def test_dark_and_light(chromium, file):
    grounds = {}
    for scheme in ("light", "dark"):
        with visit(chromium, file.as_uri(), offline=True, color_scheme=scheme) as opened:
            grounds[scheme] = opened.page.evaluate(
                "[getComputedStyle(document.body).backgroundColor, "
                "getComputedStyle(document.querySelector('.lens')).color]"
            )
    brightness = {
        scheme: [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
        for scheme, colours in grounds.items()
    }
    assert brightness["light"][0] > 700 > 200 > brightness["light"][1]
    assert brightness["dark"][0] < 200 < 700 < brightness["dark"][1]


def test_a_notebook_shows_it_in_a_frame(chromium, sample, tmp_path):
    shown = viz.explore(sample, pins=[(1, 1)], layer="planted", title=HOSTILE, height=700)
    cell = tmp_path / "cell.html"
    cell.write_text(f"<!DOCTYPE html><body>{shown._repr_html_()}</body>", encoding="utf-8")
    context = chromium.new_context(offline=True)
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(cell.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".lens[data-state=ready]").wait_for()
    assert frame.locator(".subject").inner_text() == HOSTILE
    box = frame.locator(".picture").bounding_box()
    page.mouse.move(box["x"] + 3.5 / 6 * box["width"], box["y"] + 2.5 / 4 * box["height"])
    assert "Row 2, column 3" in frame.locator(".readout").inner_text()
    assert complaints == []
    context.close()


def test_the_text_holds_one_script_of_ours_and_no_address_outside(file):
    text = file.read_text(encoding="utf-8")
    assert len(re.findall(r"<script\b", text)) == 3  # the map of modules, the value, the start
    outside = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert outside <= {"http://www.w3.org/2000/svg"}
    value = json.loads(re.search(r'id="value">(.*?)</script>', text).group(1))
    assert value["scene"]["title"] == HOSTILE


def test_a_checkpoint_shows_both_networks(tmp_path):
    names = {"attention": (8,), "discriminator_attention": (8,)}
    config = SAGANConfig(resolution=32, classes=2, latent_size=4, width=8, **names)
    generator, discriminator = Generator(config), Discriminator(config)
    save_checkpoint(tmp_path / "tiny", generator, discriminator, ("a", "b"))
    shown = viz.explore(tmp_path / "tiny", seed=4, label=1, baseline="average")
    value = json.loads(re.search(r'id="value">(.*?)</script>', shown.page).group(1))
    networks = [layer["network"] for layer in value["scene"]["layers"]]
    assert networks == ["generator", "discriminator"]
    assert value["state"]["baseline"] == "average"
    assert (value["state"]["source"]["seed"], value["state"]["source"]["label"]) == (4, 1)
    opened = Checkpoint(generator.eval(), discriminator.eval(), ("a", "b"), {}, tmp_path / "tiny")
    again = viz.explore(opened, seed=4, label=1, baseline="average")
    assert json.loads(re.search(r'id="value">(.*?)</script>', again.page).group(1)) == value


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"layer": "none"}, KeyError, "no attention layer 'none'"),
        ({"layer": "planted", "pins": [(4, 0)]}, IndexError, r"pin \(4, 0\) is outside"),
        ({"opacity": 2}, ValueError, "opacity is 2"),
        ({"opaque": 1}, TypeError, "no option 'opaque'"),
    ],
)
def test_wrong_arguments_are_named(sample, change, kind, said):
    with pytest.raises(kind, match=said):
        viz.explore(sample, **change)


def test_a_page_is_an_html_file(sample, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.html"):
        viz.explore(sample).save(tmp_path / "x.pdf")
    assert not list(tmp_path.iterdir())
