"""Images picked from a checkpoint because they show something true, with a sentence each."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sagan_core.checkpoint import Checkpoint

from .source import Source, short, whole

OPENINGS = "openings.json"
LANGUAGES = ("en", "ko")
MOST, MOST_PINS = 12, 8


@dataclass(frozen=True)
class Opening:
    """One of the images that the page offers to begin with.

    Attributes:
        source: what makes the image.
        layer: whose maps are shown.
        pins: (row, col) on the layer's query grid.
        sentence: what to see, by language; "en" is always there.
    """

    source: Source
    layer: str
    pins: tuple[tuple[int, int], ...]
    sentence: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source.to_json(),
            "layer": self.layer,
            "pins": [list(pin) for pin in self.pins],
            "sentence": dict(self.sentence),
        }


def read_openings(checkpoint: Checkpoint, name: str) -> tuple[Opening, ...]:
    """The openings in a checkpoint's `openings.json`; none where it has no such file.

    The file is a list of {"seed", "class" (its name; absent without classes), "truncation",
    "layer", "pins": [[row, col], ...], "sentence": {"en": ..., "ko": ...}}.

    Args:
        name: what the page calls the checkpoint.

    Raises ValueError, naming the file and the entry, for anything else.
    """
    path = Path(checkpoint.path) / OPENINGS
    if not path.is_file():
        return ()
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(records, list) or len(records) > MOST:
        raise ValueError(f"{path} must be a list of up to {MOST} openings")
    openings = []
    for number, record in enumerate(records, 1):
        try:
            openings.append(_opening(record, checkpoint.class_names, name))
        except ValueError as error:
            raise ValueError(f"{path}, opening {number}: {error}") from error
    return tuple(openings)


def _opening(record: Any, class_names: Sequence[str], name: str) -> Opening:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, not {short(record)}")
    label = None
    if class_names:
        if record.get("class") not in class_names:
            raise ValueError(f"there is no class {short(record.get('class'))}")
        label = class_names.index(record["class"])
    sentence, pins, layer = record.get("sentence"), record.get("pins"), record.get("layer")
    if not isinstance(sentence, dict) or not _words(sentence) or "en" not in sentence:
        raise ValueError('"sentence" must hold {"en": words}, and words in "ko" where there are')
    if not isinstance(layer, str):
        raise ValueError(f'"layer" must be the name of a layer, not {short(layer)}')
    if not isinstance(pins, list) or not 1 <= len(pins) <= MOST_PINS:
        raise ValueError(f'"pins" must be 1 to {MOST_PINS} cells [row, column]')
    source = Source.from_json(
        {
            "checkpoint": name,
            "seed": record.get("seed"),
            "label": label,
            "truncation": record.get("truncation", 1.0),
        }
    )
    return Opening(source, layer, tuple(_cell(pin) for pin in pins), sentence)


def _words(sentence: Mapping[Any, Any]) -> bool:
    return all(key in LANGUAGES and isinstance(words, str) for key, words in sentence.items())


def _cell(pin: Any) -> tuple[int, int]:
    if not isinstance(pin, list) or len(pin) != 2:
        raise ValueError(f"a pin is [row, column], not {short(pin)}")
    row, col = (whole(at, "a pin's row or column", 0, 4095) for at in pin)
    return row, col


def picture_address(image: np.ndarray) -> str:
    """An image, (H, W, 3 or 1) uint8, as an address that holds it whole."""
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
