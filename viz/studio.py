"""What the page's server does: scenes from sources, and what a checkpoint has to offer.

There is no session state. The browser owns what is shown; a scene follows from its source alone,
is shared by all who ask for it, is kept for a while and made again when it is gone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagan_core.attention import attention_layers
from sagan_core.checkpoint import Checkpoint
from sagan_core.real import RealImages, read_real
from sagan_core.sample import MAX_SEED, drawn_label

from . import published
from .bounded import Bounded
from .colour import PIN_COLOUR_NAMES, PIN_COLOURS, colour_table
from .curves import curves
from .dropped import Dropped, Fitted, Shape
from .explorer.packing import pack
from .making import Made, make, subtitle, title
from .networks import Networks
from .source import Source

SCENES, MADE_BYTES = 512, 500_000_000
OPENING_SEEDS, LARGE_MODEL = 12, 5_000_000  # parameters
COLOURS = ("inferno", "viridis", "cividis")


class Studio:
    """Checkpoints, opened for looking. Its methods may be called from many threads at once.

    `scene`, `lab`, `drop` and `timeline` take and return JSON as it travels between browser and
    server; for a request that makes no sense they return {"error": words}. `made` gives a script
    the numbers.

    Args:
        checkpoints: opened ones, or folders to open when first asked for; the first opens the page.

    Raises ValueError for a first checkpoint without any attention.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint | Path]) -> None:
        self.networks = Networks(checkpoints)
        self._made = Bounded[Source, Made](MADE_BYTES, Made.size)
        self._scenes = Bounded[Source, dict[str, Any]](SCENES, leaving=_withdraw)
        self._dropped = Dropped()
        self._labs = Bounded[str, dict[str, Any]](64)
        published.clear()
        self._lab("")

    # ---- What a browser asks for

    def scene(self, source: Any) -> dict[str, Any]:
        """The scene of a source, or {"error": words}."""
        return answer(lambda: self._scene(self.checked(Source.from_json(source))))

    def lab(self, name: Any) -> dict[str, Any]:
        """What a checkpoint offers (a name of the list, or null for the first), or an error."""
        return answer(lambda: self._lab(Source.from_json({"checkpoint": name or ""}).checkpoint))

    def drop(self, request: Any) -> dict[str, Any]:
        """{"image", "fitted"} of an uploaded image {"path", "name"}, or {"error": words}."""
        return answer(lambda: self._drop(request))

    def timeline(self, request: Any) -> dict[str, Any]:
        """{"figure", "snapshots"} of {"checkpoint"}: how training went, or {"error": words}."""
        return answer(lambda: self._timeline(Source.from_json(request).checkpoint))

    # ---- What a script asks for

    def checked(self, source: Source) -> Source:
        """The source as it is kept: every name known, the class filled in.

        Raises ValueError, LookupError or CheckpointError for what the checkpoint does not have.
        """
        name = self.networks.full_name(source.checkpoint)
        checkpoint = self.networks.checkpoint(name)
        source = replace(source, checkpoint=name)
        classes = checkpoint.config.classes
        if source.image is not None:
            return self._with_image(source)
        if source.toward is not None and source.toward.label is None:
            label = drawn_label(source.toward.seed, classes)
            source = replace(source, toward=replace(source.toward, label=label))
        if source.label is None:
            source = replace(source, label=drawn_label(source.seed, classes))
        return source

    def _with_image(self, source: Source) -> Source:
        """The source with a real image's own class, where none is chosen."""
        kind, _, number = str(source.image).partition("-")
        if kind != "real":
            return source
        real = self._real(source.checkpoint)
        if int(number) >= len(real):
            raise LookupError(
                f"no image {source.image}: {source.checkpoint} comes with {len(real)} real images"
            )
        if source.label is None and self.networks.checkpoint(source.checkpoint).config.classes:
            source = replace(source, label=int(real.labels[int(number)]))
        return source

    def made(self, source: Source) -> Made:
        """Image, fields and logit of a checked source, made now unless they are kept."""
        return self._made.obtain(source, lambda: self._make(source))

    def opening(self, name: str = "") -> Source:
        """Of the first seeds, the one whose last layer's map depends most on the point.

        A large model, slow to sample, opens on seed 0. Raises ValueError for a model without
        attention.
        """
        name = self.networks.full_name(name)
        checkpoint = self.networks.checkpoint(name)
        plain = self.checked(Source(checkpoint=name))
        if not attention_layers(checkpoint.generator):
            if checkpoint.discriminator is None or not attention_layers(checkpoint.discriminator):
                raise ValueError(
                    f"{name}: it has no attention layer to look at; train one with --attention"
                )
            return plain
        small = sum(p.numel() for p in checkpoint.generator.parameters()) < LARGE_MODEL
        seeds = range(OPENING_SEEDS if small else 1)
        sources = [self.checked(Source(checkpoint=name, seed=seed)) for seed in seeds]
        return max(sources, key=lambda source: self.made(source).dependence())

    # ---- How

    def _make(self, source: Source) -> Made:
        pair = self.networks.pair(source.checkpoint, source.weights)
        return make(pair, source, None if source.image is None else self._given(source))

    def _given(self, source: Source) -> Fitted:
        """The image that a source names. Raises LookupError where there is none (any more)."""
        kind, _, name = str(source.image).partition("-")
        if kind == "dropped":
            return self._dropped.find(name, self._shape(source.checkpoint))
        return Fitted(self._real(source.checkpoint).images[int(name)], "")

    def _shape(self, name: str) -> Shape:
        config = self.networks.checkpoint(name).config
        return config.resolution, config.image_channels

    def _real(self, name: str) -> RealImages:
        checkpoint = self.networks.checkpoint(name)
        return read_real(checkpoint.path, checkpoint.config)

    def _drop(self, request: Any) -> dict[str, Any]:
        # Fitted for every checkpoint at once, since the file itself is not kept.
        shapes = {name: self._shape(name) for name in self.networks.names}
        name, fitted = self._dropped.add(request, shapes.values())
        first = shapes[self.networks.names[0]]
        return {"image": f"dropped-{name}", "fitted": fitted[first].words}

    def _timeline(self, name: str) -> dict[str, Any]:
        name = self.networks.full_name(name)
        checkpoint = self.networks.checkpoint(name)
        labels = {layer["name"]: layer["label"] for layer in self._lab(name)["layers"]}
        snapshots = list(checkpoint.snapshots())
        return {"figure": curves(checkpoint.history(), snapshots, labels), "snapshots": snapshots}

    def _scene(self, source: Source) -> dict[str, Any]:
        found = self._scenes.find(source)
        if found is not None and published.touch(Path(found["file"]["path"])):
            return found
        self._scenes.forget(source)
        return self._scenes.obtain(source, lambda: self._publish(source))

    def _publish(self, source: Source) -> dict[str, Any]:
        made = self.made(source)
        content, description = pack(made.image, made.fields, made.learnt, made.reference)
        path = published.publish(content)
        class_names = self.networks.checkpoint(source.checkpoint).class_names
        return {
            "id": path.stem,
            "source": made.source.to_json(),
            "file": {"path": str(path)},
            "title": title(made.source, class_names),
            "subtitle": subtitle(made.source, description["layers"]),
            "logit": made.logit,
            "plain_logit": made.plain_logit,
            "fitted": made.fitted,
            "remarks": list(made.remarks),
            **description,
        }

    def _lab(self, name: str) -> dict[str, Any]:
        name = self.networks.full_name(name)
        return self._labs.obtain(name, lambda: self._describe(name))

    def _describe(self, name: str) -> dict[str, Any]:
        checkpoint = self.networks.checkpoint(name)
        opening = self.opening(name)
        layers = self._scene(opening)["layers"]
        kept = ("name", "label", "network", "gamma", "query_grid", "key_grid")
        own = [layer for layer in layers if layer["network"] == "generator"] or layers
        return {
            "checkpoint": name,
            "checkpoints": self.networks.names,
            "class_names": list(checkpoint.class_names),
            "snapshots": list(checkpoint.snapshots()),
            "real": len(self._real(name)),
            "discriminator": checkpoint.discriminator is not None,
            "layers": [{key: layer[key] for key in kept} for layer in layers],
            "colours": {
                name: base64.b64encode(colour_table(name).tobytes()).decode() for name in COLOURS
            },
            "pin_colours": [
                {"colour": colour, "name": name}
                for colour, name in zip(PIN_COLOURS, PIN_COLOUR_NAMES, strict=True)
            ],
            "max_seed": MAX_SEED,
            "defaults": _defaults(opening, own[-1]),  # the last layer, as in the paper's figure 5
        }


def _defaults(opening: Source, layer: dict[str, Any]) -> dict[str, Any]:
    """The state that a page without anything in its address opens with."""
    return {
        "source": opening.to_json(),
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
        "colours": COLOURS[0],
        "opacity": 0.7,
        "style": "overlay",
        "smooth": False,
        "arrows": False,
    }


def _withdraw(scene: dict[str, Any]) -> None:
    published.withdraw(Path(scene["file"]["path"]))


def answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result, or {"error": words} for a request that makes no sense."""
    try:
        return work()
    except LookupError as error:  # str() of a KeyError is in quotes
        return {"error": str(error.args[0]) if error.args else "There is no such thing."}
    except (ValueError, RecursionError) as error:
        return {"error": str(error)}
