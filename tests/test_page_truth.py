"""Is it true? On the page: asked for, painted as sent, beside its controls, never stale."""

from __future__ import annotations

import importlib.resources

import numpy as np
import pytest
from browser import EXPLORER, visit, with_query
from served import ask, served
from telling import LAYER, telling_checkpoint

from viz.colour import COLOUR_MAPS, colour_table, scale_top

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own
START = "seed=3&class=0&pins=4.5,9.9"
PART = "[data-part=truth]"
NAMES = ("attention", "value-weighted", "gradient", "knock-out")


@pytest.fixture(scope="module")
def page():
    with served(telling_checkpoint()) as page:
        yield page


def unfold(opened) -> None:
    opened.page.locator(f"{PART} > summary").click()


def run_test(opened) -> None:
    opened.page.get_by_role("button", name="Test this map").click()
    opened.page.wait_for_selector(f"{PART} .finding .deletion .plot-container", timeout=30_000)


def finding(opened, control="none"):
    return opened.page.locator(f"{PART} .finding[data-control={control}]")


def painted(opened, panel: int) -> np.ndarray:
    """(H', W', 3) of a panel's map of the first finding."""
    height, width, data = opened.page.evaluate(
        """(at) => {
          const canvas = document.querySelectorAll(".finding .panel canvas.map")[at];
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          return [height, width, Array.from(data)];
        }""",
        panel,
    )
    return np.array(data, np.uint8).reshape(height, width, 4)[:, :, :3]


@pytest.fixture
def opened(chromium, page):
    with visit(chromium, with_query(page.address, START), 1360, 1000) as opened:
        yield opened
        assert opened.complaints == []


def test_a_test_is_asked_for_and_its_maps_are_painted_as_sent(opened, page):
    assert len([one for one in opened.requests if "component_server" in one]) == 1, "the image"
    assert not [one for one in opened.requests if "plotly" in one]
    unfold(opened)
    assert finding(opened).count() == 0
    run_test(opened)
    sent = ask(page, "evidence", {"state": opened.state(), "pin": 0})
    shown = finding(opened).inner_text()
    verdict = sent["verdict"]
    assert verdict["words"].lower() in shown.lower()
    assert f"{verdict['over_random']:.1f} times as much as hiding random places" in shown
    assert f"{verdict['draws_as_good']} of 20" in shown
    top = scale_top(sent["maps"][name] for name in NAMES)
    for at, name in enumerate(NAMES):
        places = np.round(255 * np.clip(np.array(sent["maps"][name]) / top, 0, 1))
        expected = colour_table(COLOUR_MAPS[0])[places.astype(int)].reshape(8, 8, 3)
        difference = np.abs(painted(opened, at).astype(int) - expected)
        assert difference.max() <= 6, name  # one step of the scale
        assert (difference == 0).mean() > 0.95
    table = finding(opened).locator("tbody tr").all_inner_texts()
    numbers = {(one, other): value for one, other, value in sent["correlations"]}
    assert f"{numbers['attention', 'knock-out']:.2f}".replace("-", "−") in table[2]
    curves = opened.page.evaluate(
        "document.querySelector('.deletion').data.filter((trace) => trace.name).map(({ y }) => y)"
    )
    assert curves == [sent["curve"][name] for name in ("random", "nearest", "top")]


def test_controls_stand_beside_the_test_and_results_are_never_stale(opened, page):
    unfold(opened)
    run_test(opened)
    shuffle = opened.page.get_by_role("button", name="The same with another point's query")
    shuffle.click()
    finding(opened, "shuffled").locator(".plot-container").wait_for()
    request = {"state": opened.state(), "pin": 0, "control": "shuffled"}
    row, col = ask(page, "evidence", request)["shuffled_from"]
    assert f"row {row}, column {col}" in finding(opened, "shuffled").inner_text()
    assert shuffle.get_attribute("aria-pressed") == "true"
    shuffle.click()
    assert finding(opened, "shuffled").count() == 0
    opened.page.get_by_role("button", name="The same with random weights").click()
    finding(opened, "random").locator(".plot-container").wait_for()
    former = opened.page.locator(f"{PART} .former")
    assert former.is_hidden()
    opened.page.evaluate(f"{EXPLORER}.choose(1)")
    assert "Pin 1, " in former.inner_text()
    assert shuffle.is_disabled()
    opened.page.evaluate(f"{EXPLORER}.choose(0)")
    assert former.is_hidden()
    opened.set(temperature=2)  # a what-if on the drawing, not on the network
    assert former.is_hidden()
    opened.page.evaluate(f"{EXPLORER}.set('source.gamma/{LAYER}', 0)")
    opened.settle()
    assert "row 4, column 5" in former.inner_text()
    opened.page.get_by_role("button", name="Test this map").click()
    former.wait_for(state="hidden")
    assert "hardly matters" in finding(opened).inner_text()


def test_a_place_is_lit_in_all_maps_and_in_the_image_by_pointer_and_keys(opened):
    unfold(opened)
    run_test(opened)
    thumbnails = finding(opened).locator(".thumbnail")

    def lit():
        return opened.page.evaluate(
            """[...document.querySelectorAll(":is(.finding, .picture) .lit:not([hidden])")]
               .map(({ style }) => [style.top, style.left])"""
        )

    assert lit() == []
    thumbnails.nth(2).scroll_into_view_if_needed()
    box = thumbnails.nth(2).bounding_box()
    assert box
    opened.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
    assert lit() == [["25%", "62.5%"]] * 5
    assert "Row 2, column 5" in finding(opened).locator(".reading").inner_text()
    opened.page.mouse.move(5, 5)
    assert lit() == []
    thumbnails.nth(0).focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        opened.page.keyboard.press(key)
    assert lit() == [["12.5%", "12.5%"]] * 5


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing_and_nothing_is_too_wide(chromium, page, scheme, width):
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    address = with_query(page.address, START)
    with visit(chromium, address, width, 900, color_scheme=scheme) as opened:
        unfold(opened)
        run_test(opened)
        opened.page.get_by_role("button", name="The same with random weights").click()
        finding(opened, "random").locator(".plot-container").wait_for()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        opened.page.evaluate(axe)
        found = opened.page.evaluate(f"axe.run('{PART}')")
        assert len(found["passes"]) > 10, "the rules ran"
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
