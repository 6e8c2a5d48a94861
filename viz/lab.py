"""What the explorer must know of a model beside its scenes, and the state that it opens with."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from sagan_core.sample import MAX_SEED

from .colour import COLOUR_MAPS, PIN_COLOUR_NAMES, PIN_COLOURS, colour_table

KEPT = ("name", "label", "network", "gamma", "query_grid", "key_grid")


def lab_of(layers: Sequence[Mapping[str, Any]], source: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a lab that needs no checkpoint.

    Args:
        layers: as the description of the opening scene has them.
        source: JSON of that scene's source.
    """
    own = [layer for layer in layers if layer["network"] == "generator"] or layers
    return {
        "layers": [{key: layer[key] for key in KEPT} for layer in layers],
        "colours": {
            name: base64.b64encode(colour_table(name).tobytes()).decode() for name in COLOUR_MAPS
        },
        "pin_colours": [
            {"colour": colour, "name": name}
            for colour, name in zip(PIN_COLOURS, PIN_COLOUR_NAMES, strict=True)
        ],
        "max_seed": MAX_SEED,
        "defaults": default_state(source, own[-1]),  # the last layer, as in the paper's figure 5
    }


def default_state(source: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """The state that a page without anything in its address opens with."""
    return {
        "source": dict(source),
        "other": None,
        "layer": layer["name"],
        "other_layer": None,
        "all_layers": False,
        "pins": layer["suggested"],
        "direction": "from",
        "measure": "attention",
        "baseline": "uniform",
        "temperature": 1.0,
        "scale": "shared",
        "log": False,
        "colours": COLOUR_MAPS[0],
        "opacity": 0.7,
        "style": "overlay",
        "smooth": False,
        "arrows": False,
    }
