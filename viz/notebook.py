"""The explorer in a notebook: live, without a server."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sagan_core.checkpoint import Checkpoint
from sagan_core.sample import Sample

from .data import attention_field, checked_pins
from .explorer.packing import pack
from .kept import Shown, facts, kept_page
from .lab import default_state, lab_of
from .source import Source
from .standalone import standalone_page
from .view import LOOK_OPTIONS, Look, default_layer
from .workshop import Workshop


@dataclass(frozen=True, repr=False)
class Exploration:
    """A live explorer of one image as one HTML page. In a notebook it shows itself.

    Attributes:
        page: the text of the page; it needs neither server nor network.
        height: of the frame in the notebook, in CSS pixels.
    """

    page: str
    height: int = 900

    def save(self, path: str | Path) -> None:
        """Write the page to a file that opens from the disk.

        Raises ValueError for a name that does not end in .html, OSError where it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"cannot write {path.name!r}: the file name must end in .html")
        path.write_text(self.page, encoding="utf-8")

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" title="SAGAN Lens" '
            f'style="width: 100%; height: {self.height}px; border: 0" '
            'sandbox="allow-scripts"></iframe>'
        )

    def __repr__(self) -> str:
        return f"Exploration({len(self.page):,} characters of HTML; .save(path) writes them)"


def explore(
    shown: Sample | Checkpoint | str | Path,
    layer: str | None = None,
    pins: Iterable[Sequence[int]] | None = None,
    *,
    seed: int = 0,
    label: int | None = None,
    truncation: float = 1.0,
    title: str = "",
    height: int = 900,
    **options: Any,
) -> Exploration:
    """The explorer of one image, to hover over, to pin, and to save.

    Args:
        shown: what `sagan_core.generate` gave; or a checkpoint or its folder, from which an image
            is made, and whose discriminator then is there, too.
        layer: name of the layer to open with; by default the generator's last.
        pins: (row, col) cells of that layer's query grid; by default three worth comparing.
        seed, label, truncation: of the image that a checkpoint makes, as of `generate`.
        title: over a sample's image, such as its class; any text.
        height: of the frame in a notebook, in CSS pixels.
        options: single options of the look, such as `baseline="average"` or `arrows=True`.

    Raises KeyError for an unknown layer, IndexError for a pin outside its grid, ValueError for
    anything else out of range and for a model without attention, TypeError for an unknown option.
    """
    unknown = sorted(options.keys() - set(LOOK_OPTIONS))
    if unknown:
        raise TypeError(f"explore() has no option {unknown[0]!r}; a look has {LOOK_OPTIONS}")
    look = Look(**options)
    if isinstance(shown, Sample):
        return Exploration(_page_of_sample(shown, layer, pins, look, title), height)
    workshop = Workshop([Path(shown) if isinstance(shown, str) else shown])
    source = {"seed": seed, "label": label, "truncation": truncation}
    first = Shown.of(workshop, {"source": source})
    fields = first.made[0].fields
    name = layer or first.view.layer
    attention = attention_field(fields, name)
    cells = first.view.pins
    if pins is not None:
        cells = tuple(checked_pins(attention, pins))
    elif name != first.view.layer:
        cells = Shown.of(workshop, {"source": source, "layer": name}).view.pins
    view = replace(first.view, layer=name, pins=cells, look=look)
    return Exploration(kept_page(workshop, Shown(first.made, (name,), view)), height)


def _page_of_sample(
    sample: Sample,
    layer: str | None,
    pins: Iterable[Sequence[int]] | None,
    look: Look,
    title: str,
) -> str:
    """The page of a sample alone: of what made it only seed, class and truncation are known."""
    name = default_layer(sample.fields) if layer is None else layer
    attention = attention_field(sample.fields, name)
    content, description = pack(sample.image, sample.fields)
    own = next(one for one in description["layers"] if one["name"] == name)
    if pins is not None:
        own = {**own, "suggested": [list(pin) for pin in checked_pins(attention, pins)]}
    source = Source(
        "sample", seed=sample.seed, label=sample.label, truncation=float(sample.truncation)
    )
    scene = {
        "source": source.to_json(),
        "title": title or "Generated image",
        "subtitle": facts(source).replace(" · ", ", "),
        "logit": None,
        "plain_logit": None,
        "fitted": "",
        "remarks": [],
        **description,
    }
    lab = {
        "checkpoint": "sample",
        "checkpoints": ["sample"],
        "class_names": [],
        "snapshots": [],
        "real": 0,
        "discriminator": False,
        **lab_of(description["layers"], scene["source"]),
    }
    state = {**default_state(scene["source"], own), **vars(look)}
    return standalone_page(lab, scene, content, state, title or "SAGAN Lens")
