"""The still figure: an image with its query points, and the image under each point's map.

Laid out like figures 1 and 5 of Zhang et al. 2018. What is shown is decided here, `drawing.py`
draws it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sagan_core.attention import AttentionField, Grid
from sagan_core.sample import Sample

from .colour import PIN_COLOURS, scale_top
from .data import attention_field, checked_pins
from .drawing import draw
from .layout import DOTS_PER_INCH
from .lettering import FAMILY, legible
from .maps import maps_of
from .suggestions import suggested_pins
from .view import LOOK_OPTIONS, Look, Pin, default_layer, same_place

# What can only be set for the whole process. The first four decide what is in the file, the rest
# would let a person's own style into it.
_SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType; many publishers refuse the default, Type 3
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sagan-lens",
    "svg.image_inline": True,
    "svg.id": None,
    "pdf.compression": 6,
    "pdf.inheritcolor": False,
    "pdf.use14corefonts": False,
    "savefig.bbox": None,
    "savefig.transparent": False,
    "path.effects": [],
    "path.sketch": None,
}
_SVG_FONT = f"font-family: '{FAMILY}'".encode()
_drawing = threading.Lock()


@dataclass(frozen=True, eq=False)
class Pane:
    """One image to draw, and which of its layers to look at.

    Attributes:
        image: (H, W, 3 or 1) uint8.
        fields: what each layer did, by name; before any knock-out.
        layer: one of them.
        title: such as the names of checkpoint and class; any text, may be empty.
        facts: what made the image, in one line; any text.
        changes: what is not as the model learnt it (gamma, knocked-out cells, path); any text.
        without: by layer, key cells that were knocked out, as row-major positions.
        kind: what the image is, in two words.
    """

    image: np.ndarray
    fields: Mapping[str, AttentionField]
    layer: str
    title: str = ""
    facts: str = ""
    changes: str = ""
    without: Mapping[str, Collection[int]] = field(default_factory=dict)
    kind: str = "generated image"


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """One layer's panels.

    Attributes:
        name, facts: the layer's, in words.
        pins: (row, col) cells of `query_grid`.
        query_grid, key_grid: the layer's.
        maps: (pins, h, w) multiples of the baseline, on the key grid or, where the figure shows who
            looked at the pins, on the query grid.
    """

    name: str
    facts: str
    pins: tuple[Pin, ...]
    query_grid: Grid
    key_grid: Grid
    maps: np.ndarray


@dataclass(frozen=True, eq=False)
class Block:
    """One image with its panels and its caption: `title`, then `lines`. `kind` says what it is."""

    image: np.ndarray
    kind: str
    layers: tuple[LayerMaps, ...]
    title: str
    lines: tuple[str, ...]


def figure(
    sample: Sample,
    layer: str | None = None,
    pins: Iterable[Sequence[int]] | None = None,
    *,
    look: Look | None = None,
    all_layers: bool = False,
    caption: str = "",
    changes: str = "",
    without: Mapping[str, Collection[int]] | None = None,
    **options: Any,
) -> StillFigure:
    """The paper's figure of one image: its query points, and one panel per point.

    Args:
        sample: what `sagan_core.generate` gave.
        layer: name of the layer to look at, one of `sample.fields`; by default the last.
        pins: (row, col) cells of that layer's query grid, one to as many as there are pin colours;
            by default three whose maps are worth comparing.
        look: how maps are computed and drawn.
        all_layers: one row of panels for each layer, under the same pins.
        caption: first line of the caption, such as the names of checkpoint and class; any text.
        changes: what in the sample is not as the model learnt it; any text.
        without: by layer, key cells that were knocked out, as row-major positions.
        options: single options of the look, such as `baseline="average"` or `opacity=0.5`.

    Raises KeyError for an unknown layer, IndexError for a pin outside the grid, ValueError for
    no or too many pins and for anything else out of range, TypeError for an unknown option.
    """
    unknown = sorted(options.keys() - set(LOOK_OPTIONS))
    if unknown:
        raise TypeError(f"figure() has no option {unknown[0]!r}; a look has {LOOK_OPTIONS}")
    look = replace(look or Look(), **options)
    layer = default_layer(sample.fields) if layer is None else layer
    attention = attention_field(sample.fields, layer)
    chosen = suggested_pins(attention, sample.image) if pins is None else pins
    pane = Pane(
        sample.image, sample.fields, layer, caption, sample_facts(sample), changes, without or {}
    )
    return panes_figure([pane], chosen, look, all_layers)


def panes_figure(
    panes: Sequence[Pane],
    pins: Iterable[Sequence[int]],
    look: Look | None = None,
    all_layers: bool = False,
) -> StillFigure:
    """Images one under the other, with the same pins and on one scale.

    Args:
        panes: one or more.
        pins: (row, col) cells of the first pane's layer's query grid; on any other layer the cell
            at the same place of the image is asked.
        look, all_layers: as for `figure`.

    Raises what `figure` raises.
    """
    look = look or Look()
    first = attention_field(panes[0].fields, panes[0].layer)
    cells = checked_pins(first, pins)
    if not 1 <= len(cells) <= len(PIN_COLOURS):
        raise ValueError(f"{len(cells)} pins; a figure takes from 1 to {len(PIN_COLOURS)}")
    blocks = tuple(_block(pane, cells, first.query_grid, look, all_layers) for pane in panes)
    top = scale_top([one for block in blocks for layer in block.layers for one in layer.maps])
    return StillFigure(blocks, look, top)


def _block(pane: Pane, cells: Sequence[Pin], grid: Grid, look: Look, all_layers: bool) -> Block:
    attention_field(pane.fields, pane.layer)
    layers = []
    for name in pane.fields if all_layers else [pane.layer]:
        attention = pane.fields[name]
        pins = tuple(same_place(cell, grid, attention.query_grid) for cell in cells)
        maps = maps_of(attention, pins, look, pane.without.get(name, ()))
        facts = layer_facts(name, attention)
        queries, keys = attention.query_grid, attention.key_grid
        layers.append(LayerMaps(name, facts, pins, queries, keys, maps))
    said = [pane.facts] if len(layers) > 1 else [pane.facts, layers[0].facts]
    line = " · ".join(part for part in said if part)
    lines = tuple(part for part in (line, pane.changes) if part)
    return Block(pane.image, pane.kind, tuple(layers), pane.title, lines)


def layer_facts(name: str, attention: AttentionField) -> str:
    """A layer in one line."""
    grids = (attention.query_grid, attention.key_grid)
    queries, keys = (f"{grid.height}×{grid.width}" for grid in grids)
    return f"{name}, {queries} queries, {keys} keys · gamma {attention.gamma:.3g}"


def sample_facts(sample: Sample) -> str:
    """What made an image, in one line: enough to make it again."""
    parts = [f"seed {sample.seed}", f"truncation {sample.truncation:g}"]
    if sample.label is not None:
        parts.insert(0, f"class {sample.label}")
    return " · ".join(parts)


@dataclass(frozen=True, eq=False)
class StillFigure:
    """A finished figure, to be written in any of the formats. In a notebook it shows itself.

    Attributes:
        blocks: one per image.
        look: how they are drawn.
        top: the multiple at the top of the scale of colours that all panels share; with the look's
            scale "own" each panel's is that of `top_of`.
    """

    blocks: tuple[Block, ...]
    look: Look
    top: float

    def top_of(self, multiples: np.ndarray) -> float:
        """The upper end of the scale of the panel that shows this map."""
        return scale_top([multiples]) if self.look.scale == "own" else self.top

    @property
    def panels(self) -> int:
        """How many there are on the page."""
        return sum(len(layer.pins) for block in self.blocks for layer in block.layers)

    def save(self, path: str | Path) -> None:
        """Write a .png (300 dots per inch), .pdf or .svg file. The same figure, the same bytes.

        Raises ValueError for another suffix, OSError where the file cannot be written.
        """
        path = Path(path)
        path.write_bytes(self.render(path.suffix.lower().removeprefix(".")))

    def render(self, kind: str) -> bytes:
        """The content of a file; `kind` is "png", "pdf" or "svg". Any thread may call it.

        Raises ValueError for another kind.
        """
        if kind not in _METADATA:
            raise ValueError(
                f"cannot write a figure as {kind or 'a file without suffix'!r}; "
                f"the file name must end in {', '.join(f'.{known}' for known in _METADATA)}"
            )
        file = io.BytesIO()
        with rendering():
            title = " | ".join(
                ", ".join(legible(line) for line in (block.title, *block.lines) if line)
                for block in self.blocks
            )
            metadata = _METADATA[kind](title)
            draw(self).savefig(
                file, format=kind, dpi=DOTS_PER_INCH, facecolor="white", metadata=metadata
            )
        if kind == "svg":  # for a machine without the font: Verdana has the same widths
            return file.getvalue().replace(_SVG_FONT, _SVG_FONT + b", Verdana, sans-serif")
        return file.getvalue()

    def _repr_png_(self) -> bytes:
        return self.render("png")


# Without the time of day, and without matplotlib's version, so that the bytes stay the same.
_METADATA: dict[str, Callable[[str], dict[str, Any]]] = {
    "png": lambda title: {"Title": title, "Software": "SAGAN Lens"},
    "pdf": lambda title: {"Title": title, "Creator": "SAGAN Lens", "CreationDate": None},
    "svg": lambda title: {"Title": title, "Creator": "SAGAN Lens", "Date": None},
}


@contextmanager
def rendering() -> Iterator[None]:
    """Matplotlib as files of ours are written with it, for one thread at a time."""
    with _drawing, _settings():
        yield


@contextmanager
def _settings() -> Iterator[None]:
    """Only our own keys are set and put back: `rc_context` would undo other threads' changes."""
    from matplotlib import rcParams

    before = {name: rcParams[name] for name in _SETTINGS}
    try:
        rcParams.update(_SETTINGS)
        yield
    finally:
        rcParams.update(before)
