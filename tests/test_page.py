"""The page from end to end: a browser on a served checkpoint."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from browser import EXPLORER, visit
from PIL import Image
from served import CONFIG, FIRST, HOSTILE, LAST, NAMES, make_generator, served

import app
from sagan_core import (
    Checkpoint,
    SAGANConfig,
    generate,
    load_checkpoint,
    save_checkpoint,
)
from viz.colour import PIN_COLOURS

pytestmark = [  # what Gradio leaves behind
    pytest.mark.filterwarnings("ignore:.*no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "<b>tiny"
    save_checkpoint(folder, make_generator(CONFIG), None, NAMES)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder) -> Checkpoint:
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def page(checkpoint):
    with served(checkpoint) as page:
        yield page


@pytest.fixture(scope="module")
def opened(chromium, page):
    with visit(chromium, page.address, accept_downloads=True) as opened:
        yield opened


def shown(opened) -> np.ndarray:
    """(H, W) of the large grey image."""
    data = opened.page.evaluate(
        """() => {
          const canvas = document.querySelector(".picture > .image");
          const { width, height } = canvas;
          return Array.from(canvas.getContext("2d").getImageData(0, 0, width, height).data);
        }"""
    )
    return np.array(data, np.uint8).reshape(32, 32, 4)[:, :, 0]


def wait_for(opened, condition: str) -> None:
    opened.page.wait_for_function(
        f"(() => {{ const s = {EXPLORER}.state(); return {condition} }})()"
    )


# The page as it opens


def test_it_opens_as_the_papers_figure(opened):
    state = opened.state()
    assert len(state["pins"]) == 3
    assert (state["layer"], state["baseline"], state["opacity"]) == (LAST, "uniform", 0.7)
    frames = opened.page.locator(".panel").evaluate_all(
        "(panels) => panels.map(({ style }) => style.getPropertyValue('--pin'))"
    )
    assert tuple(frames) == PIN_COLOURS[:3]
    notes = opened.page.locator(".notes").inner_text()
    assert "of the signal" in notes
    assert "nats" in notes


def test_names_are_shown_as_text(opened):
    label = opened.page.get_by_label("Class", exact=True)
    label.click()
    opened.page.get_by_role("option", name=HOSTILE).click()
    wait_for(opened, "s.label === 1")
    assert opened.page.locator(".subject").inner_text() == HOSTILE
    assert opened.page.locator(".origin").inner_text().startswith("<b>tiny, seed")
    assert opened.page.evaluate("window.hacked") is None
    label.click()
    opened.page.get_by_role("option", name="Boot").click()
    wait_for(opened, "s.label === 0")


def test_everything_that_can_be_pressed_has_a_name(opened):
    nameless = opened.page.locator("#bench button, #bench input, #bench canvas").evaluate_all(
        """(elements) => elements.filter((e) => {
          const hidden = e.ariaHidden === "true" || e.closest("[aria-hidden=true]");
          const named = e.textContent.trim() || e.ariaLabel || e.labels?.[0]?.textContent.trim();
          return !hidden && !named && e.className !== "pixels map";
        }).map((e) => e.outerHTML)"""
    )
    assert nameless == []


# Images


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_a_seed_shows_torchs_image_and_keeps_the_pins(opened, checkpoint, seed):
    pins = opened.pins()
    opened.page.get_by_label("Seed", exact=True).fill(str(seed))
    wait_for(opened, f"s.seed === {seed}")
    state = opened.state()
    expected = generate(checkpoint.generator, seed, state["label"], state["truncation"])
    assert (shown(opened) == expected.image[:, :, 0]).all()
    assert state["pins"] == pins


def test_truncation_shows_torchs_image(opened, checkpoint):
    box = opened.page.get_by_role("spinbutton", name="Truncation")
    box.fill("0.4")
    box.press("Enter")
    wait_for(opened, "s.truncation === 0.4")
    state = opened.state()
    expected = generate(checkpoint.generator, state["seed"], state["label"], 0.4)
    assert (shown(opened) == expected.image[:, :, 0]).all()


def test_a_new_image_takes_less_than_half_a_second(opened):
    times = []
    for _ in range(5):
        seed = opened.state()["seed"]
        start = time.perf_counter()
        opened.page.get_by_role("button", name="Random").click()
        wait_for(opened, f"s.seed !== {seed}")
        times.append(time.perf_counter() - start)
    print("new image:", [f"{seconds:.2f} s" for seconds in times])
    assert min(times) < 0.5  # a busy machine may delay some


def test_the_last_of_many_changes_wins(opened, checkpoint):
    field = opened.page.get_by_label("Seed", exact=True)
    for seed in range(100, 112):
        field.fill(str(seed))
    wait_for(opened, "s.seed === 111")
    opened.page.wait_for_timeout(300)
    state = opened.state()
    assert state["seed"] == 111
    expected = generate(checkpoint.generator, 111, state["label"], state["truncation"])
    assert (shown(opened) == expected.image[:, :, 0]).all()


# What needs no server


def test_no_request_while_hovering_pinning_or_changing_the_view(opened):
    opened.page.wait_for_timeout(500)
    before = len(opened.requests)
    for step in range(30):
        opened.hover((step % 6 + 0.5) / 6, (step // 6 + 0.5) / 6)
    opened.frame()
    opened.click(0.5, 0.5)
    opened.page.get_by_label("the average point").check()
    opened.page.get_by_role("spinbutton", name="Opacity").fill("0.5")
    opened.page.get_by_label("Layer", exact=True).click()
    opened.page.get_by_role("option", name="8×8").click()
    wait_for(opened, f"s.layer === '{FIRST}' && s.baseline === 'average' && s.opacity === 0.5")
    assert "average point" in opened.page.locator(".legend").inner_text()
    assert opened.requests[before:] == []
    opened.page.get_by_label("uniform attention").check()
    opened.page.get_by_role("spinbutton", name="Opacity").fill("0.7")
    opened.page.get_by_label("Layer", exact=True).click()
    opened.page.get_by_role("option", name="16×16").click()
    wait_for(opened, f"s.layer === '{LAST}' && s.baseline === 'uniform' && s.opacity === 0.7")


def test_the_canvas_follows_the_pointer_with_torchs_numbers(opened, checkpoint):
    state = opened.state()
    recipe = (state["seed"], state["label"], state["truncation"])
    field = generate(checkpoint.generator, *recipe).fields[LAST]
    for row, col in ((0, 0), (7, 9), (15, 15), (12, 3)):
        opened.hover((col + 0.5) / 16, (row + 0.5) / 16)
        assert opened.preview() == {"row": row, "col": col}
        weights = opened.page.evaluate(f"Array.from({EXPLORER}.rowAt({row}, {col}))")
        exact = field.attended_by(row, col)[0].flatten().numpy()
        assert np.abs(weights - exact).max() < 0.01 * exact.max()


def test_the_map_is_there_with_the_next_frame(opened):
    """From the pointer's event to the end of painting, over 100 events."""
    times = opened.page.evaluate(
        """async () => {
          const picture = document.querySelector(".picture");
          const explorer = document.querySelector(".lens").explorer;
          const box = picture.getBoundingClientRect();
          const times = [];
          for (let i = 0; i < 100; i++) {
            await new Promise(requestAnimationFrame);
            const at = { clientX: box.left + ((i * 37) % 100) / 100 * box.width,
              clientY: box.top + ((i * 61) % 100) / 100 * box.height, bubbles: true };
            let work = performance.now();
            picture.dispatchEvent(new PointerEvent("pointermove", at));
            work = performance.now() - work;
            const paint = explorer.paintPreview.bind(explorer);
            await new Promise((done) => {
              explorer.paintPreview = () => {
                const start = performance.now();
                paint();
                picture.offsetHeight; // layout included
                times.push(work + performance.now() - start);
                delete explorer.paintPreview;
                done();
              };
            });
          }
          return times.sort((a, b) => a - b);
        }"""
    )
    print(f"hover on the page: median {times[50]:.2f} ms, 95th percentile {times[95]:.2f} ms")
    assert times[95] < 16


# The address


def test_a_link_shows_the_same_picture_in_another_browser(chromium, opened):
    opened.click(0.1, 0.9)
    opened.page.wait_for_timeout(400)
    address, state = opened.page.url, opened.state()
    with visit(chromium, address) as other:
        assert {**other.state(), "id": ""} == {**state, "id": ""}
        assert (shown(other) == shown(opened)).all()
        assert other.page.get_by_label("Seed", exact=True).input_value() == str(state["seed"])
        assert other.page.get_by_label("Class", exact=True).input_value() == NAMES[0]
        assert other.complaints == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("seed=-5&class=99&truncation=7", {"seed": 0, "label": 2, "truncation": 1}),
        ("seed=1e400&truncation=nan&class=abc", {"seed": 2**32 - 1, "truncation": 1}),
        ("seed=5&pins=1.2,999999.0,x.y,-1.3,1.2,3", {"pins": [[1, 2], [15, 0]]}),
        ("layer=" + quote("<script>") + "&compare=x&opacity=9", {"layer": LAST, "opacity": 1}),
        ("pins=", {"pins": []}),
        ("layer=" + FIRST, {"layer": FIRST}),
    ],
)
def test_hostile_addresses(chromium, page, query, expected):
    with visit(chromium, f"{page.address}?{query}") as opened:
        state = opened.state()
        assert {key: state[key] for key in expected} == expected
        assert opened.complaints == []


# Saving


def save(opened, button: str, path: Path) -> str:
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name=button).click()
    download.value.save_as(path)
    return download.value.suggested_filename


def test_saved_figures_are_whole(opened, tmp_path):
    name = save(opened, "Save figure (PNG)", tmp_path / "figure.png")
    assert re.fullmatch(rf"b-tiny_[a-z0-9-]+_seed-{opened.state()['seed']}\.png", name)
    picture = Image.open(tmp_path / "figure.png").convert("RGB")
    colours = {colour for _, colour in picture.getcolors(picture.width * picture.height)}
    for colour in PIN_COLOURS[:3]:
        assert tuple(bytes.fromhex(colour[1:])) in colours
    save(opened, "Save figure (PDF)", tmp_path / "figure.pdf")
    content = (tmp_path / "figure.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert content.rstrip().endswith(b"%%EOF")


def test_saved_data_is_what_torch_computed(opened, checkpoint, tmp_path):
    save(opened, "Save data (NPZ)", tmp_path / "data.npz")
    state = opened.state()
    sample = generate(checkpoint.generator, state["seed"], state["label"], state["truncation"])
    with np.load(tmp_path / "data.npz", allow_pickle=False) as data:
        assert (data["image"] == sample.image).all()
        assert data["pins"].tolist() == state["pins"]
        for name, field in sample.fields.items():
            np.testing.assert_array_equal(data[f"{name}/weights"], field.weights[0])
            np.testing.assert_array_equal(data[f"{name}/query"], field.query[0])
            np.testing.assert_array_equal(data[f"{name}/key"], field.key[0])


def test_a_figure_without_pins_is_refused_in_words(opened):
    opened.page.get_by_role("button", name="Clear all").click()
    opened.page.get_by_role("button", name="Save figure (PNG)").click()
    opened.page.get_by_text("Pin at least one point first").wait_for()


# The network


def test_no_other_host_and_no_lasting_connection(opened, page):
    host = urlsplit(page.address).netloc
    assert {urlsplit(request).netloc for request in opened.requests} == {host}
    assert not [request for request in opened.requests if "heartbeat" in request]


def test_the_page_did_not_complain(opened):
    assert opened.complaints == []


# Another model, another process


def test_a_model_without_classes_has_no_class_control(chromium):
    config = SAGANConfig(
        resolution=32, width=8, latent_size=8, attention=(16,), discriminator_attention=()
    )
    colour = Checkpoint(make_generator(config), None, (), {}, Path("colour"))
    with served(colour) as page, visit(chromium, page.address) as opened:
        assert opened.page.get_by_label("Class", exact=True).count() == 0
        opened.page.get_by_label("Seed", exact=True).fill("9")
        wait_for(opened, "s.seed === 9 && s.label === null")
        assert opened.page.locator(".subject").inner_text() == "Generated image"
        assert opened.complaints == []


def test_from_launch_to_a_live_hover(chromium, folder):
    """The issue's limit is 15 seconds on two cores."""
    start = time.perf_counter()
    port = 7861 + secrets.randbelow(1000)
    command = [sys.executable, "app.py", "--checkpoint", str(folder), "--port", str(port)]
    root = Path(app.__file__).parent
    server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        address = next(line.split()[-1] for line in server.stdout if "http://" in line)
        with visit(chromium, address) as opened:
            opened.hover(0.5, 0.5)
            assert opened.preview() == {"row": 8, "col": 8}
        seconds = time.perf_counter() - start
        print(f"from launch to a live hover: {seconds:.1f} s")
        assert seconds < 15
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
    assert server.returncode in (0, -signal.SIGINT, 130)
