"""The page for everybody: axe-core's rules, a phone's width, 200 % zoom, colours and motion."""

from __future__ import annotations

import importlib.resources

import pytest
from browser import EXPLORER, visit, with_query

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own
EVERYTHING = "seed=3&class=0&other=1&other.seed=8&arrows=1&without=blocks.1.attention~1-9"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_with_everything_unfolded(chromium, page, scheme):
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    address = with_query(page.address, EVERYTHING)
    with visit(chromium, address, color_scheme=scheme) as opened:
        opened.page.wait_for_selector(".lens[data-panes='2']")
        opened.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        opened.page.wait_for_selector(".curves .plot-container", timeout=30_000)
        opened.page.evaluate(axe)
        found = opened.page.evaluate("axe.run(document)")
        assert len(found["passes"]) > 20, "the rules ran"
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []


@pytest.mark.parametrize(("width", "ratio"), [(390, 3), (640, 2), (1280, 1), (2560, 1)])
def test_nothing_is_wider_than_the_window(chromium, page, width, ratio):
    """640 CSS pixels at ratio 2 is a window of 1280 zoomed to 200 %."""
    with visit(chromium, with_query(page.address, EVERYTHING), width, 800, ratio) as opened:
        opened.page.wait_for_selector(".lens[data-panes='2']")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        picture = opened.page.locator(".picture").first.bounding_box()
        assert picture
        assert picture["width"] == pytest.approx(picture["height"], abs=1)
        assert opened.complaints == []


def test_the_whole_way_by_keyboard_alone(chromium, page):
    with visit(chromium, with_query(page.address, "seed=3&class=0&pins=")) as opened:
        press = opened.page.keyboard.press
        for _ in range(40):
            press("Tab")
            if opened.page.evaluate("document.activeElement.className") == "picture":
                break
        press("ArrowRight")
        press("Shift+ArrowDown")
        press("Enter")
        assert opened.pins() == [[12, 8]]
        press("Tab")
        press("ArrowLeft")
        assert opened.pins() == [[12, 7]]
        press("Control+z")
        opened.settle()
        assert opened.pins() == [[12, 8]]
        opened.page.get_by_label("Layer", exact=True).first.focus()
        press("ArrowUp")
        opened.settle()
        assert opened.page.evaluate(f"{EXPLORER}.panes[0].layer.name") == "blocks.0.attention"
        assert opened.complaints == []


def test_reduced_motion_is_respected(chromium, page):
    with visit(chromium, page.address, reduced_motion="reduce") as opened:
        moving = opened.page.evaluate(
            """[...document.querySelectorAll(".lens *")].filter((element) =>
              parseFloat(getComputedStyle(element).transitionDuration) > 0).length"""
        )
        assert moving == 0
