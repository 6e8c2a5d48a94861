"""Plotly figures of what was measured: `python -m viz.plots ablation results.json -o OUT`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sagan_core.comparison import Spread

# Rows of a kind share a hue (Okabe and Ito 2008), and are told apart by line and marker.
FAMILIES = {
    "none": "#000000",
    "attention": "#0072b2",
    "residual": "#d55e00",
    "both": "#009e73",
    "alone": "#cc79a7",
}
DASHES = ("solid", "dash", "dot")
MARKERS = ("circle", "square", "diamond")
FIGURE_KEYS = {"frechet_distance", "images"}


def ablation_figure(results: Mapping[str, Any]) -> go.Figure:
    """Fréchet distance of every row along its training, and of every run at the end.

    Left: the mean over seeds, with a band of one standard deviation where there are several.
    Right: each run as a point, the row's mean as a bar.

    Args:
        results: `results.json` of `sagan_core.ablate`. Raises ValueError for something else.
    """
    rows = _checked(results)
    figure = make_subplots(
        cols=2,
        column_widths=[0.62, 0.38],
        horizontal_spacing=0.2,
        subplot_titles=("along training", "at the end of every run"),
    )
    seen: dict[str, int] = {}
    for name, row in rows.items():
        family = name.split("-")[0]
        place = seen[family] = seen.get(family, -1) + 1
        style = {
            "colour": FAMILIES.get(family, "#666666"),
            "dash": DASHES[place % len(DASHES)],
            "marker": MARKERS[place % len(MARKERS)],
        }
        _add_curve(figure, row, style)
        _add_ends(figure, row, style)
    ticks = {"type": "log", "dtick": "D2", "row": 1, "col": 1}
    figure.update_xaxes(title="images shown", tickformat="~s", **ticks)
    figure.update_yaxes(title="Fréchet distance (classifier's features)", tickformat="~g", **ticks)
    figure.update_xaxes(title="Fréchet distance", row=1, col=2)
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    figure.update_layout(
        template="plotly_white",
        title=f"The paper's comparison, in small: {results.get('data', '')}",
        width=1200,
        height=620,
        legend={"orientation": "h", "y": -0.16},
        margin={"t": 90, "b": 150},
    )
    return figure


def _checked(results: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        rows = results["rows"]
        for row in rows.values():
            for run in row["runs"].values():
                complete = all(set(point) >= FIGURE_KEYS for point in run["points"])
                if not complete:
                    raise KeyError("frechet_distance")
            str(row["title"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the results.json of sagan_core.ablate: {error!r}") from error
    if not rows:
        raise ValueError("results.json has no row that was measured")
    return rows


def _add_curve(figure: go.Figure, row: Mapping[str, Any], style: Mapping[str, str]) -> None:
    """Mean and spread at the numbers of images that every run of the row reached."""
    curves = [
        {point["images"]: point["frechet_distance"] for point in run["points"]}
        for run in row["runs"].values()
        if run["points"]
    ]
    if not curves:
        return
    images = sorted(set.intersection(*map(set, curves)))
    columns = [[curve[count] for curve in curves] for count in images]
    found = [Spread.of(column) for column in columns]
    if len(curves) > 1:
        # The axis is logarithmic: what would reach below 0 ends at a tenth of the mean.
        low = [max(one.mean - one.deviation, one.mean / 10) for one in found]
        high = [one.mean + one.deviation for one in found]
        figure.add_scatter(
            x=[*images, *reversed(images)],
            y=[*high, *reversed(low)],
            fill="toself",
            mode="none",
            fillcolor=style["colour"],
            opacity=0.12,
            hoverinfo="skip",
            showlegend=False,
            legendgroup=row["title"],
            row=1,
            col=1,
        )
    figure.add_scatter(
        x=images,
        y=[one.mean for one in found],
        name=row["title"],
        legendgroup=row["title"],
        mode="lines+markers",
        line={"color": style["colour"], "dash": style["dash"]},
        marker={"symbol": style["marker"], "size": 6},
        row=1,
        col=1,
    )


def _add_ends(figure: go.Figure, row: Mapping[str, Any], style: Mapping[str, str]) -> None:
    runs = {seed: run for seed, run in row["runs"].items() if "failed" not in run}
    ends = {seed: run["points"][-1]["frechet_distance"] for seed, run in runs.items()}
    if not ends:
        return
    values = list(ends.values())
    hidden = {"showlegend": False, "legendgroup": row["title"], "row": 1, "col": 2}
    figure.add_scatter(
        x=values,
        y=[row["title"]] * len(values),
        text=[f"seed {seed}" for seed in ends],
        mode="markers",
        marker={"symbol": style["marker"], "size": 8, "color": style["colour"], "opacity": 0.6},
        **hidden,
    )
    figure.add_scatter(
        x=[Spread.of(values).mean],
        y=[row["title"]],
        mode="markers",
        marker={
            "symbol": "line-ns",
            "size": 20,
            "line": {"width": 3, "color": style["colour"]},
        },
        hovertemplate="mean %{x:.4g}<extra></extra>",
        **hidden,
    )


def save_figure(figure: go.Figure, path: Path) -> None:
    """Write one HTML file that needs no network, or plotly's JSON.

    Raises ValueError for another suffix, and OSError.
    """
    if path.suffix == ".html":
        text = figure.to_html(include_plotlyjs=True)
    elif path.suffix == ".json":
        text = figure.to_json()
    else:
        raise ValueError(f"{path.name}: a plotly figure is saved as .html or .json")
    path.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for; the exit status."""
    command = argparse.ArgumentParser(prog="python -m viz.plots", description="Plotly figures.")
    command.add_argument("kind", choices=["ablation"], help="what the file holds")
    command.add_argument("file", type=Path, metavar="FILE", help="results.json")
    command.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT", help=".html, or plotly's .json"
    )
    options = command.parse_args(arguments)
    try:
        results = json.loads(options.file.read_text(encoding="utf-8"))
        save_figure(ablation_figure(results), options.out)
    except (ValueError, OSError) as error:
        print(f"{command.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
