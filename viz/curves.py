"""How training went, as a plotly figure: gamma, where layers look, and losses, over images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, told apart with every common colour blindness, on light and on dark."""

DASHES = ("solid", "dash", "dot", "dashdot")
GREY, FAINT = "rgb(128,128,128)", "rgba(128,128,128,0.25)"
MOST_POINTS = 1000

ROWS = (
    ("gamma", "Gamma"),
    ("effective_keys", "Effective keys"),
    ("dependence", "Dependence (nats)"),
)
LOSSES = (("loss_generator", "Generator's loss"), ("loss_discriminator", "Discriminator's loss"))
HEIGHT, GAP = 150, 0.07


def curves(
    history: Sequence[Mapping[str, Any]],
    snapshots: Iterable[int],
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A plotly figure as JSON: four diagrams, one above the other, over images seen.

    A layer has one colour in all of them. Backgrounds are transparent and letters grey, so that it
    is legible on light and dark. Snapshots are marked on the axis.

    Args:
        history: lines of a checkpoint's `history.jsonl`, oldest first; without any the figure has
            no lines, and a sentence instead.
        snapshots: images after which the generator was kept.
        labels: of layers, by name as in a scene ("discriminator." in front of the
            discriminator's); the names themselves where there is none.
    """
    lines = _thinned(history)
    images = [line["images"] for line in lines]
    names = list(dict.fromkeys(name for line in lines for name in line.get("attention", {})))
    data = []
    for row, (measure, _) in enumerate(ROWS):
        for number, name in enumerate(names):
            values = [line.get("attention", {}).get(name, {}).get(measure) for line in lines]
            plain = name.removeprefix("generator.")
            label = (labels or {}).get(plain, plain)
            data.append(_line(row, number, label, images, values, row == 0))
    for number, (measure, label) in enumerate(LOSSES):
        values = [line.get(measure) for line in lines]
        data.append(_line(len(ROWS), len(names) + number, label, images, values, bool(lines)))
    return {"data": data if lines else [], "layout": _layout(list(snapshots), bool(lines))}


def _thinned(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most `MOST_POINTS` lines, evenly spaced, the last one always among them."""
    step = -(-len(history) // MOST_POINTS) or 1
    return list(history[::-1][::step])[::-1]


def _line(
    row: int, number: int, name: str, x: list[Any], y: list[Any], in_legend: bool
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "showlegend": in_legend,
        "x": x,
        "y": y,
        "xaxis": "x",
        "yaxis": _axis("y", row),
        "line": {
            "color": LINES[number % len(LINES)],
            "dash": DASHES[number // len(LINES) % len(DASHES)],
            "width": 2,
        },
        "hovertemplate": "%{y:.4g}",
    }


def _axis(letter: str, row: int) -> str:
    return letter if row == 0 else f"{letter}{row + 1}"


def _layout(snapshots: list[int], lines: bool) -> dict[str, Any]:
    titles = [title for _, title in ROWS] + ["Loss"]
    height = (1 - GAP * (len(titles) - 1)) / len(titles)
    axis = {"gridcolor": FAINT, "linecolor": GREY, "zerolinecolor": GREY, "automargin": True}
    layout: dict[str, Any] = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GREY},
        "height": HEIGHT * len(titles),
        "margin": {"l": 56, "r": 12, "t": 36, "b": 44},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "rgb(40,40,40)", "font": {"color": "white"}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {**axis, "title": {"text": "Images seen"}, "anchor": _axis("y", len(titles) - 1)},
        "shapes": [_tick(images) for images in snapshots],
        "annotations": [],
    }
    for row, title in enumerate(titles):
        top = 1 - row * (height + GAP)
        domain = [max(0.0, top - height), top]
        layout[f"yaxis{row + 1 if row else ''}"] = {
            **axis,
            "domain": domain,
            "anchor": "x",
            "title": {"text": title, "font": {"size": 11}},
        }
    if not lines:
        layout["annotations"] = [
            {
                "text": "This checkpoint keeps no history of its training.",
                "showarrow": False,
                **{key: value for name in "xy" for key, value in _middle(name).items()},
            }
        ]
    return layout


def _middle(letter: str) -> dict[str, Any]:
    return {letter: 0.5, f"{letter}ref": "paper"}


def _tick(images: int) -> dict[str, Any]:
    """A short stroke on the axis of images, where a snapshot was kept."""
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": images,
        "x1": images,
        "y0": 0,
        "y1": 0.025,
        "line": {"color": GREY, "width": 2},
    }
