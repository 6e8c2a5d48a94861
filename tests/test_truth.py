"""Evidence about a pin's map, as browsers get it: exact, of the network as changed, and refused in
words."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from served import FIRST, LAST, SNAPSHOTS, ask
from telling import LAYER, OF_D, telling_checkpoint
from test_attribution import planted

from sagan_core import edit_attention, generate
from sagan_core.attention import mask_keys
from sagan_core.attribution import MAPS, PAIRS, probe_image, probe_layer, probe_sample
from sagan_core.foreign import open_checkpoint
from sagan_core.intervene import scaled_gamma, without_keys
from sagan_core.sample import latents, to_uint8
from viz.making import probing
from viz.source import Source
from viz.studio import Studio
from viz.truth import evidence_json

OF_TINY = "discriminator.blocks.0.attention"
PIN = [4, 5]
DEEP = Path(__file__).parent / "golden" / "hf_biggan_deep" / "G"


@pytest.fixture(scope="module")
def telling():
    return telling_checkpoint()


@pytest.fixture(scope="module")
def studio(telling, tiny):
    return Studio([telling, tiny])


def state(layer=LAYER, pins=(PIN,), **source):
    return {"source": {"seed": 3, "label": 0, **source}, "layer": layer, "pins": list(pins)}


def evidence(studio, asked, **more):
    found = studio.evidence({"state": asked, "pin": 0, **more})
    assert "error" not in found, found
    json.dumps(found, allow_nan=False)
    return found


def assert_equal(found, expected):
    """What was found is sagan_core's own evidence, in the page's units."""
    size = 255 if expected.unit == "pixels" else 1
    keys = expected.maps["attention"].size
    for name in MAPS:
        np.testing.assert_allclose(
            found["maps"][name], keys * expected.maps[name].ravel(), rtol=1e-4, atol=1e-5
        )
    for one, other, value in found["correlations"]:
        value = np.nan if value is None else value
        assert value == pytest.approx(expected.correlations[one, other], abs=1e-4, nan_ok=True)
    assert {(one, other) for one, other, _ in found["correlations"]} == set(PAIRS)
    curve = found["curve"]
    assert curve["sizes"] == expected.curve.sizes.tolist()
    for name, values in (
        ("top", expected.curve.top["attention"]),
        ("nearest", expected.curve.nearest),
        ("random", expected.curve.random.mean(0)),
        ("spread", expected.curve.random.std(0, ddof=1)),
    ):
        np.testing.assert_allclose(curve[name], size * values, rtol=1e-3, atol=1e-6)
    verdict = found["verdict"]
    assert (verdict["kind"], verdict["words"]) == (expected.verdict.kind, expected.verdict.words)
    assert verdict["over_random"] == pytest.approx(expected.verdict.over_random, rel=1e-3)
    assert verdict["layer_effect"] == pytest.approx(size * expected.layer_effect, rel=1e-3)
    assert verdict["least_effect"] == pytest.approx(1 if size == 255 else 0.01)


def test_it_is_sagan_cores_evidence_and_so_are_the_controls(studio, telling):
    generator = telling.generator
    probe = probe_sample(generator, generate(generator, 3, 0), LAYER)
    found = evidence(studio, state())
    assert (found["control"], found["pin"], found["grid"]) == ("none", PIN, [8, 8])
    assert found["unit"] == "grey levels"
    assert (found["verdict"]["kind"], found["verdict"]["draws"]) == ("names", 20)
    assert_equal(found, probe.examine((4, 5)))
    shuffled = evidence(studio, state(), control="shuffled")
    assert_equal(shuffled, probe.examine((4, 5), shuffled=True))
    assert shuffled["shuffled_from"] not in (None, PIN)
    twin = probe.with_random_weights()
    random = evidence(studio, state(), control="random")
    assert_equal(random, twin.examine((4, 5)))
    pixels = np.frombuffer(base64.b64decode(random["image"]["pixels"]), np.uint8)
    assert (pixels == to_uint8(twin.tail.output[None]).ravel()).all()


def test_the_second_pane_is_tested_at_the_same_place(studio):
    asked = state() | {"other": {"seed": 8, "label": 1}, "other_layer": "blocks.0.attention"}
    found = evidence(studio, asked, pane=1)
    assert found == evidence(studio, state("blocks.0.attention", [[2, 2]], seed=8, label=1))


def test_planted_keys_come_first_in_every_map():
    network, x, keys = planted(alone=True)
    probe = probe_layer(network, "attention", x)
    right, kinds = [], []
    for index in range(0, 64, 3):
        found = evidence_json(probe.examine((index // 8, index % 8)))
        right += [np.argmax(found["maps"][name]) == keys.flatten()[index] for name in MAPS]
        kinds.append(found["verdict"]["kind"] == "names")
    assert np.mean(right) >= 0.95
    assert np.mean(kinds) >= 0.9


def test_gamma_0_says_that_the_layer_hardly_matters(studio):
    found = evidence(studio, state(gamma={LAYER: 0}))
    assert found["verdict"]["kind"] == "hardly"
    assert found["verdict"]["layer_effect"] == 0
    assert found["verdict"]["over_random"] is None
    assert set(found["maps"]["knock-out"]) == set(found["maps"]["gradient"]) == {0}
    assert set(found["curve"]["top"]) == {0}
    assert [value for one, _, value in found["correlations"] if one == "gradient"] == [None]


def test_an_untrained_network_is_tested_like_any_other(studio):
    found = evidence(studio, state(weights="random"))
    assert found["verdict"]["kind"] in ("names", "chance", "hardly")
    assert found["maps"] != evidence(studio, state())["maps"]
    assert found["curve"]["sizes"] == [1, 2, 4, 8, 16, 32, 64]


def test_the_changes_of_the_source_hold(studio, telling):
    """Against a knock-out of another make: the whole network, run with hooks."""
    gone = [0, 9, 10, 30]
    found = evidence(studio, state(gamma={LAYER: -1.5, FIRST: 0.5}, without={LAYER: gone}))
    maps = {name: np.array(values) for name, values in found["maps"].items()}
    assert (maps["attention"][gone] == 0).all()
    assert (maps["knock-out"][gone] == 0).all()
    generator, pin = telling.generator, 4 * 16 + 5

    def image(keys):
        def edit(weights):
            edited, mask = weights.clone(), torch.ones(64)
            mask[keys] = 0
            edited[:, pin] = mask_keys(weights[:, pin], mask)
            return edited

        with (
            torch.no_grad(),
            scaled_gamma(generator, LAYER, -1.5),
            scaled_gamma(generator, FIRST, 0.5),
            without_keys(generator, LAYER, gone),
            edit_attention(generator, LAYER, edit),
        ):
            return generator(latents(generator, 3, 1), torch.tensor([0]))[0, :, 8:10, 10:12]

    plain, order = image([]), np.argsort(-maps["attention"], kind="stable")
    for size, effect in zip(found["curve"]["sizes"][:4], found["curve"]["top"], strict=False):
        changed = image(order[:size].tolist())
        expected = 127.5 * (changed - plain).square().mean().sqrt().item()
        assert effect == pytest.approx(expected, rel=1e-2, abs=1e-3)


SOURCES = [
    {"truncation": 0.5},
    {"gamma": {LAST: 0.3}, "without": {FIRST: [1, 2]}},
    {"toward": {"seed": 9, "label": 2}, "at": 0.3},
    {"toward": {"seed": 9, "label": 2}, "at": 0.8},
    {"weights": SNAPSHOTS[0]},
    {"weights": "random"},
]


@pytest.mark.parametrize("changes", SOURCES, ids=str)
@pytest.mark.parametrize("layer", [LAST, OF_TINY])
def test_what_is_probed_is_what_is_shown(studio, changes, layer):
    asked = {"checkpoint": "<b>tiny", "seed": 3, "label": 0, **changes}
    source = studio.checked(Source.from_json(asked))
    made = studio.made(source)
    with probing(studio.networks.pair(source.checkpoint, source.weights), made, layer) as probe:
        output = probe.tail.output
    if layer == LAST:
        assert (to_uint8(output[None])[0] == made.image).all()
    else:
        assert output.item() == pytest.approx(made.logit, abs=1e-4)
    shown = made.fields[layer].weights[0]
    torch.testing.assert_close(probe.tail.weights, shown, atol=1e-5, rtol=1e-3)


def test_the_discriminators_layer_is_tested_on_its_logit(studio, telling, checkpoint):
    found = evidence(studio, state(OF_D))
    layer = OF_D.removeprefix("discriminator.")
    picture = generate(telling.generator, 3, 0).image
    assert_equal(found, probe_image(telling.discriminator, picture, 0, layer).examine((4, 5)))
    assert (found["unit"], found["image"]) == ("logit", None)
    assert found["verdict"]["layer_effect"] > 1
    assert evidence(studio, state(OF_D), control="random")["image"] is None
    tiny = {"checkpoint": "<b>tiny", "image": "real-0", "label": None}
    image, layer = studio.real("<b>tiny").images[0], OF_TINY.removeprefix("discriminator.")
    expected = probe_image(checkpoint.discriminator, image, 2, layer).examine((4, 5))
    assert_equal(evidence(studio, state(OF_TINY, **tiny)), expected)


def test_a_model_with_statistics_by_truncation_is_probed_at_its_own():
    generator = open_checkpoint(DEEP).generator
    sample = generate(generator, 1, 0, 0.5)
    layer = next(iter(sample.fields))
    probe = probe_sample(generator, sample, layer)
    assert (to_uint8(probe.tail.output[None])[0] == sample.image).all()
    assert not probe.tail.reason


def test_many_may_ask_at_once_and_the_network_stays_as_it_was():
    studio = Studio([telling_checkpoint()])
    generator = studio.networks.pair("", "trained").generator
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    requests = [
        {"state": state(pins=[[row, 3]], gamma=gamma), "pin": 0, "control": control}
        for row in (1, 9)
        for gamma in ({}, {LAYER: 2})
        for control in (None, "random", "shuffled", None)
    ]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(studio.evidence, requests))
    alone = Studio([telling_checkpoint()])
    for request, found in zip(requests, together, strict=True):
        expected = alone.evidence(request)
        for name in MAPS:
            np.testing.assert_allclose(found["maps"][name], expected["maps"][name], rtol=0.01)
        assert found["verdict"]["kind"] == expected["verdict"]["kind"]
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_equal_questions_are_answered_once(studio):
    assert evidence(studio, state()) is evidence(studio, state(), control="none")
    assert studio.evidence({"state": state(), "pin": 0, "prepare": True}) == {"ready": True}


GOOD = {"state": state(LAST), "pin": 0}
HOSTILE = [
    None,
    [],
    "evidence",
    {},
    {"state": None, "pin": 0},
    GOOD | {"pin": 1},
    GOOD | {"pin": -1},
    GOOD | {"pin": 1e300},
    GOOD | {"pin": "0"},
    GOOD | {"pin": True},
    GOOD | {"pin": None},
    GOOD | {"pane": 1},
    GOOD | {"pane": {}},
    GOOD | {"control": "gradient"},
    GOOD | {"control": ["random"]},
    GOOD | {"control": 7},
    GOOD | {"state": state("nowhere")},
    GOOD | {"state": state(LAST, pins=[])},
    GOOD | {"state": state(LAST, pins=[[99, 0]])},
    GOOD | {"state": state(LAST, pins=[[0, 0]] * 500)},
    GOOD | {"state": state(LAST, without={LAST: [64]})},
    GOOD | {"state": state(LAST, gamma={LAST: float("nan")})},
    GOOD | {"state": state(LAST, image="dropped-" + "0" * 32)},
    GOOD | {"state": state(LAST, image="real-0")},
    GOOD | {"state": state(LAST, seed=10**40), "prepare": True},
]


def test_requests_that_make_no_sense_get_words(page):
    for request in HOSTILE:
        answer = ask(page, "evidence", request)
        if request == {}:
            assert "JSON object" in answer["error"]
        assert isinstance(answer.get("error"), str), request
        assert 5 < len(answer["error"]) < 1000
        assert "Traceback" not in answer["error"]
    assert ask(page, "evidence", GOOD)["pin"] == PIN
