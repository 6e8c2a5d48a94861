"""The still figure: an image with its query points, and the image under each point's map.

Laid out like figures 1 and 5 of Zhang et al. 2018. What is shown is decided here, `drawing.py`
draws it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sagan_core.attention import AttentionField, Grid
from sagan_core.sample import Sample

from .colour import PIN_COLOURS, scale_top
from .data import attention_field, checked_pins
from .drawing import DOTS_PER_INCH, draw
from .lettering import FAMILY, legible
from .view import BASELINES, Baseline, Pin

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


def figure(
    sample: Sample,
    layer: str,
    pins: Iterable[Sequence[int]],
    *,
    baseline: Baseline = "uniform",
    opacity: float = 0.7,
    caption: str = "",
) -> StillFigure:
    """The paper's figure of one image: its query points, and one panel per point.

    Args:
        sample: what `sagan_core.generate` gave.
        layer: name of the layer to look at, one of `sample.fields`.
        pins: (row, col) cells of that layer's query grid, one to as many as there are pin colours.
        baseline: what 1x stands for: "uniform" attention, or the "average" point's row.
        opacity: of the map over the image, from 0 to 1.
        caption: first line of the caption, such as the names of checkpoint and class; any text.

    Raises KeyError for an unknown layer, IndexError for a pin outside the grid, ValueError for
    no or too many pins and for anything else out of range.
    """
    field = attention_field(sample, layer)
    cells = checked_pins(field, pins)
    if not 1 <= len(cells) <= len(PIN_COLOURS):
        raise ValueError(f"{len(cells)} pins; a figure takes from 1 to {len(PIN_COLOURS)}")
    if baseline not in BASELINES:
        raise ValueError(f"baseline is {baseline!r}; it must be one of {', '.join(BASELINES)}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; it must be from 0 to 1")
    maps = np.stack([multiples(field, cell, baseline) for cell in cells])
    return StillFigure(
        image=sample.image,
        pins=tuple(cells),
        query_grid=field.query_grid,
        maps=maps,
        top=scale_top(maps),
        baseline=baseline,
        opacity=opacity,
        title=caption,
        facts=facts(sample, layer),
    )


def multiples(field: AttentionField, pin: Pin, baseline: Baseline) -> np.ndarray:
    """One pin's map (H', W') as multiples of uniform attention or of the average point's row.

    A key at which no point looks counts as 1 against the average, as `multiples` in maths.js has
    it. Of the first image of the batch.
    """
    row = field.attended_by(*pin)[0].double().cpu().numpy()
    if baseline == "uniform":
        return row * row.size
    average = field.mean_row()[0].double().cpu().numpy()
    return np.divide(row, average, out=np.ones_like(row), where=average > 0)


def facts(sample: Sample, layer: str) -> str:
    """What made the picture, in one line: enough to make it again."""
    field = sample.fields[layer]
    queries, keys = (f"{grid.height}×{grid.width}" for grid in (field.query_grid, field.key_grid))
    parts = [
        f"seed {sample.seed}",
        f"truncation {sample.truncation:g}",
        f"{layer}, {queries} queries, {keys} keys",
        f"gamma {field.gamma:.3g}",
    ]
    if sample.label is not None:
        parts.insert(0, f"class {sample.label}")
    return " · ".join(parts)


@dataclass(frozen=True, eq=False)
class StillFigure:
    """A finished figure, to be written in any of the formats. In a notebook it shows itself.

    Attributes:
        image: (H, W, 3 or 1) uint8.
        pins: (row, col) cells of `query_grid`.
        maps: (pins, H', W') multiples of the baseline.
        top: the multiple at the top of the colour scale that all panels share.
        title, facts: the caption, above the legend; the title may be empty.
    """

    image: np.ndarray
    pins: tuple[Pin, ...]
    query_grid: Grid
    maps: np.ndarray
    top: float
    baseline: Baseline
    opacity: float
    title: str
    facts: str

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
        with _drawing, _settings():
            title = ", ".join(legible(line) for line in (self.title, self.facts) if line)
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
def _settings() -> Iterator[None]:
    """Only our own keys are set and put back: `rc_context` would undo other threads' changes."""
    from matplotlib import rcParams

    before = {name: rcParams[name] for name in _SETTINGS}
    try:
        rcParams.update(_SETTINGS)
        yield
    finally:
        rcParams.update(before)
