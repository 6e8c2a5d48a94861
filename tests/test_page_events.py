"""What any client can send to the page's callbacks, sent without a browser."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import CONFIG, LAST, NAMES, make_generator, served

from sagan_core import Checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own


@pytest.fixture(scope="module")
def page():
    with served(Checkpoint(make_generator(CONFIG), None, NAMES, {}, Path("tiny"))) as page:
        yield page


def ask(page, callback: str, data: list[Any]) -> dict:
    """Call a callback of the page as any client can; returns Gradio's final message."""
    index = next(i for i, fn in page.fns.items() if fn.fn and fn.fn.__qualname__.endswith(callback))
    root, session = page.address.rstrip("/") + "/gradio_api", secrets.token_hex(5)
    body = json.dumps({"data": data, "fn_index": index, "session_hash": session})  # allows NaN
    with httpx.Client(timeout=20) as client:
        joined = client.post(
            f"{root}/queue/join", content=body, headers={"Content-Type": "application/json"}
        )
        if joined.status_code != 200:
            return {"success": False, "output": {"error": joined.text}}
        with client.stream("GET", f"{root}/queue/data?session_hash={session}") as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    if message["msg"] in ("process_completed", "unexpected_error"):
                        return message
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    "data",
    [
        [99, 0, 1.0],
        [-1, 0, 1.0],
        ["<script>", 0, 1.0],
        [float("nan"), 0, 1.0],
        [True, -1, 1.0],
        [0, 2**32, 1.0],
        [0, "7; drop", 1.0],
        [0, float("inf"), 1.0],
        [0, 0, 1.5],
        [0, 0, -0.1],
        [0, 0, float("nan")],
        [0, 0, "much"],
        [0, 0, None],
        [0, 0],
        [[0], {}, []],
    ],
)
def test_recipes_out_of_range_are_refused(page, data):
    answer = ask(page, ".show", data)
    assert not answer["success"], answer
    assert ask(page, ".show", [0, 1, 1.0])["success"]


GOOD = {
    "id": "x",
    "seed": 1,
    "label": 0,
    "truncation": 1,
    "layer": LAST,
    "baseline": "uniform",
    "opacity": 0.7,
    "pins": [[1, 2]],
}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "state"),
        ("x" * 1000, "state"),
        ({}, "layer"),
        ({**GOOD, "layer": ["blocks"]}, "layer"),
        ({**GOOD, "layer": "../../etc/passwd"}, "layer"),
        ({**GOOD, "opacity": float("nan")}, "opacity"),
        ({**GOOD, "pins": "1.2"}, "pins"),
        ({**GOOD, "pins": [[0, 0]] * 9}, "at most 8"),
        ({**GOOD, "pins": [[0, 16]]}, "16x16 grid"),
        ({**GOOD, "pins": [[10**400, 0]]}, "16x16 grid"),
        ({**GOOD, "seed": -1}, "seed"),
        ({**GOOD, "label": 3}, "label"),
        ({**GOOD, "truncation": 2}, "truncation"),
        ({**GOOD, "id": {"a": 1}, "seed": None}, "seed"),
    ],
)
def test_states_that_make_no_sense_are_refused_in_words(page, state, words):
    answer = ask(page, "_saver.<locals>.save", [state])
    assert not answer["success"]
    assert words in answer["output"]["error"]
    assert "Traceback" not in answer["output"]["error"]
