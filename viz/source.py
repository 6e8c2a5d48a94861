"""What makes a scene: checkpoint, weights, seed, class, and what is changed in the model.

A source comes from a browser, so everything in it is checked here, as far as it can be without a
model; `Studio` checks the rest against the checkpoint. Equal sources make equal scenes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sagan_core.intervene import Place
from sagan_core.sample import MAX_SEED

GAMMA_LIMIT = 2.0
"""The largest factor on a learnt gamma, either way."""

MOST_LAYERS, MOST_CELLS, LONGEST_NAME = 64, 65_536, 200
DISCRIMINATOR = "discriminator."
IMAGE = re.compile(r"real-[0-9]{1,4}|dropped-[0-9a-f]{32}")


@dataclass(frozen=True)
class Source:
    """What makes a scene. Hashable, and the key under which scenes are kept.

    Attributes:
        checkpoint: a name of the page's list; "" for the first one.
        weights: "trained", "random", or a snapshot's images.
        seed, label, truncation: as of `generate`.
        toward, at: the other end of a path, and how far along it the image is, 0 to 1.
        gamma: (layer, factor on its learnt gamma) pairs, sorted, without factors of 1.
        without: (layer, key cells that may not be looked at), sorted, without empty ones.
        image: "real-<n>" or "dropped-<id>": the discriminator looks at this image, and the
            generator at none.
    """

    checkpoint: str = ""
    weights: str | int = "trained"
    seed: int = 0
    label: int | None = None
    truncation: float = 1.0
    toward: Place | None = None
    at: float = 0.0
    gamma: tuple[tuple[str, float], ...] = ()
    without: tuple[tuple[str, tuple[int, ...]], ...] = ()
    image: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> Source:
        """The source that a browser sent. Raises ValueError, naming what is wrong."""
        record = _record(value, "source")
        image = record.get("image")
        if image is not None and not (isinstance(image, str) and IMAGE.fullmatch(image)):
            raise ValueError(f"image is {short(image)}; it must be null, real-<n> or dropped-<id>")
        toward = record.get("toward")
        return cls(
            checkpoint=_name(record.get("checkpoint", ""), "checkpoint"),
            weights=_weights(record.get("weights", "trained")),
            seed=whole(record.get("seed", 0), "seed", 0, MAX_SEED),
            label=_label(record.get("label")),
            truncation=number(record.get("truncation", 1.0), "truncation", 0, 1),
            toward=None if toward is None else _place(toward),
            at=number(record.get("at", 0.0), "at", 0, 1),
            gamma=_factors(record.get("gamma")),
            without=_cells(record.get("without")),
            image=image,
        )

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads, with every key."""
        toward = self.toward
        return {
            "checkpoint": self.checkpoint,
            "weights": self.weights,
            "seed": self.seed,
            "label": self.label,
            "truncation": self.truncation,
            "toward": None if toward is None else {"seed": toward.seed, "label": toward.label},
            "at": self.at,
            "gamma": dict(self.gamma),
            "without": {layer: list(cells) for layer, cells in self.without},
            "image": self.image,
        }

    @property
    def edited(self) -> bool:
        """Whether anything in the model is changed."""
        return bool(self.gamma or self.without)


def short(value: Any) -> str:
    """A value from outside as a few characters of text, however long, deep or strange it is."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**15 else "a number of too many digits"
    if isinstance(value, str):
        return repr(value[:60])
    return f"a {type(value).__name__}"


def whole(value: Any, name: str, least: int, most: int) -> int:
    """A whole number in a range, as JSON has it. Raises ValueError."""
    # A browser writes 3.0 as 3, and Python reads 3.0 as a float: both are the number three.
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(
            f"{name} is {short(value)}; it must be a whole number from {least} to {most}"
        )
    return value


def number(value: Any, name: str, least: float, most: float) -> float:
    """A finite number in a range, as JSON has it. Raises ValueError."""
    fits = type(value) in (int, float) and least <= value <= most
    if not fits or not math.isfinite(value):
        raise ValueError(f"{name} is {short(value)}; it must be a number from {least} to {most}")
    return float(value)


def _record(value: Any, name: str, most: int = 1000) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or len(value) > most:
        raise ValueError(f"{name} is {short(value)}; it must be an object of at most {most} keys")
    return value


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError(
            f"{name} is {short(value)}; it must be a text of at most {LONGEST_NAME} characters"
        )
    return value


def _weights(value: Any) -> str | int:
    if value in ("trained", "random") and isinstance(value, str):
        return value
    if isinstance(value, str):
        raise ValueError(f"weights is {short(value)}; it must be trained, random or a snapshot's")
    return whole(value, "weights", 0, 2**53)


def _label(value: Any) -> int | None:
    return None if value is None else whole(value, "label", 0, 1_000_000)


def _place(value: Any) -> Place:
    record = _record(value, "toward")
    return Place(
        whole(record.get("seed"), "toward's seed", 0, MAX_SEED), _label(record.get("label"))
    )


def _factors(value: Any) -> tuple[tuple[str, float], ...]:
    record = _record({} if value is None else value, "gamma", MOST_LAYERS)
    factors = {
        _name(layer, "layer"): number(factor, "the factor on gamma", -GAMMA_LIMIT, GAMMA_LIMIT)
        for layer, factor in record.items()
    }
    return tuple(sorted((layer, factor) for layer, factor in factors.items() if factor != 1))


def _cells(value: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    record = _record({} if value is None else value, "without", MOST_LAYERS)
    chosen = {}
    for layer, cells in record.items():
        if not isinstance(cells, list) or len(cells) > MOST_CELLS:
            raise ValueError(
                f"the keys without are {short(cells)}; they must be a list of at most "
                f"{MOST_CELLS} key indices"
            )
        found = {whole(cell, "a key without", 0, MOST_CELLS - 1) for cell in cells}
        chosen[_name(layer, "layer")] = tuple(sorted(found))
    return tuple(sorted((layer, cells) for layer, cells in chosen.items() if cells))
