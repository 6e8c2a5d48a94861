"""What a person keeps of a state: figure, numbers, recipe, page; and what a wrong state is told."""

from __future__ import annotations

import io
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from served import CONFIG, FIRST, LAST

from sagan_core import Checkpoint, Discriminator, Generator, SelfAttention
from sagan_core.attention import mask_keys
from viz.kept import Shown, keep, state_of_recipe
from viz.maps import map_of
from viz.view import LOOK_OPTIONS
from viz.workshop import Workshop

JUDGE = "discriminator.blocks.0.attention"
STATE = {
    "source": {"seed": 3, "label": 1, "gamma": {LAST: 0.5}, "without": {LAST: [0, 9]}},
    "other": {"seed": 4, "label": 2, "toward": {"seed": 5, "label": 0}, "at": 0.25},
    "layer": LAST,
    "other_layer": JUDGE,
    "pins": [[15, 15], [0, 3]],
    "direction": "to",
    "opacity": 0.5,
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    torch.manual_seed(0)
    networks = [Generator(CONFIG), Discriminator(CONFIG)]
    for network in networks:
        for module in network.modules():
            if isinstance(module, SelfAttention):
                torch.nn.init.constant_(module.gamma, 0.8)
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    generator, discriminator = (network.eval() for network in networks)
    return Workshop([Checkpoint(generator, discriminator, ("Coat", "小猫", "<b>"), {}, path)])


def numbers(workshop, state, pane=0) -> dict[str, np.ndarray]:
    content, _ = keep(workshop, state, "npz", pane)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def test_the_numbers_are_those_of_the_changed_model(workshop):
    data = numbers(workshop, STATE)
    assert data["layers"].tolist() == [FIRST, LAST, JUDGE]
    assert data["pins"].tolist() == STATE["pins"]
    assert (data["class_name"], data["checkpoint"], data["seed"]) == ("小猫", "tiny", 3)
    source = json.loads(data["source"].item())
    assert (source["gamma"], source["without"]) == ({LAST: 0.5}, {LAST: [0, 9]})
    assert data[f"{LAST}/gamma"] == pytest.approx(0.4)
    assert data[f"{LAST}/learnt_gamma"] == pytest.approx(0.8)
    assert f"{FIRST}/learnt_gamma" not in data
    mask = torch.ones(64)
    mask[[0, 9]] = 0
    weights = mask_keys(torch.from_numpy(data[f"{LAST}/weights"]), mask).numpy()
    added = data[f"{LAST}/added"].reshape(len(data[f"{LAST}/added"]), -1)
    out = (added @ weights.T).reshape(data[f"{LAST}/out"].shape)
    np.testing.assert_allclose(out, data[f"{LAST}/out"], rtol=1e-3, atol=1e-5)
    plain = numbers(workshop, {"source": {"seed": 3, "label": 1}})
    assert (plain["image"] != data["image"]).any()
    assert np.array_equal(plain[f"{LAST}/weights"], data[f"{LAST}/weights"])


def test_the_second_pane_has_its_own_image_and_pins_at_the_same_places(workshop):
    data = numbers(workshop, STATE, pane=1)
    assert (data["seed"], data["layer"]) == (4, JUDGE)
    height, width = data[f"{JUDGE}/query"].shape[1:]
    assert (height, width) == (16, 16)
    assert data["pins"].tolist() == STATE["pins"]
    coarse = {**STATE, "other_layer": FIRST}
    assert numbers(workshop, coarse, pane=1)["pins"].tolist() == [[7, 7], [0, 1]]


def test_the_figure_has_both_panes_and_says_what_was_changed(workshop):
    content, name = keep(workshop, STATE, "svg")
    assert name == "tiny_seed-3.svg"
    said = " ".join(re.findall(r">([^<]+)</text>", content.decode()))
    assert "Changed: gamma ×0.5 in blocks.1.attention, 2 of 64 key cells knocked out" in said
    assert "25% of the way to seed 5, class 0" in said
    assert "seed 3 · truncation 1 · blocks.1.attention, 16×16 queries, 8×8 keys" in said
    assert JUDGE in said
    assert keep(workshop, STATE, "png")[0].startswith(b"\x89PNG")
    assert keep(workshop, STATE, "pdf")[0].startswith(b"%PDF")


def test_the_maps_are_those_of_the_state(workshop):
    shown = Shown.of(workshop, STATE)
    from viz.kept import kept_figure

    still = kept_figure(workshop, shown)
    field = shown.made[0].fields[LAST]
    expected = map_of(field, (15, 15), shown.view.look, [0, 9])
    np.testing.assert_array_equal(still.blocks[0].layers[0].maps[0], expected)


def test_a_recipe_is_the_whole_state_and_reads_back(workshop):
    content, _ = keep(workshop, STATE, "json")
    recipe = json.loads(content)
    state = state_of_recipe(workshop, recipe)
    assert set(state) == {
        *("source", "other", "layer", "other_layer", "all_layers", "pins", *LOOK_OPTIONS)
    }
    assert state["source"]["without"] == {LAST: [0, 9]}
    assert state["pins"] == STATE["pins"]
    assert keep(workshop, state, "json")[0] == content
    assert keep(workshop, state, "svg")[0] == keep(workshop, STATE, "svg")[0]
    recipe["checkpoints"]["tiny"]["discriminator"] = "0" * 64
    with pytest.raises(ValueError, match="other weights than those of tiny"):
        state_of_recipe(workshop, recipe)
    recipe["checkpoints"] = {"another": {}}
    with pytest.raises(ValueError, match="no checkpoint 'another' here; there is tiny"):
        state_of_recipe(workshop, recipe)


def test_the_page_holds_one_pane(workshop):
    content, name = keep(workshop, STATE, "html", 1)
    assert name == "tiny_b_seed-4.html"
    value = json.loads(re.search(r'id="value">(.*?)</script>', content.decode()).group(1))
    assert value["state"]["source"]["seed"] == 4
    assert (value["state"]["layer"], value["state"]["other"]) == (JUDGE, None)
    assert value["state"]["direction"] == "to"
    assert value["lab"]["class_names"] == ["Coat", "小猫", "<b>"]


@pytest.mark.parametrize(
    ("state", "kind", "pane", "said"),
    [
        (None, "png", 0, "expected a state"),
        ({}, "png", 0, "source is None"),
        ({"source": {"seed": -1}}, "png", 0, "seed is -1"),
        ({**STATE, "other": []}, "png", 0, "source is a list"),
        ({**STATE, "layer": "x"}, "npz", 0, "no attention layer 'x'"),
        ({**STATE, "pins": []}, "pdf", 0, "Pin at least one point first"),
        ({**STATE, "pins": [[16, 0]]}, "npz", 0, "16x16 grid"),
        (STATE, "exe", 0, "kind is 'exe'; it must be one of png"),
        (STATE, ["png"], 0, "kind is"),
        (STATE, "npz", 2, "pane is 2; there are 2, counted from 0"),
        (STATE, "npz", True, "pane is True"),
        ({"source": {"seed": 1}}, "html", 1, "pane is 1; there are 1"),
    ],
)
def test_a_wrong_request_is_told_why(workshop, state, kind, pane, said):
    with pytest.raises(ValueError, match=said):
        keep(workshop, state, kind, pane)


def test_a_recipe_names_the_projects_version(workshop):
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    recipe = json.loads(keep(workshop, {"source": {}}, "json")[0])
    assert recipe["sagan_lens"] == project["project"]["version"]
