"""Hand-picked openings: read, refused in words, and shown as what they are."""

from __future__ import annotations

import base64
import io
import json
import shutil

import numpy as np
import pytest
from browser import EXPLORER, shown, visit
from PIL import Image
from served import FIRST, HOSTILE, LAST, NAMES, served

from sagan_core import generate, load_checkpoint
from viz.openings import OPENINGS, read_openings
from viz.studio import Studio

BAG = {
    "seed": 4,
    "class": "Bag",
    "layer": FIRST,
    "pins": [[1, 2], [6, 6]],
    "sentence": {"en": "Two handles.", "ko": "손잡이 두 개."},
}
STRANGE = {**BAG, "seed": 5, "class": HOSTILE, "layer": LAST, "sentence": {"en": HOSTILE}}


def with_openings(tiny, folder, content) -> object:
    shutil.copytree(tiny, folder)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / OPENINGS).write_text(text, encoding="utf-8")
    return load_checkpoint(folder)


def test_a_checkpoint_without_the_file_has_none(checkpoint):
    assert read_openings(checkpoint, "tiny") == ()
    assert Studio([checkpoint]).lab(None)["openings"] == []


def test_the_page_opens_on_the_first_and_offers_all_with_their_pictures(tiny, tmp_path):
    checkpoint = with_openings(tiny, tmp_path / "picked", [BAG, STRANGE])
    lab = Studio([checkpoint]).lab(None)
    assert lab["defaults"]["layer"] == FIRST
    assert lab["defaults"]["pins"] == [[1, 2], [6, 6]]
    assert lab["defaults"]["source"]["seed"] == 4
    assert lab["defaults"]["source"]["label"] == NAMES.index("Bag")
    assert [one["sentence"] for one in lab["openings"]] == [BAG["sentence"], {"en": HOSTILE}]
    for one in lab["openings"]:
        source = one["source"]
        png = base64.b64decode(one["picture"].removeprefix("data:image/png;base64,"))
        made = generate(checkpoint.generator, source["seed"], source["label"]).image
        assert (np.asarray(Image.open(io.BytesIO(png))) == made[:, :, 0]).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ({"seed": 1}, "list of up to"),
        ([BAG] * 13, "list of up to"),
        ([BAG, 3], "opening 2: expected an object"),
        ([{**BAG, "class": "Hat"}], "no class 'Hat'"),
        ([{**BAG, "seed": -1}], "seed is -1"),
        ([{**BAG, "sentence": {"ko": "손"}}], '"sentence"'),
        ([{**BAG, "sentence": {"en": 3}}], '"sentence"'),
        ([{**BAG, "pins": []}], '"pins"'),
        ([{**BAG, "pins": [[1]]}], "a pin is"),
        ([{**BAG, "layer": None}], '"layer"'),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tiny, tmp_path, content, words):
    checkpoint = with_openings(tiny, tmp_path / "picked", content)
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        read_openings(checkpoint, "picked")


def test_a_layer_that_the_model_does_not_have_is_said(tiny, tmp_path):
    content = [{**BAG, "layer": "blocks.7.attention"}]
    checkpoint = with_openings(tiny, tmp_path / "picked", content)
    with pytest.raises(ValueError, match=r"blocks\.7\.attention, which the model does not have"):
        Studio([checkpoint])


@pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own
def test_openings_and_random_on_the_page(chromium, tiny, tmp_path):
    checkpoint = with_openings(tiny, tmp_path / "picked", [BAG, STRANGE])
    with served(checkpoint) as page, visit(chromium, page.address) as opened:
        choose = opened.page.locator(".openings li button")
        pressed = ".openings [aria-pressed=true]"
        words = opened.page.locator(".openings .words")
        assert words.inner_text() == "Two handles."
        assert opened.page.locator(pressed).count() == 1

        choose.nth(1).click()
        opened.settle()
        state = opened.state()
        assert (state["layer"], state["pins"]) == (LAST, STRANGE["pins"])
        assert words.inner_text() == HOSTILE
        image = generate(checkpoint.generator, 5, NAMES.index(HOSTILE)).image
        assert (shown(opened)[:, :, 0] == image[:, :, 0]).all()

        opened.page.locator(".openings .any").click()
        opened.settle()
        drawn = opened.state()
        assert "Nobody picked this image" in words.inner_text()
        assert opened.page.locator(pressed).count() == 0
        suggested = opened.page.evaluate(
            f"{EXPLORER}.panes[0].layerNamed({json.dumps(drawn['layer'])}).suggested"
        )
        assert drawn["pins"] == suggested
        assert drawn["source"]["seed"] not in (4, 5)

        opened.page.locator(".undo").click()
        opened.settle()
        assert opened.state()["pins"] == STRANGE["pins"]
        assert opened.page.locator(pressed).count() == 1
        assert opened.page.evaluate("window.hacked") is None
        assert opened.complaints == []
