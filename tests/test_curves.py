"""The figure of how training went, in plotly's own terms."""

from __future__ import annotations

import json
from pathlib import Path

import plotly.graph_objects as go
import pytest

from sagan_core import load_checkpoint
from viz.curves import LINES, MOST_POINTS, curves

SHIPPED = Path(__file__).parent.parent / "checkpoints" / "fashion-mnist-32"


def test_the_shipped_history_is_drawn_as_it_was_logged():
    checkpoint = load_checkpoint(SHIPPED)
    history, snapshots = checkpoint.history(), list(checkpoint.snapshots())
    made = curves(history, snapshots, {"blocks.1.attention": "Generator 16×16"})
    figure = go.Figure(json.loads(json.dumps(made)))  # plotly checks every name and value
    assert len(figure.data) == 3 * 2 + 2
    assert [shape.x0 for shape in figure.layout.shapes] == snapshots
    gamma = figure.data[0]
    assert gamma.name == "Generator 16×16"
    assert list(gamma.x) == [line["images"] for line in history]
    key = "generator.blocks.1.attention"
    assert list(gamma.y) == [line["attention"][key]["gamma"] for line in history]
    assert list(figure.data[-1].y) == [line["loss_discriminator"] for line in history]
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    colours = {(line.name, line.line.color) for line in figure.data}
    assert len(colours) == len({name for name, _ in colours}) == 4
    assert {colour for _, colour in colours} <= set(LINES)


def test_long_histories_are_thinned_and_keep_their_end():
    history = [
        {"images": i, "loss_generator": 0.0, "loss_discriminator": 1.0, "attention": {}}
        for i in range(5 * MOST_POINTS + 3)
    ]
    line = curves(history, [])["data"][-1]
    assert MOST_POINTS // 2 < len(line["x"]) <= MOST_POINTS
    assert line["x"][-1] == history[-1]["images"]


def test_no_history_is_said_in_words():
    figure = go.Figure(curves([], [0, 1000]))
    assert not figure.data
    assert "no history" in figure.layout.annotations[0].text


@pytest.mark.parametrize("missing", ["dependence", "gamma"])
def test_measures_that_were_not_logged_leave_gaps(missing):
    measured = {"gamma": 0.1, "effective_keys": 3.0, "dependence": 0.2}
    lines = [
        {
            "images": images,
            "loss_generator": 0.0,
            "loss_discriminator": 1.0,
            "attention": {"g": one},
        }
        for images, one in ((1, measured), (2, {k: v for k, v in measured.items() if k != missing}))
    ]
    by_title = {tuple(line["y"]) for line in curves(lines, [])["data"]}
    assert (measured[missing], None) in by_title
