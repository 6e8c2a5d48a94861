"""Checkpoints, opened for looking: what a source makes, for the page's server and for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagan_core.attention import attention_layers
from sagan_core.checkpoint import Checkpoint
from sagan_core.real import RealImages, read_real
from sagan_core.sample import drawn_label

from .bounded import Bounded
from .dropped import Dropped, Fitted, Shape
from .explorer.packing import pack
from .making import Made, make, subtitle, title
from .networks import Networks
from .openings import read_openings
from .source import Source

MADE_BYTES = 500_000_000
OPENING_SEEDS, LARGE_MODEL = 12, 5_000_000  # parameters


class Workshop:
    """Makes what sources ask for, and keeps the latest. Safe to use from many threads.

    Args:
        checkpoints: opened ones, or folders to open when first asked for.

    Raises ValueError without any.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint | Path]) -> None:
        self.networks = Networks(checkpoints)
        self._made = Bounded[Source, Made](MADE_BYTES, Made.size)
        self._dropped = Dropped()

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
        real = self.real(source.checkpoint)
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

    def beginning(self, name: str = "") -> dict[str, Any]:
        """The part of a state that a checkpoint's page begins with.

        {"source", "layer", "pins"} of the first of its hand-picked openings; without any, the
        source of `opening` alone. Raises ValueError as `opening` and `read_openings` do.
        """
        name = self.networks.full_name(name)
        picked = read_openings(self.networks.checkpoint(name), name)
        if not picked:
            return {"source": self.opening(name).to_json()}
        first = picked[0].to_json()
        source = self.checked(picked[0].source)
        return {"source": source.to_json(), "layer": first["layer"], "pins": first["pins"]}

    def _make(self, source: Source) -> Made:
        pair = self.networks.pair(source.checkpoint, source.weights)
        return make(pair, source, None if source.image is None else self._given(source))

    def _given(self, source: Source) -> Fitted:
        """The image that a source names. Raises LookupError where there is none (any more)."""
        kind, _, name = str(source.image).partition("-")
        if kind == "dropped":
            return self._dropped.find(name, self._shape(source.checkpoint))
        return Fitted(self.real(source.checkpoint).images[int(name)], "")

    def _shape(self, name: str) -> Shape:
        config = self.networks.checkpoint(name).config
        return config.resolution, config.image_channels

    def real(self, name: str) -> RealImages:
        """The real images that come with a checkpoint; none where it has none."""
        checkpoint = self.networks.checkpoint(name)
        return read_real(checkpoint.path, checkpoint.config)

    def described(self, source: Source) -> tuple[bytes, dict[str, Any]]:
        """(content, description) of a checked source's scene, as the explorer reads it."""
        made = self.made(source)
        content, description = pack(made.image, made.fields, made.learnt, made.reference)
        class_names = self.networks.checkpoint(source.checkpoint).class_names
        return content, {
            "source": made.source.to_json(),
            "title": title(made.source, class_names),
            "subtitle": subtitle(made.source, description["layers"]),
            "logit": made.logit,
            "plain_logit": made.plain_logit,
            "fitted": made.fitted,
            "remarks": list(made.remarks),
            **description,
        }
