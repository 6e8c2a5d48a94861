"""Is the map of a pin true? What `sagan_core.attribution` finds, for a browser that asks.

A probe, the forward pass of one image up to one layer, is made once and asked for every pin.
"""

from __future__ import annotations

import base64
import math
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sagan_core.attribution import Evidence, Probe, prepare
from sagan_core.deletion import RANDOM_DRAWS
from sagan_core.sample import to_uint8

from .bounded import Bounded
from .kept import Shown
from .making import Made, probing
from .source import Source, short, whole
from .view import Pin
from .workshop import Workshop

CONTROLS = ("none", "random", "shuffled")
PROBE_BYTES, ANSWERS = 1_000_000_000, 512
DIGITS = 6


@dataclass(frozen=True)
class Question:
    """Whose map is tested. Hashable: equal questions have equal answers.

    Attributes:
        source, layer, pin: the image, a layer of it, and a cell of that layer's query grid.
        control: "none"; "random": the same layer with random weights, at the same inputs;
            "shuffled": another point's map in place of the pin's.
    """

    source: Source
    layer: str
    pin: Pin
    control: str


class Truth:
    """Answers what browsers ask about maps, and keeps the latest. Safe to use from many threads.

    Args:
        workshop: makes what is asked about.
    """

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._probes = Bounded[tuple[Source, str, bool], Probe](PROBE_BYTES, _bytes)
        self._preparing, self._prepared = threading.Lock(), False
        self._answers = Bounded[Question, dict[str, Any]](ANSWERS)

    def evidence(self, request: Any) -> dict[str, Any]:
        """What the tests say about the map of one pin, as `evidence_json` has it.

        Args:
            request: {"state": the browser's, "pin": which of its pins, counted from 0, "pane":
                which of its panes, "control": one of `CONTROLS`, null for "none"}. With
                "prepare": true everything is made ready for such a test, and {"ready": true}
                comes back.

        Raises ValueError, LookupError or CheckpointError, in words for a person.
        """
        question, made = self._read(request)
        if request.get("prepare") is True:
            self._prepare()
            self._probe(question, made)
            return {"ready": True}
        return self._answers.obtain(question, lambda: self._answer(question, made))

    def _read(self, request: Any) -> tuple[Question, Made]:
        if not isinstance(request, Mapping):
            raise ValueError(f"expected an object, not {short(request)}")
        control = request.get("control") or "none"
        if not isinstance(control, str) or control not in CONTROLS:
            raise ValueError(f"control is {short(control)}; it must be one of {CONTROLS}")
        shown = Shown.of(self._workshop, request.get("state")).alone(request.get("pane", 0))
        pins = shown.view.pins
        if not pins:
            raise ValueError("Pin a point first: its map is what is tested.")
        pin = pins[whole(request.get("pin", 0), "pin", 0, len(pins) - 1)]
        made = shown.made[0]
        return Question(made.source, shown.layers[0], pin, control), made

    def _answer(self, question: Question, made: Made) -> dict[str, Any]:
        self._prepare()
        shuffled = question.control == "shuffled"
        probe = self._probe(question, made)
        if probe.tail.reason and question.control != "random":
            # It can only be examined by running the network, which must be as the source has it.
            pair = self._workshop.networks.pair(made.source.checkpoint, made.source.weights)
            with probing(pair, made, question.layer) as probe:
                found = probe.examine(question.pin, shuffled=shuffled)
        else:
            found = probe.examine(question.pin, shuffled=shuffled)
        picture = _picture(probe) if question.control == "random" and found.region else None
        return {"control": question.control, "image": picture, **evidence_json(found)}

    def _prepare(self) -> None:
        """What a process's first examination loads, by one thread."""
        with self._preparing:
            if not self._prepared:
                prepare()
            self._prepared = True

    def _probe(self, question: Question, made: Made) -> Probe:
        random = question.control == "random"
        key = (made.source, question.layer, random)
        return self._probes.obtain(key, lambda: self._record(made, question.layer, random))

    def _record(self, made: Made, layer: str, random: bool) -> Probe:
        pair = self._workshop.networks.pair(made.source.checkpoint, made.source.weights)
        with probing(pair, made, layer) as probe:
            return probe.with_random_weights() if random else probe


def evidence_json(found: Evidence) -> dict[str, Any]:
    """Evidence as JSON.

    Maps are in multiples of an even share of all keys, as the page's maps are, so that all of
    them stand on one scale. Effects are in grey levels, from 0 to 255, or in units of the logit.
    What is not defined, such as the correlation with a map of one value, is None.
    """
    size = 255.0 if found.unit == "pixels" else 1.0
    curve, verdict = found.curve, found.verdict
    keys = math.prod(found.maps["attention"].shape)
    top = curve.top.get("attention")
    effects = {
        "layer_effect": _number(size * verdict.layer_effect),
        "least_effect": _number(size * verdict.least_effect),
    }
    figures = {name: _plain(value) for name, value in asdict(verdict).items()}
    return {
        "pin": None if found.pin is None else list(found.pin),
        "grid": list(found.maps["attention"].shape),
        "maps": {name: _numbers(keys * values) for name, values in found.maps.items()},
        "correlations": [[*pair, _number(value)] for pair, value in found.correlations.items()],
        "curve": {
            "sizes": curve.sizes.tolist(),
            "top": None if top is None else _numbers(size * top),
            "nearest": None if curve.nearest is None else _numbers(size * curve.nearest),
            "random": _numbers(size * curve.random_mean),
            "spread": _numbers(size * curve.random_spread),
        },
        "verdict": {**figures, **effects, "words": verdict.words, "draws": RANDOM_DRAWS},
        "unit": "grey levels" if found.unit == "pixels" else "logit",
        "block": found.block,
        "shuffled_from": None if found.shuffled_from is None else list(found.shuffled_from),
        "whole_network": found.whole_network,
        "seconds": _number(found.seconds),
    }


def _picture(probe: Probe) -> dict[str, Any]:
    """The image that a probe's network made."""
    image = to_uint8(probe.tail.output[None])[0]
    height, width, channels = image.shape
    pixels = base64.b64encode(image.tobytes()).decode()
    return {"height": height, "width": width, "channels": channels, "pixels": pixels}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.ravel().tolist()]


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    return _number(value) if isinstance(value, float) else value


def _bytes(probe: Probe) -> int:
    weights = probe.tail.network.parameters()
    return probe.tail.size() + sum(one.numel() * one.element_size() for one in weights)
