"""Step by step, at its edges: odd grids, nothing left to look at, infinity; and on the page."""

from __future__ import annotations

import base64
import importlib.resources
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import EXPLORER, visit, with_query
from served import CONFIG, FIRST, LAST, with_gamma

from sagan_core import Checkpoint, Discriminator, Generator, SelfAttention
from sagan_core.attention import attention_layers, record_attention
from sagan_core.steps import steps_at
from viz.source import Source
from viz.studio import Studio

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own

OF_D = "discriminator.blocks.0.attention"
KINDS = {
    "pooled": {},
    "centred": {"centre_queries": True, "query_scale": 3.0, "pool_keys": False},
    "knocked out": {},
}


@pytest.fixture(scope="module", params=KINDS)
def asked(request):
    """A page on a small model of each kind, and the source that is asked about."""
    torch.manual_seed(3)
    config = replace(CONFIG, **KINDS[request.param])
    networks = with_gamma(Generator(config), 0.8), with_gamma(Discriminator(config), -0.5)
    studio = Studio([Checkpoint(*networks, ("a", "b", "c"), {}, Path("small"))])
    source = {"seed": 5, "label": 2, "gamma": {LAST: 0.5}}
    if request.param == "knocked out":
        source["without"] = {LAST: [0, 7, 8], OF_D: [1]}
    return studio, source


def good(answer):
    assert "error" not in answer, answer
    json.dumps(answer, allow_nan=False)
    return answer


def unpacked(answer):
    return {
        name: np.frombuffer(base64.b64decode(part["data"]), "<f4").reshape(part["shape"])
        for name, part in answer["arrays"].items()
    }


def test_the_layer_returns_what_the_last_step_says(asked):
    """Run as the model runs it, with the source's gamma and without the keys that it leaves out."""
    studio, source = asked
    made = studio.made(studio.checked(Source.from_json(source)))
    for name in (FIRST, LAST, OF_D):
        answer = good(studio.steps({"source": source, "layer": name, "cell": [3, 4]}))
        shown, field = unpacked(answer), made.fields[name]
        y = (field.x + field.gamma * field.out)[0, :, 3, 4]
        np.testing.assert_allclose(shown["y"], y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(shown["key"], field.key[0].flatten(1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(shown["value"], field.value[0].flatten(1), rtol=1e-4, atol=1e-6)
        # The sum of values, shown before the output map, is the one that the fused kernel made.
        layer = studio.networks.pair("small", "trained").layers()[name]
        weight = layer.out.weight.detach().flatten(1).numpy()
        np.testing.assert_allclose(weight @ shown["mixed"], shown["out"], rtol=1e-3, atol=1e-5)
        assert (shown["weights"][answer["blocked"]] == 0).all()


def test_a_grid_of_odd_size_is_pooled_without_its_rim():
    torch.manual_seed(0)
    layer = SelfAttention(8, 2, 4).eval()
    with torch.no_grad(), record_attention(layer) as fields:
        layer(torch.randn(1, 8, 5, 7))
    steps = steps_at(layer, fields[""], 4, 6)
    assert steps.key_candidates.shape == (4, 2, 6)
    torch.testing.assert_close(steps.key_candidates.amax(0), steps.key)
    torch.testing.assert_close(steps.key, fields[""].key[0].flatten(1))
    with torch.no_grad():
        corner = layer.key(fields[""].x)[0, :, 3, 5]  # bottom right of the last key cell
    torch.testing.assert_close(steps.key_candidates[3, :, 5], corner)


def test_with_every_key_blocked_the_layer_returns_its_input(asked):
    studio, source = asked
    height, width = good(studio.steps({"source": {}, "layer": LAST, "cell": [0, 0]}))["key_grid"]
    blocked = {**source, "without": {LAST: list(range(height * width))}}
    answer = good(studio.steps({"source": blocked, "layer": LAST, "cell": [1, 1]}))
    shown = unpacked(answer)
    assert (shown["weights"] == 0).all()
    assert (shown["y"] == shown["x"]).all()


def test_numbers_that_are_not_finite_are_an_answer_in_words(asked):
    """A checkpoint that diverged is asked about as any other; JSON has no word for infinity."""
    studio, _ = asked
    layer = attention_layers(studio.networks.pair("small", "trained").generator)[FIRST]
    gamma = layer.gamma.item()
    with torch.no_grad():
        layer.gamma.fill_(float("inf"))
    try:
        answer = studio.steps({"source": {"seed": 77}, "layer": FIRST, "cell": [0, 0]})
    finally:
        with torch.no_grad():
            layer.gamma.fill_(gamma)
        studio._made.forget(studio.checked(Source(seed=77)))
    assert set(answer) == {"error"}
    assert "not finite" in answer["error"]


# ---- On the page

PART = "[data-part=making]"


@pytest.fixture(scope="module")
def unfolded(chromium, page):
    address = with_query(page.address, "seed=3&class=0&pins=5.6,9.2")
    with visit(chromium, address) as opened:
        opened.page.locator(f"{PART} > summary").click()
        opened.page.wait_for_selector(f"{PART} .strip")
        yield opened


def test_what_the_page_shows_is_what_the_server_says(unfolded):
    part = unfolded.page.locator(PART)
    state = unfolded.state()
    answer = unfolded.page.evaluate(
        f"(request) => {EXPLORER}.loader.ask('steps', request)",
        {"source": state["source"], "layer": state["layer"], "cell": state["pins"][0]},
    )
    numbers = unpacked(answer)
    strip = part.locator("li[data-step=query] [role=slider]").last
    strip.focus()
    for press, at in (("Home", 0), ("ArrowRight", 1), ("End", len(numbers["query"]) - 1)):
        unfolded.page.keyboard.press(press)
        said = strip.get_attribute("aria-valuetext").replace("\u2212", "-")
        assert float(said.split(":")[1]) == pytest.approx(numbers["query"][at], rel=1e-3)
    weights = numbers["weights"]
    best = int(weights.argmax())
    assert int(part.get_attribute("data-key")) == best
    rows = part.locator(".bycalculator tbody tr")
    cells = rows.first.locator("td").all_inner_texts()
    row, col = divmod(best, answer["key_grid"][1])
    assert f"({row}, {col})" in cells[0]
    assert float(cells[-1].replace("\u2212", "-")) == pytest.approx(weights[best], rel=1e-3)


def test_the_table_adds_up(unfolded):
    """What is listed, and what the others come to, is what the softmax divides by."""
    rows = unfolded.page.locator(f"{PART} .bycalculator tbody tr")
    table = [rows.nth(at).locator("td").all_inner_texts() for at in range(rows.count())]
    powers, shares = ([float(row[at]) for row in table] for at in (3, 4))
    assert table[-1][0] == "all 64"
    assert table[-2][0] == f"the other {64 - len(table) + 2}"
    assert sum(powers[:-1]) == pytest.approx(powers[-1], rel=1e-3)
    assert sum(shares[:-1]) == pytest.approx(1, rel=1e-3)
    for power, share in zip(powers, shares, strict=True):
        assert power / powers[-1] == pytest.approx(share, rel=1.5e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_it(unfolded, scheme):
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    unfolded.page.emulate_media(color_scheme=scheme)
    unfolded.page.evaluate(axe)
    found = unfolded.page.evaluate(f"axe.run('{PART}')")
    assert len(found["passes"]) > 5, "the rules ran"
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []


def test_a_key_that_is_pointed_at_is_lit_in_every_step(unfolded):
    part, keyboard = unfolded.page.locator(PART), unfolded.page.keyboard
    places = part.locator(".keys").first
    places.focus()
    before = int(part.get_attribute("data-key"))
    step, key = ("ArrowRight", before + 1) if (before + 1) % 8 else ("ArrowLeft", before - 1)
    keyboard.press(step)
    assert int(part.get_attribute("data-key")) == key
    places = part.locator(".keys .lit").evaluate_all("(all) => all.map((one) => one.style.cssText)")
    assert len(places) >= 3
    assert len(set(places)) == 1
    row, col = divmod(key, 8)
    assert f"row {row}, column {col}" in part.locator(".share").inner_text().lower()
    assert f"({row}, {col})" in part.locator(".bycalculator .chosen td").first.inner_text()
    assert unfolded.complaints == []


def test_nothing_is_asked_before_it_is_unfolded_and_it_follows_the_pin(chromium, page):
    address = with_query(page.address, "seed=3&class=0&pins=5.6,9.2")
    with visit(chromium, address, width=390) as opened:
        opened.page.evaluate(
            f"""() => {{
              const {{ loader }} = {EXPLORER}, ask = loader.ask.bind(loader);
              window.asked = [];
              loader.ask = (name, argument) => {{
                window.asked.push([name, argument.cell]);
                return ask(name, argument);
              }};
            }}"""
        )
        opened.page.locator(".marker").nth(1).focus()
        assert opened.page.evaluate("window.asked") == []
        opened.page.locator(f"{PART} > summary").click()
        opened.page.wait_for_selector(f"{PART} .strip")
        opened.page.locator(".marker").nth(0).focus()
        opened.page.wait_for_function("window.asked.length === 2")
        assert opened.page.evaluate("window.asked") == [["steps", [9, 2]], ["steps", [5, 6]]]
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
