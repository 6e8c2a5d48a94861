"""What a person is looking at: an image's recipe, a layer, pins, and how the maps are drawn.

A view comes from outside twice: from the address bar, where what makes no sense is left out, and
from the browser when something is saved, where it is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from sagan_core.attention import Grid
from sagan_core.sample import MAX_SEED

from .colour import PIN_COLOURS
from .view import BASELINES, Baseline, Pin, Recipe

ADDRESS_KEYS = frozenset({"class", "seed", "truncation", "layer", "pins", "compare", "opacity"})


@dataclass(frozen=True)
class View:
    """A recipe and how its attention is looked at. `pins` are cells of `layer`'s query grid."""

    recipe: Recipe
    layer: str
    pins: tuple[Pin, ...]
    baseline: Baseline = "uniform"
    opacity: float = 0.7


def view_from_address(
    query: Mapping[str, str], default: View, grids: Mapping[str, Grid], classes: int
) -> View:
    """The view that an address asks for.

    Args:
        query: the address's query string, with keys as `address.js` writes them.
        default: stands in for what is missing or makes no sense.
        grids: the query grid of every layer, by name.
        classes: number of classes, 0 for a model without.

    Never raises: numbers out of range go to the nearest end, the rest is as if not there. Without
    `pins` the default's are kept only if the address asks for nothing that they depend on.
    """
    seed = _clamped(query.get("seed"), 0, MAX_SEED)
    label = _clamped(query.get("class"), 0, classes - 1) if classes else None
    truncation = _clamped(query.get("truncation"), 0, 1)
    recipe = Recipe(
        default.recipe.seed if seed is None else int(seed),
        default.recipe.label if label is None else int(label),
        default.recipe.truncation if truncation is None else truncation,
    )
    asked = query.get("layer", "")
    layer = asked if asked in grids else default.layer
    opacity = _clamped(query.get("opacity"), 0, 1)
    view = replace(default, recipe=recipe, layer=layer)
    if opacity is not None:
        view = replace(view, opacity=opacity)
    if query.get("compare") in BASELINES:
        view = replace(view, baseline=query["compare"])  # type: ignore[arg-type]
    if "pins" in query:
        view = replace(view, pins=_pins_from_text(query["pins"], grids[layer]))
    elif (recipe, layer) != (default.recipe, default.layer):
        view = replace(view, pins=())
    return view


def _clamped(text: str | None, low: float, high: float) -> float | None:
    """The number that a text says, moved into a range; None where it says none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else min(max(number, low), high)


def _pins_from_text(text: str, grid: Grid) -> tuple[Pin, ...]:
    """'3.5,0.12' -> ((3, 5), (0, 12)), the first ones where there are too many, none twice."""
    pins: list[Pin] = []
    for part in text[:1000].split(","):
        row, _, col = part.partition(".")
        if not (row.isascii() and row.isdigit() and col.isascii() and col.isdigit()):
            continue
        pin = (min(int(row), grid.height - 1), min(int(col), grid.width - 1))
        if pin not in pins:
            pins.append(pin)
    return tuple(pins[: len(PIN_COLOURS)])


def view_from_browser(state: Any, grids: Mapping[str, Grid]) -> View:
    """The view in what `Explorer.state` in explorer.js sent.

    The recipe's types are checked here, its ranges by `generate`. Raises ValueError, naming what
    is wrong.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"expected the explorer's state, not {type(state).__name__}")
    layer, baseline = state.get("layer"), state.get("baseline")
    opacity, pins = state.get("opacity"), state.get("pins")
    if not isinstance(layer, str) or layer not in grids:
        raise ValueError(f"no attention layer {_short(layer)}; there are {', '.join(grids)}")
    if baseline not in BASELINES:
        raise ValueError(
            f"baseline is {_short(baseline)}; it must be one of {', '.join(BASELINES)}"
        )
    if not _is_number(opacity) or not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {_short(opacity)}; it must be a number from 0 to 1")
    if not isinstance(pins, list) or len(pins) > len(PIN_COLOURS):
        raise ValueError(f"pins must be a list of at most {len(PIN_COLOURS)} (row, col) pairs")
    cells = tuple(_pin(pin, grids[layer]) for pin in pins)
    return View(_recipe(state), layer, cells, baseline, opacity)


def _recipe(state: Mapping[str, Any]) -> Recipe:
    seed, label, truncation = (state.get(name) for name in Recipe._fields)
    if type(seed) is not int:
        raise ValueError(f"seed is {_short(seed)}; it must be a whole number from 0 to {MAX_SEED}")
    if label is not None and type(label) is not int:
        raise ValueError(f"class is {_short(label)}; it must be a class index")
    if not _is_number(truncation):
        raise ValueError(f"truncation is {_short(truncation)}; it must be a number from 0 to 1")
    return Recipe(seed, label, float(truncation))


def _pin(pin: Any, grid: Grid) -> Pin:
    whole = isinstance(pin, list) and len(pin) == 2 and all(type(part) is int for part in pin)
    if not whole or not (0 <= pin[0] < grid.height and 0 <= pin[1] < grid.width):
        raise ValueError(
            f"pin {_short(pin)} is not a (row, col) cell of the {grid.height}x{grid.width} grid"
        )
    return pin[0], pin[1]


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float)


def _short(value: Any) -> str:
    return repr(value)[:60]
