"""How a point was made: the layer's own numbers, the same from the NPZ alone, and on the page."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import EXPLORER, visit, with_query
from served import FIRST, HOSTILE, LAST

from sagan_core import SelfAttention, record_attention
from sagan_core.steps import places, steps_at
from viz.studio import Studio

OF_D = "discriminator.blocks.0.attention"
BLOCKED = [3, 5, 40]
NEAR = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def studio(tiny):
    from sagan_core import load_checkpoint

    return Studio([load_checkpoint(tiny)])


def source(**more):
    return {"seed": 3, "label": 0, **more}


def arrays_of(answer) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(base64.b64decode(packed["data"]), np.float32).reshape(packed["shape"])
        for name, packed in answer["arrays"].items()
    }


def npz(studio, state) -> dict[str, np.ndarray]:
    saved = studio.save({"state": state, "kind": "npz"})
    return dict(np.load(io.BytesIO(Path(saved["path"]).read_bytes()), allow_pickle=False))


def by_hand(data, layer, row, col, blocked=()) -> dict[str, np.ndarray]:
    """Every number of a point from the file alone: from `x` and the maps on."""
    x = data[f"{layer}/x"]
    flat = x.reshape(len(x), -1)
    at = row * x.shape[2] + col

    def mapped(name):
        found = data[f"{layer}/{name}_map"] @ flat
        return found + data.get(f"{layer}/{name}_bias", np.zeros(1))[:, None]

    def pooled(found):
        grid = found.reshape(-1, *x.shape[1:])
        if not data[f"{layer}/pooled"]:
            return found[None], found
        corners = np.stack([grid[:, r::2, c::2] for r in (0, 1) for c in (0, 1)])
        corners = corners.reshape(4, len(grid), -1)
        return corners, corners.max(0)

    raw = mapped("query")
    query = raw - raw.mean(1, keepdims=True) if data[f"{layer}/centred"] else raw
    query = query[:, at] * data[f"{layer}/scale"]
    (key_corners, key), (value_corners, value) = pooled(mapped("key")), pooled(mapped("value"))
    logits = query @ key
    shares = np.exp(logits - logits.max())
    shares[list(blocked)] = 0
    shares /= shares.sum()
    mixed = value @ shares
    out = data[f"{layer}/out_map"] @ mixed
    return {
        "x": flat[:, at],
        "mapped": raw[:, at],
        "query": query,
        "key_candidates": key_corners,
        "key": key,
        "value_candidates": value_corners,
        "value": value,
        "logits": logits,
        "weights": shares,
        "mixed": mixed,
        "out": out,
        "y": flat[:, at] + data[f"{layer}/gamma"] * out,
    }


@pytest.mark.parametrize(
    ("layer", "changes"),
    [
        (LAST, {}),
        (FIRST, {"gamma": {FIRST: -1.5}}),
        (LAST, {"without": {LAST: BLOCKED}}),
        (LAST, {"weights": "random"}),
        (OF_D, {}),
    ],
    ids=["plain", "gamma", "blocked", "random", "discriminator"],
)
def test_every_number_follows_from_the_file(studio, layer, changes):
    made_of = source(**changes)
    answer = studio.steps({"source": made_of, "layer": layer, "cell": [2, 5]})
    data = npz(studio, {"source": made_of, "layer": layer, "pins": [[2, 5]]})
    expected = by_hand(data, layer, 2, 5, changes.get("without", {}).get(layer, ()))
    found = arrays_of(answer)
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, **NEAR, err_msg=name)
    assert answer["gamma"] == pytest.approx(float(data[f"{layer}/gamma"]))
    assert answer["blocked"] == changes.get("without", {}).get(layer, [])


def test_centred_scaled_unpooled_and_with_biases():
    torch.manual_seed(0)
    layer = SelfAttention(8, 4, 8, pool=False, centre=True, scale=3.0, bias=True, project=False)
    torch.nn.init.constant_(layer.gamma, 0.5)
    with record_attention(layer) as fields, torch.inference_mode():
        y = layer.eval()(torch.randn(1, 8, 4, 6))
    steps = steps_at(layer, fields[""], 1, 2)
    assert len(steps.key_candidates) == 1
    torch.testing.assert_close(steps.y, y[0, :, 1, 2])
    torch.testing.assert_close(steps.mixed, steps.out)
    queries = fields[""].query[0].flatten(1)
    torch.testing.assert_close(queries.sum(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(steps.query, queries[:, 1 * 6 + 2])
    with pytest.raises(IndexError):
        steps_at(layer, fields[""], 4, 0)


def test_places_are_lines_of_the_code():
    root = Path(__file__).parent.parent
    for file, line, code in places().values():
        assert (root / file).read_text(encoding="utf-8").splitlines()[line - 1].strip() == code


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        {"source": source(), "layer": HOSTILE, "cell": [0, 0]},
        {"source": source(), "layer": None, "cell": [0, 0]},
        {"source": source(), "layer": LAST, "cell": [16, 0]},
        {"source": source(), "layer": LAST, "cell": [0, -1]},
        {"source": source(), "layer": LAST, "cell": [0.5, 0]},
        {"source": source(), "layer": LAST, "cell": None},
        {"source": {"seed": "x"}, "layer": LAST, "cell": [0, 0]},
        {"source": source(weights=77), "layer": LAST, "cell": [0, 0]},
    ],
)
def test_what_makes_no_sense_is_refused_in_words(studio, request_):
    answer = studio.steps(request_)
    assert set(answer) == {"error"}
    assert answer["error"]


@pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own
def test_the_page_shows_them_linked(chromium, page, studio):
    address = with_query(page.address, "seed=3&class=0&pins=2.5,9.9")
    with visit(chromium, address, 1360, 1000) as opened:
        opened.page.locator("[data-part=making] > summary").click()
        part = opened.page.locator("[data-part=making]")
        part.locator(".strip").first.wait_for()
        state = opened.state()
        answer = studio.steps(
            {"source": source(), "layer": state["layer"], "cell": state["pins"][0]}
        )
        arrays = arrays_of(answer)
        best = int(arrays["weights"].argmax())
        assert part.get_attribute("data-key") == str(best)

        def number(text: str) -> float:
            return float(re.search(r"[−-]?[\d.]+(e[+−]?\d+)?$", text)[0].replace("−", "-"))

        strips = {
            name: number(part.locator(f"[data-step={name}] .strip output").last.inner_text())
            for name in ("x", "query", "mixed", "out", "y")
        }
        for name, shown in strips.items():
            assert shown == pytest.approx(arrays[name][0], rel=6e-3), name

        # Pointing at another key changes its calculation, its share and the place in the image.
        keys = part.locator("[data-kind=logits]")
        keys.focus()
        for _ in range(2):
            opened.page.keyboard.press("ArrowRight")
        chosen = int(part.get_attribute("data-key"))
        assert chosen != best
        calculation = part.locator(".calculation").inner_text()
        assert number(calculation) == pytest.approx(arrays["logits"][chosen], rel=6e-3)
        line = part.locator(".bycalculator .chosen td").all_inner_texts()
        assert number(line[4]) == pytest.approx(arrays["weights"][chosen], rel=6e-3)
        assert opened.page.evaluate("document.querySelector('.picture .lit').hidden") is False

        # Another pin is another point; the page asks again.
        opened.page.evaluate(f"{EXPLORER}.choose(1)")
        other = studio.steps(
            {"source": source(), "layer": state["layer"], "cell": state["pins"][1]}
        )
        first = float(arrays_of(other)["x"][0])
        opened.page.wait_for_function(
            """(value) => {
              const shown = document.querySelector("[data-step=x] output").textContent;
              const number = Number(shown.split(" = ")[1].replaceAll("−", "-"));
              return Math.abs(number / value - 1) < 6e-3;
            }""",
            arg=first,
        )
        assert opened.complaints == []
