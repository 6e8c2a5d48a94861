"""What a person keeps of what the page shows: figure, numbers, recipe, or a page of its own.

A state, as the browser sends it and as a recipe holds it, says all of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from sagan_core.attention import Grid
from sagan_core.sample import Sample

from .lab import default_state, lab_of
from .making import Made, title
from .source import Source, short
from .view import View, default_layer, same_place, view_from_state
from .workshop import Workshop

FIGURES = ("png", "pdf", "svg")
KINDS = (*FIGURES, "npz", "json", "html")
VERSION = "0.1.0"


@dataclass(frozen=True, eq=False)
class Shown:
    """What a state shows: one image or two, and how.

    Attributes:
        made: the first pane's image, and the second's where there is one.
        layers: the layer that each of them shows.
        view: pins are on the first pane's layer.
    """

    made: tuple[Made, ...]
    layers: tuple[str, ...]
    view: View

    @classmethod
    def of(cls, workshop: Workshop, state: Any) -> Shown:
        """What a state shows. Missing parts have their defaults, without pins those suggested.

        Raises ValueError, LookupError or CheckpointError, naming what is wrong.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"expected a state as a JSON object, not {type(state).__name__}")
        asked = [state.get("source")]
        if state.get("other") is not None:
            asked.append(state["other"])
        sources = [workshop.checked(Source.from_json(one)) for one in asked]
        made = tuple(workshop.made(source) for source in sources)
        grids = [_grids(one) for one in made]
        view = view_from_state(state, grids[0], grids[-1])
        if "pins" not in state:
            from .suggestions import suggested_pins

            pins = suggested_pins(made[0].fields[view.layer], made[0].image)
            view = replace(view, pins=tuple(pins))
        layers = [view.layer]
        if len(made) > 1:
            same = view.layer if view.layer in grids[1] else default_layer(grids[1])
            layers.append(view.other_layer or same)
        return cls(made, tuple(layers), view)

    def alone(self, pane: int) -> Shown:
        """One pane by itself, its pins at the same places. Raises ValueError for no such pane."""
        if type(pane) is not int or not 0 <= pane < len(self.made):
            raise ValueError(f"pane is {short(pane)}; there are {len(self.made)}, counted from 0")
        made, layer, view = self.made[pane], self.layers[pane], self.view
        grid = self.made[0].fields[view.layer].query_grid
        on = made.fields[layer].query_grid
        pins = tuple(same_place(pin, grid, on) for pin in view.pins)
        view = replace(view, layer=layer, other_layer=None, pins=pins)
        return Shown((made,), (layer,), view)

    def state(self) -> dict[str, Any]:
        """The state in full: every key, the class filled in."""
        other = self.made[1].source.to_json() if len(self.made) > 1 else None
        view = self.view
        layer = {"name": view.layer, "suggested": [list(pin) for pin in view.pins]}
        return {
            **default_state(self.made[0].source.to_json(), layer),
            "other": other,
            "other_layer": view.other_layer,
            "all_layers": view.all_layers,
            **vars(view.look),
        }


def _grids(made: Made) -> dict[str, Grid]:
    if not made.fields:
        raise ValueError(f"{made.source.checkpoint}: it has no attention layer to look at")
    return {name: field.query_grid for name, field in made.fields.items()}


def keep(workshop: Workshop, state: Any, kind: Any, pane: Any = 0) -> tuple[bytes, str]:
    """(content, name) of a file that keeps what a state shows.

    Args:
        state: JSON, as the browser sends it.
        kind: "png", "pdf" or "svg": the figure, of both panes where there are two; "npz": the
            numbers of one pane; "json": the recipe of the state; "html": one pane as a page.
        pane: which of the two.

    Raises ValueError, LookupError or CheckpointError, in words for a person.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {short(kind)}; it must be one of {', '.join(KINDS)}")
    shown = Shown.of(workshop, state)
    one = shown.alone(pane)
    if kind in FIGURES:
        content = kept_figure(workshop, shown).render(kind)
    elif kind == "npz":
        content = kept_data(workshop, one)
    elif kind == "json":
        content = (json.dumps(recipe_json(workshop, shown), indent=2) + "\n").encode()
    else:
        content = kept_page(workshop, one).encode()
    return content, f"{_file_name(workshop, one.made[0].source)}.{kind}"


def kept_figure(workshop: Workshop, shown: Shown) -> Any:
    """The `StillFigure` of what is shown. Raises ValueError without pins."""
    from .figure import Pane, panes_figure  # brings matplotlib, which not everybody needs

    if not shown.view.pins:
        raise ValueError("Pin at least one point first: a figure has one panel per pin.")
    panes = [
        Pane(
            made.image,
            made.fields,
            layer,
            title=_caption(workshop, made.source),
            facts=facts(made.source),
            changes=changes(made),
            without=dict(made.source.without),
            kind="generated image" if made.source.image is None else "given image",
        )
        for made, layer in zip(shown.made, shown.layers, strict=True)
    ]
    return panes_figure(panes, shown.view.pins, shown.view.look, shown.view.all_layers)


def kept_data(workshop: Workshop, shown: Shown) -> bytes:
    """The NPZ of the first pane; `viz.data.save_data` says what is in it."""
    from .data import write_data

    made, file = shown.made[0], io.BytesIO()
    source = made.source
    sample = Sample(made.image, made.fields, source.seed, source.label, source.truncation)
    write_data(
        file,
        sample,
        shown.layers[0],
        shown.view.pins,
        checkpoint=source.checkpoint,
        class_name=_class_name(workshop, source.checkpoint, source.label),
        source=json.dumps(source.to_json()),
        learnt=made.learnt,
        layers=workshop.networks.pair(source.checkpoint, source.weights).layers(),
    )
    return file.getvalue()


def kept_page(workshop: Workshop, shown: Shown) -> str:
    """The first pane as one HTML file that needs no server."""
    from .standalone import standalone_page

    source = shown.made[0].source
    content, scene = workshop.described(source)
    lab = {
        "checkpoint": source.checkpoint,
        "checkpoints": [source.checkpoint],
        "class_names": list(workshop.networks.checkpoint(source.checkpoint).class_names),
        "snapshots": [],
        "real": 0,
        "discriminator": False,
        **lab_of(scene["layers"], scene["source"]),
    }
    return standalone_page(lab, scene, content, shown.state(), _caption(workshop, source))


# Recipes


def recipe_json(workshop: Workshop, shown: Shown) -> dict[str, Any]:
    """All that is needed to make what is shown again: JSON.

    `state` is the browser's; `checkpoints` names those that it needs, with a hash of the weights
    of each network, so that other weights under the same name are noticed.
    """
    names = dict.fromkeys(made.source.checkpoint for made in shown.made)
    return {
        "sagan_lens": VERSION,
        "checkpoints": {name: weights_hashes(workshop, name) for name in names},
        "state": shown.state(),
    }


def state_of_recipe(workshop: Workshop, recipe: Any) -> dict[str, Any]:
    """The state in a recipe, as JSON read from a file.

    Raises ValueError for what is no recipe, a checkpoint that the workshop lacks, and for weights
    that are not those of the recipe.
    """
    if not isinstance(recipe, Mapping) or not isinstance(recipe.get("state"), Mapping):
        raise ValueError("this is no recipe: expected a JSON object with a state in it")
    checkpoints = recipe.get("checkpoints", {})
    if not isinstance(checkpoints, Mapping):
        raise ValueError(f"checkpoints is {short(checkpoints)}; it must be an object")
    for name, hashes in checkpoints.items():
        if hashes != weights_hashes(workshop, name):
            raise ValueError(f"the recipe was made with other weights than those of {name} here")
    return dict(recipe["state"])


def weights_hashes(workshop: Workshop, name: str) -> dict[str, str | None]:
    """SHA-256 over the names and values of each network's weights; None where there is none."""
    checkpoint = workshop.networks.checkpoint(name)
    networks = {"generator": checkpoint.generator, "discriminator": checkpoint.discriminator}
    return {kind: None if one is None else _digest(one) for kind, one in networks.items()}


def _digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# In words


def facts(source: Source) -> str:
    """What made an image, in one line: enough to make it again."""
    parts = [] if source.label is None else [f"class {source.label}"]
    if source.image is not None:
        parts.append(source.image.replace("-", " image ", 1))
        return " · ".join(parts)
    parts.append(f"seed {source.seed}")
    if source.toward is not None and source.at:
        end = source.toward
        named = "" if end.label is None else f", class {end.label}"
        parts.append(f"{source.at:.0%} of the way to seed {end.seed}{named}")
    parts.append(f"truncation {source.truncation:g}")
    if source.weights != "trained":
        after = source.weights
        parts.append("random weights" if after == "random" else f"weights after {after:,} images")
    return " · ".join(parts)


def changes(made: Made) -> str:
    """What in an image's model is not as it was learnt, in one line; empty for nothing."""
    parts = [f"gamma ×{factor:g} in {layer}" for layer, factor in made.source.gamma]
    for layer, cells in made.source.without:
        count = len(cells)
        of = made.fields[layer].key_grid if layer in made.fields else None
        among = f" of {of.height * of.width}" if of else ""
        parts.append(
            f"{count}{among} key {'cell' if count == 1 else 'cells'} knocked out in {layer}"
        )
    return "Changed: " + ", ".join(parts) if parts else ""


def _caption(workshop: Workshop, source: Source) -> str:
    named = title(source, workshop.networks.checkpoint(source.checkpoint).class_names)
    return ", ".join(part for part in (source.checkpoint, named) if part != "Generated image")


def _class_name(workshop: Workshop, checkpoint: str, label: int | None) -> str:
    names = workshop.networks.checkpoint(checkpoint).class_names
    return names[label] if label is not None and label < len(names) else ""


def _file_name(workshop: Workshop, source: Source) -> str:
    parts = [source.checkpoint, _class_name(workshop, source.checkpoint, source.label)]
    parts.append(source.image or f"seed-{source.seed}")
    plain = (re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-").lower()[:60] for part in parts)
    return "_".join(part for part in plain if part)
