"""What a person changes and compares on the page, against torch; and what they keep."""

from __future__ import annotations

import io
import json
import re
import zipfile

import numpy as np
import pytest
import torch
from browser import EXPLORER, READY, shown, visit, with_query
from PIL import Image
from served import FIRST, LAST, SNAPSHOTS, ask

from sagan_core import edit_attention, generate
from sagan_core.attention import mask_keys
from sagan_core.intervene import Place, generate_between, scaled_gamma
from sagan_core.sample import judge

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own
START = "seed=3&class=0&pins=2.3,9.9,14.4"


@pytest.fixture
def opened(chromium, page):
    address = with_query(page.address, START)
    with visit(chromium, address, 1360, 1000, accept_downloads=True) as opened:
        yield opened
        assert opened.complaints == []


def grey(opened, pane: int = 0) -> np.ndarray:
    return shown(opened, pane)[:, :, 0]


def change(opened, path: str, value: object) -> None:
    opened.page.evaluate(f"([path, value]) => {EXPLORER}.set(path, value)", [path, value])
    opened.settle()


def torchs(checkpoint, seed: int = 3, label: int = 0) -> np.ndarray:
    return generate(checkpoint.generator, seed, label).image[:, :, 0]


def blocked_image(checkpoint, layer: str, cells: list[int], keys: int) -> np.ndarray:
    mask = torch.ones(keys)
    mask[cells] = 0
    with edit_attention(checkpoint.generator, layer, lambda weights: mask_keys(weights, mask)):
        return torchs(checkpoint)


# Gamma


def test_gamma_as_learnt_is_bit_equal_and_zero_takes_the_layer_out(opened, checkpoint):
    plain = grey(opened)
    assert (plain == torchs(checkpoint)).all()
    change(opened, f"source.gamma/{LAST}", 0)
    with scaled_gamma(checkpoint.generator, LAST, 0):
        out = torchs(checkpoint)
    assert (grey(opened) == out).all()
    assert (out != plain).any()
    difference = np.abs(out.astype(int) - plain)
    words = opened.page.locator(".amount").inner_text()
    assert f"{difference.mean():.1f} of 255 on average, {difference.max()} at most" in words
    change(opened, f"source.gamma/{LAST}", 1)
    assert (grey(opened) == plain).all()
    assert opened.page.locator(".changes").is_hidden()


def test_the_gamma_slider_and_its_reset(opened, checkpoint):
    opened.page.get_by_text("Change the layer").click()
    slider = opened.page.get_by_role("slider", name="Gamma, Generator 16×16")
    slider.fill("-1.5")
    opened.settle()
    assert opened.state()["source"]["gamma"] == {LAST: -1.5}
    with scaled_gamma(checkpoint.generator, LAST, -1.5):
        assert (grey(opened) == torchs(checkpoint)).all()
    opened.page.get_by_role("button", name="Reset: Gamma, Generator 16×16").click()
    opened.settle()
    assert (grey(opened) == torchs(checkpoint)).all()


# Blocked places


def test_painting_blocks_key_cells_and_the_image_is_torchs(opened, checkpoint):
    opened.page.get_by_text("Change the layer").click()
    opened.page.get_by_label("Block places").check()
    opened.page.locator(".picture").scroll_into_view_if_needed()
    opened.hover(0.5 / 8, 3.5 / 8)
    opened.page.mouse.down()
    opened.page.mouse.move(*opened.at(5.5 / 8, 3.5 / 8), steps=3)
    opened.page.mouse.up()
    opened.settle()
    cells = list(range(24, 30))
    assert opened.state()["source"]["without"] == {LAST: cells}
    assert (grey(opened) == blocked_image(checkpoint, LAST, cells, 64)).all()
    assert "6 of 64 places are blocked" in opened.page.locator(".blockedcount").inner_text()
    assert len(opened.pins()) == 3, "painting pins nothing"
    row = np.array(opened.page.evaluate(f"Array.from({EXPLORER}.rowAt(2, 3))"))
    weights = generate(checkpoint.generator, 3, 0).fields[LAST].weights[0, 2 * 16 + 3].numpy()
    weights[cells] = 0
    assert np.abs(row - weights / weights.sum()).max() < 0.01


def test_a_box_the_eraser_and_as_many_random_places_beside_it(opened, checkpoint):
    opened.page.get_by_text("Change the layer").click()
    opened.page.get_by_label("Block places").check()
    opened.page.locator(".picture").scroll_into_view_if_needed()
    opened.page.locator(".tools").get_by_label("box").check()
    opened.hover(4.5 / 8, 1.5 / 8)
    opened.page.mouse.down()
    opened.page.mouse.move(*opened.at(2.5 / 8, 3.5 / 8), steps=3)
    opened.page.mouse.up()
    opened.settle()
    box = [10, 11, 12, 18, 19, 20, 26, 27, 28]
    assert opened.state()["source"]["without"] == {LAST: box}
    opened.page.locator(".tools").get_by_label("erase").check()
    opened.click(3.5 / 8, 2.5 / 8)
    opened.settle()
    box.remove(19)
    assert opened.state()["source"]["without"] == {LAST: box}
    opened.page.get_by_role("button", name="Compare with random places").click()
    opened.page.wait_for_selector(".lens[data-panes='2']")
    drawn = opened.state()["other"]["without"][LAST]
    assert len(drawn) == len(box)
    assert (grey(opened, 0) == blocked_image(checkpoint, LAST, box, 64)).all()
    assert (grey(opened, 1) == blocked_image(checkpoint, LAST, drawn, 64)).all()
    opened.page.locator(".pane").first.get_by_text("Difference").wait_for()


# Two panes


def test_two_panes_have_the_same_pins_and_one_scale(opened, checkpoint):
    opened.page.get_by_text("Compare two").click()
    opened.page.get_by_role("button", name="Random weights").click()
    opened.page.wait_for_selector(".lens[data-panes='2']")
    assert opened.state()["other"]["weights"] == "random"
    assert (grey(opened, 0) == torchs(checkpoint)).all()
    assert (grey(opened, 1) != grey(opened, 0)).any()
    panes = opened.page.locator(".pane")
    for pane in (panes.nth(0), panes.nth(1)):
        assert pane.locator(".marker").count() == 3
        assert pane.locator(".groups .panel").count() == 3
    tops = opened.page.locator(".groups .tick.top").all_inner_texts()
    assert len({top.removeprefix("≥") for top in tops}) == 1
    panes.nth(1).locator(".picture").hover(position={"x": 90, "y": 80})
    opened.frame()
    assert opened.page.locator(".picture > .map:not([hidden])").count() == 2
    opened.page.get_by_role("button", name="Back to one").click()
    opened.page.wait_for_selector(".lens[data-panes='1']")


def test_two_seeds_through_a_link(chromium, page, checkpoint):
    query = f"{START}&other=1&other.seed=8&other.class=2&other.layer={FIRST}"
    with visit(chromium, with_query(page.address, query)) as opened:
        opened.page.wait_for_selector(".lens[data-panes='2']")
        assert (grey(opened, 0) == torchs(checkpoint)).all()
        assert (grey(opened, 1) == torchs(checkpoint, 8, 2)).all()
        grids = opened.page.evaluate(f"{EXPLORER}.panes.map(({{ layer }}) => layer.name)")
        assert grids == [LAST, FIRST]
        assert opened.complaints == []


def test_another_checkpoint_beside_it(opened):
    opened.page.get_by_text("Compare two").click()
    opened.page.get_by_role("button", name="Another checkpoint").click()
    opened.page.wait_for_selector(".lens[data-panes='2']")
    assert opened.state()["other"]["checkpoint"] == "colour"
    assert opened.page.locator(".pane").nth(1).locator(".origin").inner_text().startswith("colour")


# Layers, directions, paths


def test_all_layers_of_both_networks_under_the_same_pins(opened, checkpoint):
    opened.page.get_by_label("All layers").check()
    headings = opened.page.locator(".groups h3").all_inner_texts()
    assert headings == ["Generator 8×8", "Generator 16×16", "Discriminator 16×16"]
    assert opened.page.locator(".groups .panel").count() == 9
    opened.page.get_by_label("All layers").uncheck()
    change(opened, "layer", "discriminator.blocks.0.attention")
    image = generate(checkpoint.generator, 3, 0).image
    judgement = judge(checkpoint.discriminator, image, 0)
    row = np.array(opened.page.evaluate(f"Array.from({EXPLORER}.rowAt(4, 5))"))
    exact = judgement.fields["blocks.0.attention"].attended_by(4, 5)[0].flatten().numpy()
    assert np.abs(row - exact).max() < 0.01 * exact.max()
    assert f"{judgement.logit:.2f}" in opened.page.locator(".notes").first.inner_text()


def test_who_looked_at_this_point(opened, checkpoint):
    opened.page.get_by_label("who looked at this point").check()
    field = generate(checkpoint.generator, 3, 0).fields[LAST]
    for found in opened.page.evaluate(
        f"{EXPLORER}.panes[0].groups[0].found.map(({{ cell, map }}) => [cell, Array.from(map)])"
    ):
        cell, values = found
        exact = 64 * field.received_by(cell["row"], cell["col"])[0].flatten().numpy()
        assert np.abs(np.array(values) - exact).max() < 0.02 * exact.max()


def test_a_path_between_two_images_holds_the_pins(opened, checkpoint):
    opened.page.get_by_text("A path to another image").click()
    opened.page.get_by_label("To seed").fill("9")
    opened.page.get_by_label("To seed").press("Enter")
    opened.settle()
    change(opened, "source.toward", {"seed": 9, "label": 2})
    opened.page.get_by_role("slider", name="Along the path").fill("0.5")
    opened.settle()
    pins = opened.pins()
    half = generate_between(checkpoint.generator, Place(3, 0), Place(9, 2), 0.5)
    assert (grey(opened) == half.image[:, :, 0]).all()
    opened.page.get_by_role("slider", name="Along the path").fill("1")
    opened.settle()
    assert (grey(opened) == torchs(checkpoint, 9, 2)).all()
    assert opened.pins() == pins


# Undo


def test_undo_redo_and_reset(opened, checkpoint):
    first = opened.state()
    opened.click(0.5, 0.1)
    change(opened, "source.seed", 8)
    opened.page.get_by_label("the average point").check()
    seen = opened.state()
    press = opened.page.keyboard.press
    opened.page.locator(".picture").focus()
    for _ in range(3):
        press("Control+z")
        opened.settle()
    assert opened.state() == first
    assert (grey(opened) == torchs(checkpoint)).all()
    for _ in range(3):
        press("Control+Shift+Z")
        opened.settle()
    assert opened.state() == seen
    opened.page.get_by_role("button", name="Reset all").click()
    opened.settle()
    assert opened.state()["baseline"] == "uniform"
    press("Control+z")
    opened.settle()
    assert opened.state() == seen


def test_the_list_of_keys(opened):
    opened.page.locator(".picture").focus()
    opened.page.keyboard.press("?")
    assert opened.page.get_by_role("dialog", name="Keys").is_visible()
    opened.page.keyboard.press("Escape")
    assert opened.page.get_by_role("dialog", name="Keys").is_hidden()


# Over training


def test_scrubbing_over_training_asks_nobody_and_is_quick(opened, checkpoint):
    opened.page.get_by_text("Over training").click()
    opened.page.wait_for_selector(".curves .plot-container", timeout=30_000)
    opened.page.wait_for_function("!document.querySelector('.loading').textContent")
    before, pins = len(opened.requests), opened.pins()
    times = []
    for at, images in enumerate((*SNAPSHOTS, "trained")):
        milliseconds = opened.page.evaluate(
            f"""async (at) => {{
              const explorer = {EXPLORER};
              const slider = document.querySelector(".snapshot");
              const start = performance.now();
              slider.value = at;
              slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
              const stop = explorer.parts.find((part) => part.stops).stops[at];
              while (explorer.panes[0].scene.source.weights !== stop) {{
                await new Promise(requestAnimationFrame);
              }}
              return performance.now() - start;
            }}""",
            at,
        )
        times.append(milliseconds)
        assert opened.state()["source"]["weights"] == images
        assert opened.pins() == pins
        network = checkpoint.generator if images == "trained" else checkpoint.load_snapshot(images)
        assert (grey(opened) == generate(network, 3, 0).image[:, :, 0]).all()
        mark = opened.page.evaluate("document.querySelector('.curves').layout.shapes[0].x0")
        assert mark == (SNAPSHOTS[-1] if images == "trained" else images)
    print("scrubbing:", [f"{time:.0f} ms" for time in times])
    assert sorted(times)[1] < 100
    assert [request for request in opened.requests[before:] if "gradio_api" in request] == []


# Images from outside


def image_file(mode: str, size: tuple[int, int], kind: str, **options: object) -> dict:
    content = io.BytesIO()
    Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 20).convert(mode).save(
        content, kind, **options
    )
    return {"name": f"mine.{kind.lower()}", "mimeType": "image/x", "buffer": content.getvalue()}


def drop(opened, file: dict) -> str:
    opened.page.locator("[data-part=discriminator]").evaluate("(part) => { part.open = true }")
    opened.page.locator(".drop .image").set_input_files(file)
    opened.page.wait_for_function(
        "document.querySelector('.fitted').textContent"
        " || /read|pixels|MB/.test(document.querySelector('.message').textContent)"
    )
    opened.page.wait_for_timeout(300)
    return opened.page.locator(".message").inner_text()


@pytest.mark.parametrize(
    ("mode", "size", "kind"),
    [("CMYK", (90, 60), "JPEG"), ("RGBA", (40, 70), "PNG"), ("I;16", (50, 50), "PNG")],
)
def test_an_image_that_is_dropped_is_seen_by_the_discriminator(opened, mode, size, kind):
    file = image_file("L" if mode == "I;16" else mode, size, kind)
    assert drop(opened, file) == ""
    assert "32×32" in opened.page.locator(".fitted").inner_text()
    state = opened.state()
    assert state["source"]["image"].startswith("dropped-")
    assert state["layer"] == "discriminator.blocks.0.attention"
    assert len(state["pins"]) == 3


def test_a_broken_and_an_endless_image_are_refused_in_words(opened):
    before = grey(opened)
    broken = image_file("RGB", (64, 64), "PNG")
    broken["buffer"] = broken["buffer"][:200]
    assert "cannot be read" in drop(opened, broken)
    assert (grey(opened) == before).all()
    wide = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(wide, "PNG")
    words = drop(opened, {"name": "wide.png", "mimeType": "image/png", "buffer": wide.getvalue()})
    assert "pixels" in words
    assert (grey(opened) == before).all()


def test_a_real_image_that_ships_with_the_checkpoint(opened, tiny):
    change(opened, "source.image", "real-1")
    with np.load(tiny / "real.npz") as real:
        assert (grey(opened) == real["images"][1, :, :, 0]).all()
    assert "Real image" in opened.page.locator(".subject").inner_text()


# Keeping


def keep(opened, kind: str) -> bytes:
    with opened.page.expect_download() as download:
        opened.page.locator(f"[data-save={kind}]").click()
    name = download.value.suggested_filename
    assert name.endswith(f"seed-3.{kind}"), name
    with open(download.value.path(), "rb") as file:
        return file.read()


def test_what_is_kept_says_what_was_shown(opened, checkpoint):
    change(opened, f"source.without/{LAST}", [1, 2])
    opened.page.get_by_label("the average point").check()
    opened.settle()
    state = opened.state()
    recipe = json.loads(keep(opened, "json"))
    assert recipe["state"]["pins"] == state["pins"]
    assert recipe["state"]["source"]["without"] == {LAST: [1, 2]}
    with np.load(io.BytesIO(keep(opened, "npz")), allow_pickle=False) as data:
        assert data["pins"].tolist() == state["pins"]
        assert (data["image"][:, :, 0] == grey(opened)).all()
        field = generate(checkpoint.generator, 3, 0).fields[LAST]
        np.testing.assert_allclose(data[f"{LAST}/weights"], field.weights[0], atol=1e-6)
    assert keep(opened, "png").startswith(b"\x89PNG")
    assert keep(opened, "pdf").startswith(b"%PDF")
    svg = re.sub(r"<[^>]*>|\s+", " ", keep(opened, "svg").decode())
    assert "2 of 64 key cells knocked out" in re.sub(r"\s+", " ", svg)
    assert "seed 3" in svg


def test_the_kept_page_opens_from_the_disk_without_a_network(chromium, opened, tmp_path):
    (tmp_path / "page.html").write_bytes(keep(opened, "html"))
    row = opened.page.evaluate(f"Array.from({EXPLORER}.rowAt(2, 3))")
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector(READY)
    assert page.evaluate(f"Array.from({EXPLORER}.rowAt(2, 3))") == row
    assert page.evaluate(f"{EXPLORER}.state().pins") == opened.pins()
    page.locator(".picture").click(position={"x": 5, "y": 5})
    assert len(page.evaluate(f"{EXPLORER}.state().pins")) == 4
    context.close()


def test_an_npz_is_a_plain_zip(opened):
    assert zipfile.ZipFile(io.BytesIO(keep(opened, "npz"))).testzip() is None


# What any client can send

HOSTILE = [
    None,
    [],
    7,
    "x" * 100_000,
    {"seed": -1},
    {"seed": float("nan")},
    {"seed": 10**400},
    {"seed": 1, "label": "<script>"},
    {"seed": 1, "gamma": {LAST: 1e308}},
    {"seed": 1, "without": {LAST: [-1]}},
    {"seed": 1, "without": {"nowhere": [1]}},
    {"seed": 1, "image": "dropped-../../etc/passwd"},
    {"seed": 1, "checkpoint": "../.."},
    {"seed": 1, "weights": 10**30},
    {"seed": 1, "path": "/etc/passwd", "truncation": -1},
    {"state": {"source": {"seed": 1}}, "kind": "exe"},
    {"state": {"source": {"seed": 1}, "pins": [[1e9, 0]] * 1000}, "kind": "png"},
]


@pytest.mark.parametrize("function", ["scene", "lab", "drop", "timeline", "save", "about"])
def test_hostile_requests_get_an_error_in_words(page, function):
    for request in HOSTILE:
        answer = ask(page, function, request)  # never a failure of the server
        if (function == "scene" and not isinstance(request, dict)) or function in ("drop", "save"):
            assert "error" in answer, request
        if "error" in answer:
            assert isinstance(answer["error"], str)
            assert len(answer["error"]) < 2000
            assert "Traceback" not in answer["error"]
    for request in HOSTILE[4:14]:
        assert "error" in ask(page, "scene", request), request
    assert "error" not in ask(page, "scene", {"seed": 1})
