"""Scenes and files for browsers: exact, shared, bounded, and refused in words."""

from __future__ import annotations

import base64
import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from served import CONFIG, FIRST, HOSTILE, LAST, NAMES, make_generator
from test_source import HOSTILE as HOSTILE_SOURCES

from sagan_core import (
    Checkpoint,
    Discriminator,
    Generator,
    SAGANConfig,
    SelfAttention,
    generate,
    save_checkpoint,
)
from sagan_core.checkpoint import save_snapshot
from sagan_core.data import ImageSet
from sagan_core.real import save_real
from sagan_core.sample import judge
from viz import published
from viz.bounded import Bounded
from viz.colour import colour_table
from viz.source import Source
from viz.studio import Studio

CONFIG_WITH_D = SAGANConfig(**{**CONFIG.__dict__, "discriminator_attention": (8,)})
OF_D = "discriminator.blocks.1.attention"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint on disk with everything that one can have."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    torch.manual_seed(1)
    discriminator = Discriminator(CONFIG_WITH_D)
    for module in discriminator.modules():
        if isinstance(module, SelfAttention):
            torch.nn.init.constant_(module.gamma, 0.7)
    save_checkpoint(folder, make_generator(CONFIG_WITH_D), discriminator, NAMES)
    torch.manual_seed(2)
    save_snapshot(folder, Generator(CONFIG_WITH_D), 1000)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 32, 32), dtype=np.uint8)
    save_real(folder, ImageSet(pixels, np.array([0, 1, 2, 1]), NAMES, ""), 4)
    return folder


@pytest.fixture(scope="module", autouse=True)
def uploads(tmp_path_factory):
    """Gradio's folder of uploads, one of this module's own."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    folder = tmp_path_factory.mktemp("uploads")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    yield folder
    del os.environ["GRADIO_TEMP_DIR"]
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(scope="module")
def studio(folder):
    plain = SAGANConfig(
        resolution=32, width=16, latent_size=8, attention=(8,), discriminator_attention=()
    )
    other = Checkpoint(make_generator(plain), None, (), {}, Path("other"))
    return Studio([folder, other])


def image_of(scene, which="image"):
    about = scene[which]
    shape = (about["height"], about["width"], about["channels"])
    content = Path(scene["file"]["path"]).read_bytes()
    return np.frombuffer(content, np.uint8, math.prod(shape), about["offset"]).reshape(shape)


def good(scene):
    assert "error" not in scene, scene
    json.dumps(scene, allow_nan=False)
    return scene


def test_a_scene_is_the_sample_and_what_the_discriminator_makes_of_it(studio):
    scene = good(studio.scene({"seed": 7}))
    pair = studio.networks.pair("tiny", "trained")
    sample = generate(pair.generator, 7)
    np.testing.assert_array_equal(image_of(scene), sample.image)
    assert scene["source"]["label"] == sample.label
    assert scene["source"]["checkpoint"] == "tiny"
    assert scene["title"] == NAMES[sample.label]
    assert [layer["name"] for layer in scene["layers"]] == [FIRST, LAST, OF_D]
    assert scene["logit"] == judge(pair.discriminator, sample.image, sample.label).logit
    assert (scene["reference"], scene["plain_logit"]) == (None, None)
    assert scene == studio.scene({"seed": 7, "label": sample.label, "gamma": {FIRST: 1}})


def test_gamma_and_left_out_keys_come_with_the_plain_image(studio):
    plain = good(studio.scene({"seed": 7, "label": 1}))
    for change in ({"gamma": {LAST: -2}}, {"without": {LAST: list(range(20))}}):
        scene = good(studio.scene({"seed": 7, "label": 1, **change}))
        np.testing.assert_array_equal(image_of(scene, "reference"), image_of(plain))
        assert (image_of(scene) != image_of(plain)).any()
        assert scene["plain_logit"] == plain["logit"] != scene["logit"]
    again = good(studio.scene({"seed": 7, "label": 1, "gamma": {FIRST: 1}, "without": {FIRST: []}}))
    assert again["id"] == plain["id"]
    gammas = good(studio.scene({"seed": 7, "gamma": {LAST: 0.5}}))["layers"][1]
    assert gammas["gamma"] == pytest.approx(gammas["learnt_gamma"] / 2)
    nothing = good(studio.scene({"seed": 7, "label": 1, "gamma": {LAST: 0}}))
    taken_out = good(studio.scene({"seed": 7, "label": 1, "without": {LAST: list(range(64))}}))
    np.testing.assert_array_equal(image_of(nothing), image_of(taken_out))


def test_changes_in_the_discriminator_change_its_verdict_alone(studio):
    plain = good(studio.scene({"seed": 7}))
    for change in ({"gamma": {OF_D: 2}}, {"without": {OF_D: list(range(8))}}):
        scene = good(studio.scene({"seed": 7, **change}))
        np.testing.assert_array_equal(image_of(scene), image_of(plain))
        assert scene["reference"] is None
        assert scene["plain_logit"] == plain["logit"] != scene["logit"]


def test_paths_end_in_the_plain_images(studio):
    ends = [good(studio.scene({"seed": seed, "label": seed % 3})) for seed in (4, 8)]
    path = {"seed": 4, "label": 1, "toward": {"seed": 8, "label": 2}}
    for at, end in ((0, ends[0]), (1, ends[1])):
        scene = good(studio.scene({**path, "at": at}))
        np.testing.assert_array_equal(image_of(scene), image_of(end))
        assert scene["title"] == end["title"]
        assert scene["logit"] == end["logit"]
    middle = good(studio.scene({**path, "at": 0.5}))
    assert middle["title"] == f"{NAMES[1]} to {NAMES[2]}"
    assert "seed 4 to 8, 50% of the way" in middle["subtitle"]
    assert middle["remarks"] == []


def test_snapshots_and_random_weights_are_other_networks(studio, folder):
    scenes = {
        weights: good(studio.scene({"seed": 7, "label": 1, "weights": weights}))
        for weights in ("trained", "random", 1000)
    }
    assert len({scene["id"] for scene in scenes.values()}) == 3
    snapshot = studio.networks.checkpoint("tiny").load_snapshot(1000)
    np.testing.assert_array_equal(image_of(scenes[1000]), generate(snapshot, 7, 1).image)
    assert "no discriminator" in scenes[1000]["remarks"][0]
    again = Studio([folder]).scene({"seed": 7, "label": 1, "weights": "random"})
    assert again["id"] == scenes["random"]["id"]
    gammas = [
        [layer["gamma"] for layer in scenes[name]["layers"]] for name in ("trained", "random")
    ]
    assert gammas[0] == gammas[1]
    assert "no snapshot at 7" in studio.scene({"weights": 7})["error"]


def test_the_lab_says_what_there_is(studio):
    lab = good(studio.lab(None))
    assert lab == studio.lab("tiny")
    assert lab["checkpoints"] == ["tiny", "other"]
    assert lab["class_names"] == list(NAMES)
    assert HOSTILE in lab["class_names"]  # names travel as data
    assert (lab["snapshots"], lab["real"], lab["discriminator"]) == ([1000], 4, True)
    assert [layer["network"] for layer in lab["layers"]] == ["generator"] * 2 + ["discriminator"]
    for name, table in lab["colours"].items():
        assert base64.b64decode(table) == colour_table(name).tobytes()
    defaults = lab["defaults"]
    assert defaults["layer"] == LAST
    assert len(defaults["pins"]) == 3
    assert good(studio.scene(defaults["source"]))["source"] == defaults["source"]
    other = good(studio.lab("other"))
    assert (other["class_names"], other["discriminator"], other["real"]) == ([], False, 0)
    scene = good(studio.scene({"checkpoint": "other", "toward": {"seed": 9}, "at": 0.5}))
    assert (scene["logit"], scene["source"]["label"]) == (None, None)


def test_the_discriminator_looks_at_real_and_dropped_images(studio, uploads):
    scene = good(studio.scene({"image": "real-2"}))
    assert scene["title"] == f"Real image: {NAMES[scene['source']['label']]}"
    assert [layer["name"] for layer in scene["layers"]] == [OF_D]
    (uploads / "x").mkdir(exist_ok=True)
    Image.effect_noise((50, 40), 90).convert("RGB").save(uploads / "x" / "a.png")
    answer = good(studio.drop({"path": str(uploads / "x" / "a.png"), "name": "a.png"}))
    words = "Cropped to the middle 40×40 of 50×40 and scaled to 32×32; turned to grey"
    assert answer["fitted"] == words
    logits = [
        good(studio.scene({"image": answer["image"], "label": label}))["logit"]
        for label in range(3)
    ]
    chosen = good(studio.scene({"image": answer["image"]}))
    assert chosen["fitted"] == words
    assert chosen["source"]["label"] == int(np.argmax(logits))
    assert chosen["logit"] == max(logits)
    changed = good(studio.scene({"image": answer["image"], "gamma": {OF_D: 0, LAST: 0}}))
    assert changed["plain_logit"] == max(logits) != changed["logit"]
    assert changed["reference"] is None
    without_d = studio.scene({"checkpoint": "other", "image": answer["image"]})
    assert "no discriminator" in without_d["error"]


@pytest.mark.parametrize(
    "value",
    [
        *HOSTILE_SOURCES,
        {"label": 3},
        {"checkpoint": "../../etc"},
        {"checkpoint": "other", "label": 0},
        {"toward": {"seed": 1, "label": 3}, "at": 0.5},
        {"toward": {"seed": 1, "label": 3}, "at": 0.0},
        {"gamma": {"x": 0.5}},
        {"gamma": {"discriminator.x": 0.5}},
        {"gamma": {"discriminator.": 0.5}},
        {"without": {LAST: [64]}},
        {"without": {OF_D: [16]}},
        {"without": {"blocks": [0]}},
        {"image": "real-4"},
        {"image": "real-0", "label": 3},
        {"image": "dropped-" + "a" * 32},
        {"image": "dropped-" + "a" * 32, "checkpoint": "other"},
        {"weights": 2**53},
    ],
)
def test_sources_that_make_no_sense_are_answered_in_words(studio, value):
    answer = studio.scene(value)
    assert set(answer) == {"error"}
    assert 10 < len(answer["error"]) < 400
    assert "Traceback" not in answer["error"]
    good(studio.scene({"seed": 7}))


@pytest.mark.parametrize("value", [3, [], {}, "x" * 10**6, math.nan, {"a": 1}, ["tiny"], True])
def test_other_requests_that_make_no_sense_are_answered_in_words(studio, value):
    if value not in ([], {}):  # which ask for the first checkpoint
        assert set(studio.lab(value)) == {"error"}
    assert set(studio.drop(value)) == {"error"}
    if value not in ({}, {"a": 1}):
        assert set(studio.timeline(value)) == {"error"}
    assert set(studio.timeline({"checkpoint": value})) == {"error"}


def test_the_timeline_has_a_figure_and_the_snapshots(studio):
    timeline = good(studio.timeline({"checkpoint": "tiny"}))
    assert timeline["snapshots"] == [1000]
    assert timeline["figure"]["layout"]["shapes"][0]["x0"] == 1000


# ---- many people, and a folder that others clear


def test_many_at_once_get_what_one_gets(folder):
    studio = Studio([folder])
    sources = [
        {"seed": seed, "gamma": {LAST: factor}, "weights": weights}
        for seed in range(3)
        for factor in (0, 1, 2)
        for weights in ("trained", "random", 1000)
    ]
    with ThreadPoolExecutor(30) as pool:
        together = list(pool.map(studio.scene, sources * 2))
    alone = Studio([folder])
    for source, scene in zip(sources * 2, together, strict=True):
        assert good(scene)["id"] == alone.scene(source)["id"]


def test_a_file_that_is_gone_is_made_anew_and_one_in_use_stays_young(studio):
    scene = good(studio.scene({"seed": 11}))
    path = Path(scene["file"]["path"])
    content = path.read_bytes()
    os.utime(path, (0, 0))
    assert studio.scene({"seed": 11}) == scene
    assert time.time() - path.stat().st_mtime < 60
    published.clear(60)
    assert path.exists()
    path.unlink()
    assert studio.scene({"seed": 11}) == scene
    assert path.read_bytes() == content
    os.utime(path, (0, 0))
    published.clear(60)
    assert not path.exists()


def test_what_is_kept_is_bounded():
    left = []
    store = Bounded(10, size=len, leaving=left.append)
    for name, size in (("a", 4), ("b", 4), ("c", 2)):
        store.put(name, name * size)
    store.find("a")
    store.put("d", "dd")
    assert left == ["bbbb"]
    assert store.find("b") is None
    store.put("e", "e" * 50)  # larger than all: the newest is kept
    assert len(store) == 1
    store.forget("e")
    assert len(store) == 0
    store.put("a", "a" * 10)
    store.put("a", "a")
    store.put("b", "b" * 9)
    assert len(store) == 2


def test_what_several_ask_for_is_made_once():
    store, made, start = Bounded(10), [], threading.Barrier(8)

    def make():
        made.append(1)
        time.sleep(0.05)
        return "value"

    def ask(_):
        start.wait()
        return store.obtain("key", make)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"value"}
    assert made == [1]
    with pytest.raises(ZeroDivisionError):
        store.obtain("other", lambda: 1 / 0)
    assert store.obtain("other", lambda: "now") == "now"


def test_a_checkpoint_without_attention_is_refused(folder):
    config = SAGANConfig(resolution=32, width=8, attention=(), discriminator_attention=())
    bare = Checkpoint(Generator(config).eval(), None, (), {}, Path("bare"))
    with pytest.raises(ValueError, match="bare: it has no attention"):
        Studio([bare])
    assert "no attention" in Studio([folder, bare]).lab("bare")["error"]
    with pytest.raises(ValueError, match="no checkpoint"):
        Studio([])
    same = Studio([folder, folder])
    assert same.networks.names == ["tiny", "tiny (2)"]
    assert same.made(same.checked(Source(seed=1))).source.checkpoint == "tiny"
