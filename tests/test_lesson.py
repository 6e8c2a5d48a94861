"""The lesson in a browser: by keyboard, in both languages, and with numbers that are true."""

from __future__ import annotations

import importlib.resources
import re

import numpy as np
import pytest
import torch
from browser import visit, with_query
from playwright.sync_api import expect
from served import FIRST, LAST, ask

from sagan_core import generate, record_attention
from sagan_core.sample import latents
from viz.language import EXPLORER as FOLDER
from viz.language import exported

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own

TEXT = exported(FOLDER / "lesson_steps.js")
STEPS, QUIZ = TEXT["steps"], TEXT["quiz"]
QUIZ_MINUTES = 4
KEPT = "lens-lesson"


def keyboard(opened, *keys: str) -> None:
    for key in keys:
        opened.page.keyboard.press(key)


def tab_to(opened, selector: str, key: str = "Tab") -> None:
    """Press Tab until an element has the focus, as somebody without a mouse does."""
    for _ in range(80):
        keyboard(opened, key)
        if opened.page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def answer(opened, right: int | None) -> None:
    """Choose and commit; the first choice has the focus first, the others follow with arrows."""
    tab_to(opened, ".predict input, .predict textarea")
    if right is None:
        opened.page.keyboard.type("Points of the rim look at the middle.")
    else:
        keyboard(opened, "Space", *["ArrowDown"] * right)
    tab_to(opened, ".commit")
    keyboard(opened, "Enter")


def go(opened, act: str) -> None:
    """To the place on the page where an act is done."""
    tab_to(opened, f"[data-act={act}] .there")
    keyboard(opened, "Enter")


def go_back(opened) -> None:
    """To the lesson, by its button, which stands after the controls."""
    if opened.page.locator(".lessonback").is_visible():
        tab_to(opened, ".lessonback")
        keyboard(opened, "Enter")
    else:
        tab_to(opened, ".step h3, .stepper a[aria-current]", "Shift+Tab")


def done(opened, act: str) -> None:
    opened.settle()
    expect(opened.page.locator(f"[data-act={act}]")).to_have_attribute("data-done", "true")


def onward(opened, number: int) -> None:
    reveal = opened.page.locator(".reveal")
    expect(reveal).to_be_visible()
    assert "{" not in opened.page.locator("[data-part=lesson]").inner_text()
    tab_to(opened, ".onward .next")
    keyboard(opened, "Enter")
    name = "quiz" if number == len(STEPS) else str(number + 1)
    opened.page.wait_for_url(re.compile(f"lesson={name}"))


def test_the_lesson_by_keyboard_alone(chromium, page):
    grant = {"permissions": ["clipboard-read", "clipboard-write"]}
    with visit(chromium, with_query(page.address, "lesson=1"), **grant) as opened:
        expect(opened.page.locator(".step h3")).to_contain_text(STEPS[0]["title"])
        opened.page.locator(".step h3").focus()
        answer(opened, 1)
        keyboard(opened, "Enter")  # the page is set
        opened.settle()
        assert len(opened.pins()) == 1
        go(opened, "far")
        keyboard(opened, "ArrowRight", *["Shift+ArrowLeft"] * 4, "Enter")
        keyboard(opened, *["Shift+ArrowRight"] * 4, "Enter")
        done(opened, "far")
        expect(opened.page.locator("figure.reach")).to_be_visible()
        go_back(opened)
        onward(opened, 1)

        answer(opened, 1)
        keyboard(opened, "Enter")
        opened.settle()
        assert opened.pins() == []
        go(opened, "three")
        for step in ("ArrowUp", "Shift+ArrowUp", "Shift+ArrowLeft"):
            keyboard(opened, step, "Enter")
        done(opened, "three")
        go_back(opened)
        onward(opened, 2)

        answer(opened, 2)
        keyboard(opened, "Enter")
        opened.settle()
        below, total = numbers_to_check(opened)
        tab_to(opened, ".softmax input", "Shift+Tab")
        opened.page.keyboard.type("99")
        keyboard(opened, "Enter")
        expect(opened.page.locator(".softmax .hint")).to_contain_text("Not yet")
        keyboard(opened, "Control+a")
        opened.page.keyboard.type(f"{100 * np.exp(below) / total:.3g}")
        keyboard(opened, "Enter")
        done(opened, "calculated")
        go(opened, "making")
        keyboard(opened, "Enter")
        done(opened, "making")
        tab_to(opened, ".onward .next", "Shift+Tab")
        keyboard(opened, "Shift+Tab")
        onward(opened, 3)

        answer(opened, 0)
        keyboard(opened, "Enter")
        opened.settle()
        go(opened, "sharp")
        tab_to(opened, "[data-bind=temperature]")
        keyboard(opened, "Home")
        done(opened, "sharp")
        keyboard(opened, "End")
        done(opened, "flat")
        go_back(opened)
        onward(opened, 4)

        answer(opened, 1)
        keyboard(opened, "Enter")
        opened.settle()
        go(opened, "zero")
        tab_to(opened, f"[data-bind='source.gamma/{LAST}']")
        keyboard(opened, *["ArrowLeft"] * 20)
        done(opened, "zero")
        go_back(opened)
        go(opened, "training")
        keyboard(opened, "Enter")
        done(opened, "training")
        tab_to(opened, ".onward .next", "Shift+Tab")
        keyboard(opened, "Shift+Tab")
        onward(opened, 5)

        answer(opened, 1)
        keyboard(opened, "Enter")
        opened.settle()
        go(opened, "tested")
        keyboard(opened, "Enter")
        expect(opened.page.locator("[data-act=tested]")).to_have_attribute("data-done", "false")
        tab_to(opened, ".test:enabled")
        keyboard(opened, "Enter")
        expect(opened.page.locator("[data-part=truth] .tested")).to_be_visible(timeout=30_000)
        done(opened, "tested")
        go_back(opened)
        onward(opened, 6)

        answer(opened, None)
        go(opened, "link")
        tab_to(opened, ".link")
        keyboard(opened, "Enter")
        done(opened, "link")
        go_back(opened)
        go(opened, "second")
        keyboard(opened, "Enter")
        opened.settle()
        tab_to(opened, ".link")
        keyboard(opened, "Enter")
        done(opened, "second")
        go_back(opened)
        onward(opened, 7)

        for asked in QUIZ:
            tab_to(opened, ".asked input")
            keyboard(opened, "Space", *["ArrowDown"] * asked["right"])
        tab_to(opened, ".checking")
        keyboard(opened, "Enter")
        expect(opened.page.locator(".score")).to_have_text("4 of 4 are right.")
        assert opened.page.locator(".stepper a[data-done=true]").count() == len(STEPS) + 1
        assert all(url.startswith((page.address, "data:", "blob:")) for url in opened.requests)
        assert opened.complaints == []


def numbers_to_check(opened) -> tuple[float, float]:
    """Of the table on the page: key B's number, and the sum."""
    table = opened.page.locator(".softmax td").all_inner_texts()
    total = opened.page.locator(".softmax .sum").inner_text().split()[-1]
    return float(table[7].replace("−", "-")), float(total)


def test_the_table_shows_the_layers_own_numbers(chromium, page, checkpoint):
    with visit(chromium, with_query(page.address, "lesson=3&seed=5&class=1&pins=3.4")) as opened:
        state, table = opened.state(), opened.page.locator(".softmax td").all_inner_texts()
        below, total = numbers_to_check(opened)
    sample = generate(checkpoint.generator, state["source"]["seed"], state["source"]["label"])
    row = sample.fields[LAST].attended_by(3, 4)[0].numpy()
    assert total == pytest.approx(1 / row.max(), rel=0.01)
    places = [tuple(map(int, re.findall(r"\d+", table[at]))) for at in (1, 6, 11)]
    assert row[places[0]] == row.max()
    assert row[places[1]] == pytest.approx(np.exp(below) / total, rel=0.03)
    assert table[8:10] == ["?", "?"]  # not before it is computed
    assert float(table[14].rstrip("%")) == pytest.approx(100 * row[places[2]], rel=0.02)


def test_in_korean_to_the_end(chromium, page):
    english = re.compile(r"[A-Za-z]{3,} [A-Za-z]{2,}")
    phone = {"width": 360, "height": 740, "has_touch": True, "is_mobile": True}
    with visit(chromium, with_query(page.address, "lang=ko&lesson=1"), **phone) as opened:
        at = opened.page
        for step in STEPS:
            if "right" in step:
                at.locator(".predict input").nth(step["right"]).check()
            else:
                at.locator(".predict textarea").fill("가장자리는 가운데를 봅니다.")
            at.locator(".commit").click()
            at.locator(".skip").click()
            expect(at.locator(".reveal")).to_be_visible()
            if step["name"] == "reach":
                expect(at.locator("figure.reach")).to_be_visible()
            said = at.locator("[data-part=lesson]").inner_text()
            assert not english.findall(re.sub(r"\([^()]*\)", "", said)), step["name"]
            assert "{" not in said
            width = at.evaluate("document.documentElement.scrollWidth")
            assert width == 360, step["name"]
            at.locator(".onward .next").click()
        for number in range(len(QUIZ)):
            at.locator(f"[name=quiz-{number}]").first.check()
        at.locator(".checking").click()
        right = sum(asked["right"] == 0 for asked in QUIZ)
        expect(at.locator(".score")).to_have_text(f"4문제 중 {right}문제를 맞혔습니다.")
        assert opened.complaints == []


def test_progress_is_kept_and_can_be_cleared(chromium, page):
    with visit(chromium, with_query(page.address, "lesson=2")) as opened:
        at = opened.page
        at.locator(".predict input").first.check()
        at.locator(".commit").click()
        at.locator(".skip").click()
        expect(at.locator(".verdict")).to_contain_text("Not so")
        at.locator(".onward .next").click()
        at.locator(".projector").click()
        at.reload()
        opened.ready()
        assert "lesson=3" in at.url  # the address is the step's
        expect(at.locator(".step h3")).to_contain_text(STEPS[2]["title"])
        expect(at.locator(".lens")).to_have_attribute("data-projector", "true")
        expect(at.locator(".stepper a").nth(1)).to_have_attribute("data-done", "true")
        size = "parseFloat(getComputedStyle(document.querySelector('.step')).fontSize)"
        assert at.evaluate(size) >= 22
        at.locator(".again").click()
        assert at.locator(".stepper a[data-done=true]").count() == 0
        at.locator("[data-part=lesson] > summary").click()
        expect(at.locator(".lens")).to_have_attribute("data-projector", "false")
        at.wait_for_function("!location.search.includes('lesson')")


@pytest.mark.parametrize("kept", ["not JSON", "[1]", '{"at": {}, "done": null, "answers": 3}'])
def test_what_was_kept_wrongly_is_no_obstacle(chromium, page, kept):
    with visit(chromium, page.address) as opened:
        opened.page.evaluate(f"(kept) => localStorage.setItem('{KEPT}', kept)", kept)
        opened.page.goto(with_query(page.address, "lesson=nine"))
        opened.ready()
        assert opened.page.locator("[data-part=lesson]").get_attribute("open") is None
        opened.page.locator("[data-part=lesson] > summary").click()
        expect(opened.page.locator(".step h3")).to_contain_text(STEPS[0]["title"])
        assert opened.complaints == []


def test_setting_the_page_is_one_step_back(chromium, page):
    with visit(chromium, with_query(page.address, "lesson=4&seed=7&pins=1.1")) as opened:
        before = opened.state()
        opened.page.locator(".predict input").first.check()
        opened.page.locator(".commit").click()
        opened.page.locator(".setup").click()
        opened.settle()
        assert opened.state()["source"]["seed"] != 7
        opened.page.locator(".undo").click()
        opened.settle()
        assert opened.state() == before


def test_axe_finds_nothing_in_large_type_and_dark(chromium, page):
    """Of an answered step and of the checked quiz; test_access.py has the rest of the page."""
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    with visit(chromium, with_query(page.address, "lesson=3"), color_scheme="dark") as opened:
        at = opened.page
        at.evaluate(axe)
        at.locator(".projector").click()
        at.locator(".predict input").first.check()
        at.locator(".commit").click()
        at.locator(".skip").click()
        expect(at.locator(".reveal")).to_be_visible()
        for answered in ("step", "quiz"):
            found = at.evaluate("axe.run(document.querySelector('[data-part=lesson]'))")
            assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
            if answered == "quiz":
                break
            at.locator(".stepper a").last.click()
            for number in range(len(QUIZ)):
                at.locator(f"[name=quiz-{number}]").first.check()
            at.locator(".checking").click()


# The text


def test_the_text_fits_the_page(chromium, page):
    """Every act has a condition, every place is there, and the time is 45 minutes."""
    assert sum(step["minutes"] for step in STEPS) + QUIZ_MINUTES == 45
    for asked in [*(step for step in STEPS if "choices" in step), *QUIZ]:
        assert 0 <= asked["right"] < len(asked["choices"])
    names = {act["name"] for step in STEPS for act in step["acts"]}
    with visit(chromium, page.address) as opened:
        acts, places = opened.page.evaluate(
            """async () => {
              const found = performance.getEntriesByType("resource");
              const module = found.find(({ name }) => name.endsWith("/lesson_acts.js")).name;
              const { ACTS, PLACES } = await import(module);
              return [Object.keys(ACTS), Object.values(PLACES)];
            }"""
        )
        assert set(acts) == names
        for place in set(places) - {"picture"}:
            assert opened.page.locator(f"[data-part={place}]").count() == 1


# How far convolution reaches


def cells_with_gradient(generator, layer: str) -> tuple[int, int, int, int]:
    """(top, left, rows, cols) of the attended cells that move the middle pixel, by autograd."""
    attend = dict(generator.named_modules())[layer].attend
    held = []

    def hold(_module, _inputs, attended):
        attended.requires_grad_(True)
        held.append(attended)
        return attended

    handle = attend.register_forward_hook(hold)
    label = torch.zeros(1, dtype=torch.long)
    image = generator(latents(generator, 0, 1), label)
    handle.remove()
    middle = image.shape[-1] // 2
    (gradient,) = torch.autograd.grad(image[0, :, middle, middle].sum(), held[0])
    rows, cols = np.nonzero(gradient[0].abs().sum(0).numpy())
    return rows.min(), cols.min(), np.ptp(rows) + 1, np.ptp(cols) + 1


@pytest.mark.parametrize("layer", [FIRST, LAST])
def test_the_counted_reach_is_that_of_the_gradient(page, checkpoint, layer):
    """Of the last layer a few cells; of the first all, since the last one attends to them again."""
    found = ask(page, "reach", {"checkpoint": checkpoint.name, "layer": layer})
    counted = tuple(found[name] for name in ("top", "left", "rows", "cols"))
    assert counted == cells_with_gradient(checkpoint.generator, layer)
    with record_attention(checkpoint.generator) as fields, torch.no_grad():
        checkpoint.generator(latents(checkpoint.generator, 0, 1), torch.zeros(1, dtype=torch.long))
    assert found["grid"] == list(fields[layer].query_grid)
    whole = found["rows"] * found["cols"] == found["grid"][0] * found["grid"][1]
    assert whole == (layer == FIRST)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (None, "expected an object"),
        ({"layer": "none"}, "no attention layer 'none'"),
        ({"layer": ["a"]}, "no attention layer"),
        ({"layer": f"discriminator.{LAST}"}, "no attention layer"),
        ({"checkpoint": "elsewhere", "layer": LAST}, "there is no checkpoint 'elsewhere'"),
    ],
)
def test_a_question_without_sense_is_an_error(page, request_, said):
    assert said in ask(page, "reach", request_)["error"]
