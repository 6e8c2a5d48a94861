"""What a person looks at, and how it is drawn: the part of the browser's state that needs no model.

The browser owns the state and sends it, as JSON, when something is saved; a recipe on disk holds
the same. Which image is meant (`source`, `other`) is read by whoever makes images.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

from sagan_core.attention import Grid

from .colour import COLOUR_MAPS, PIN_COLOURS

Pin = tuple[int, int]
Direction = Literal["from", "to"]
Measure = Literal["attention", "value"]
Baseline = Literal["uniform", "average"]
Scale = Literal["shared", "own"]
Style = Literal["overlay", "mask"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

CHOICES: Mapping[str, tuple[str, ...]] = {
    "direction": get_args(Direction),
    "measure": get_args(Measure),
    "baseline": BASELINES,
    "scale": get_args(Scale),
    "colours": COLOUR_MAPS,
    "style": get_args(Style),
}
RANGES: Mapping[str, tuple[float, float]] = {"temperature": (0.1, 10.0), "opacity": (0.0, 1.0)}
SWITCHES = ("log", "smooth", "arrows")


class Recipe(NamedTuple):
    """What makes an image: `sagan_core.generate(generator, *recipe)`."""

    seed: int
    label: int | None
    truncation: float


@dataclass(frozen=True)
class Look:
    """How maps are computed and drawn; `maps.py` has the rules for the first four.

    Attributes:
        direction: "from" asks where a point looked, "to" who looked at this point.
        measure: "attention", or "value": attention times the length of what the value adds.
        baseline: what 1x stands for: "uniform" attention, or the "average" point's row.
        temperature: 0.1 to 10, of the softmax; other than 1 it is a what-if.
        scale: one "shared" scale for all panels, or each panel's "own".
        log: colours follow the logarithm, from a hundredth of the scale's top to its top.
        colours: "inferno", "viridis" or "cividis".
        opacity: of the map over the image, 0 to 1; in the mask style, of the dimming.
        style: "overlay" of colours, or "mask": the image dimmed where attention is not.
        smooth: interpolate between cells instead of drawing each as the region it is.
        arrows: draw them between a pin and the most attended regions.

    Raises ValueError, naming what is wrong, for a value of the wrong type or out of range.
    """

    direction: Direction = "from"
    measure: Measure = "attention"
    baseline: Baseline = "uniform"
    temperature: float = 1.0
    scale: Scale = "shared"
    log: bool = False
    colours: str = "inferno"
    opacity: float = 0.7
    style: Style = "overlay"
    smooth: bool = False
    arrows: bool = False

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name} is {short(value)}; it must be one of {', '.join(known)}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not is_number(value) or not low <= value <= high:
                raise ValueError(
                    f"{name} is {short(value)}; it must be a number from {low:g} to {high:g}"
                )
            object.__setattr__(self, name, float(value))
        for name in SWITCHES:
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"{name} is {short(value)}; it must be true or false")


LOOK_OPTIONS = tuple(option.name for option in fields(Look))


@dataclass(frozen=True)
class View:
    """Where a person looks, and how.

    Attributes:
        layer: whose attention is shown.
        pins: (row, col) cells of that layer's query grid.
        other_layer: the second pane's layer; None for the same.
        all_layers: show every layer of the image, one row of panels for each.
    """

    layer: str
    pins: tuple[Pin, ...] = ()
    other_layer: str | None = None
    all_layers: bool = False
    look: Look = field(default_factory=Look)


def view_from_state(
    state: Any, grids: Mapping[str, Grid], other_grids: Mapping[str, Grid] | None = None
) -> View:
    """The view in a state that the browser sent, or a recipe holds.

    Args:
        state: JSON of a state. Missing keys have their defaults; keys that are not about the view,
            such as `source`, are left to others.
        grids: the query grid of every layer, by name, in order.
        other_grids: the same for the second pane; where there is none, `grids`.

    Raises ValueError, naming what is wrong.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"expected a state as a JSON object, not {type(state).__name__}")
    layer = _layer(state.get("layer", default_layer(grids)), "layer", grids)
    other = state.get("other_layer")
    if other is not None:
        other = _layer(other, "other_layer", other_grids or grids)
    all_layers = state.get("all_layers", False)
    if not isinstance(all_layers, bool):
        raise ValueError(f"all_layers is {short(all_layers)}; it must be true or false")
    pins = state.get("pins", [])
    if not isinstance(pins, list) or len(pins) > len(PIN_COLOURS):
        raise ValueError(f"pins must be a list of at most {len(PIN_COLOURS)} [row, col] pairs")
    cells = tuple(_pin(pin, grids[layer]) for pin in pins)
    look = Look(**{name: state[name] for name in LOOK_OPTIONS if name in state})
    return View(layer, cells, other, all_layers, look)


def default_layer(grids: Mapping[str, Any]) -> str:
    """The generator's last layer, as in the paper's figure 5; else the last there is.

    Raises ValueError where there is no layer.
    """
    if not grids:
        raise ValueError("this model has no attention layer to look at")
    generators = [name for name in grids if not name.startswith("discriminator.")]
    return (generators or list(grids))[-1]


def same_place(cell: Pin, of: Grid, on: Grid) -> Pin:
    """The cell of the grid `on` in which the centre of a cell of the grid `of` lies.

    Both grids cover the same image. A centre on an edge belongs to the cell below, or right of it.
    """
    row, col = cell
    return (2 * row + 1) * on.height // (2 * of.height), (2 * col + 1) * on.width // (2 * of.width)


def _layer(name: Any, key: str, grids: Mapping[str, Grid]) -> str:
    if not isinstance(name, str) or name not in grids:
        raise ValueError(f"{key}: no attention layer {short(name)}; there are {', '.join(grids)}")
    return name


def _pin(pin: Any, grid: Grid) -> Pin:
    whole = isinstance(pin, list) and len(pin) == 2 and all(type(part) is int for part in pin)
    if not whole or not (0 <= pin[0] < grid.height and 0 <= pin[1] < grid.width):
        raise ValueError(
            f"pin {short(pin)} is not a [row, col] cell of the {grid.height}x{grid.width} grid"
        )
    return pin[0], pin[1]


def is_number(value: object) -> bool:
    """Is it a finite real number, and no truth value?"""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return isinstance(value, numbers.Integral) or math.isfinite(value)


def short(value: object) -> str:
    """A value as it may stand in a message: never long, whatever it is."""
    if isinstance(value, (list, tuple)):
        inner = ", ".join("[...]" if isinstance(part, list) else short(part) for part in value[:4])
        return f"[{inner}{', ...' if len(value) > 4 else ''}]"
    if isinstance(value, int) and abs(value) >= 10**20:  # Python refuses to write very long ones
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (int, float, str)) or value is None:
        return repr(value[:60] if isinstance(value, str) else value)
    return f"a {type(value).__name__}"
