"""From a source to image, attention and logit; and how a scene is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from sagan_core.attention import AttentionField
from sagan_core.attribution import Probe, probe_image, probe_sample
from sagan_core.intervene import (
    Place,
    Start,
    between,
    can_mix_classes,
    generate_between,
    mixed_classes,
    scaled_gamma,
    without_keys,
)
from sagan_core.sample import Sample, drawn_label, generate, judge

from .networks import Pair
from .source import DISCRIMINATOR, Source, short

if TYPE_CHECKING:
    from .dropped import Fitted

MOST_CLASSES_TO_TRY = 64


@dataclass(frozen=True, eq=False)
class Made:
    """What a source makes. Immutable.

    Attributes:
        source: what made it, the class filled in.
        image: (H, W, 3 or 1) uint8.
        fields: an `AttentionField` per layer: the generator's, unless `image` was given to the
            model, then the discriminator's with "discriminator." in front.
        learnt: the gammas as learnt, by layer.
        reference: the image without what was changed; None where nothing in the generator was.
        logit: the discriminator's; None where there is no discriminator.
        plain_logit: of the reference, by the unchanged discriminator; None where nothing was
            changed.
        fitted: how an image from outside was made to fit, in words.
        remarks: what a person should know of how it was made, in sentences.
    """

    source: Source
    image: np.ndarray
    fields: Mapping[str, AttentionField]
    learnt: Mapping[str, float]
    reference: np.ndarray | None = None
    logit: float | None = None
    plain_logit: float | None = None
    fitted: str = ""
    remarks: tuple[str, ...] = ()

    def size(self) -> int:
        """Bytes of all arrays."""
        return self.image.nbytes + sum(
            tensor.numel() * tensor.element_size()
            for field in self.fields.values()
            for tensor in (field.query, field.key, field.x, field.out, field.value, field.added)
            if tensor is not None
        )

    def dependence(self) -> float:
        """Of the generator's last layer, in nats."""
        layers = [name for name in self.fields if not name.startswith(DISCRIMINATOR)]
        return float(self.fields[layers[-1]].dependence())


def make(pair: Pair, source: Source, given: Fitted | None = None) -> Made:
    """Run the networks, one source at a time.

    Args:
        given: what the discriminator looks at, where the source has an image. A class that is not
            chosen is then the one of the highest logit.

    Raises ValueError for a class out of range, KeyError for an unknown layer, IndexError for keys
    outside a layer's grid.
    """
    _check_layers(pair, source)
    generator, discriminator = pair.generator, pair.discriminator
    if given is not None and discriminator is None:
        raise ValueError("This checkpoint has no discriminator to look at an image.")
    with pair.lock:
        learnt, label = pair.learnt(), source.label
        fields: dict[str, AttentionField] = {}
        if given is None:
            with _changed(generator, source, ""):
                sample = _sample(generator, source)
            image, fields, label = sample.image, dict(sample.fields), sample.label
        else:
            image = given.image
        plain, changed = image, given is None and _changes(source, "generator")
        if changed:
            plain = _sample(generator, source).image
        logit = plain_logit = None
        if discriminator is not None:
            if label is None and discriminator.config.classes:
                label = _likeliest(discriminator, image, source.seed)
                source = replace(source, label=label)
            with _changed(discriminator, source, DISCRIMINATOR):
                judgement = judge(discriminator, image, label)
            logit = judgement.logit
            if source.edited:
                plain_logit = judge(discriminator, plain, label).logit
            fields |= {DISCRIMINATOR + name: field for name, field in judgement.fields.items()}
    reference, fitted = plain if changed else None, "" if given is None else given.words
    remarks = tuple(_remarks(pair, source))
    return Made(source, image, fields, learnt, reference, logit, plain_logit, fitted, remarks)


def _likeliest(discriminator: Any, image: np.ndarray, seed: int) -> int | None:
    """The class of the highest logit; the seed's own where there are too many to try."""
    classes = discriminator.config.classes
    if classes > MOST_CLASSES_TO_TRY:
        return drawn_label(seed, classes)
    return max(range(classes), key=lambda label: judge(discriminator, image, label).logit)


def _remarks(pair: Pair, source: Source) -> Iterable[str]:
    if source.image is None and source.toward is not None:
        differ = source.label != source.toward.label
        if differ and not can_mix_classes(pair.generator):
            yield "This model's classes cannot be mixed: the class changes at the middle."
    if isinstance(source.weights, int) and pair.discriminator is not None:
        yield "Snapshots hold no discriminator: this is the verdict of the final one."


@contextmanager
def probing(pair: Pair, made: Made, layer: str) -> Iterator[Probe]:
    """A layer of what was made, ready to be examined, with the changes of its source.

    While the block runs the networks are locked and changed, as a network must be that cannot be
    examined without being run. Raises what `record_tail` raises.
    """
    source = made.source
    with pair.lock:
        start = _start(pair.generator, source)
        if layer.startswith(DISCRIMINATOR):
            assert pair.discriminator is not None
            given = source.image is not None or start.label is None
            label = source.label if given else start.label
            with _changed(pair.discriminator, source, DISCRIMINATOR):
                name = layer.removeprefix(DISCRIMINATOR)
                yield probe_image(pair.discriminator, made.image, label, name)
            return
        mixed = mixed_classes(pair.generator, *start.mixed) if start.mixed else nullcontext()
        sample = Sample(made.image, made.fields, start.seed, start.label, source.truncation)
        with _changed(pair.generator, source, ""), mixed:
            yield probe_sample(pair.generator, sample, layer, start.z)


def _sample(generator: Any, source: Source) -> Sample:
    if source.toward is None:
        return generate(generator, source.seed, source.label, source.truncation)
    start = Place(source.seed, source.label)
    return generate_between(generator, start, source.toward, source.at, source.truncation)


def _start(generator: Any, source: Source) -> Start:
    if source.toward is None:
        return Start(source.seed, source.label)
    start = Place(source.seed, source.label)
    return between(generator, start, source.toward, source.at, source.truncation)


def _changes(source: Source, network: str) -> bool:
    """Whether anything in that network is changed."""
    names = [name for name, _ in (*source.gamma, *source.without)]
    return any(name.startswith(DISCRIMINATOR) != (network == "generator") for name in names)


def _changed(network: nn.Module, source: Source, prefix: str) -> ExitStack:
    """The source's changes of one network, for a block."""
    with ExitStack() as stack:
        for name, factor in source.gamma:
            if name.startswith(DISCRIMINATOR) == bool(prefix):
                stack.enter_context(scaled_gamma(network, name.removeprefix(prefix), factor))
        for name, cells in source.without:
            if name.startswith(DISCRIMINATOR) == bool(prefix):
                stack.enter_context(without_keys(network, name.removeprefix(prefix), cells))
        return stack.pop_all()


def _check_layers(pair: Pair, source: Source) -> None:
    known = pair.learnt()
    for name, _ in (*source.gamma, *source.without):
        if name not in known:
            raise KeyError(f"no attention layer {short(name)}; there are {', '.join(known)}")


def title(source: Source, class_names: Sequence[str]) -> str:
    """What the image shows, such as its class."""

    def named(label: int | None) -> str:
        return class_names[label] if label is not None and label < len(class_names) else ""

    if source.image is not None:
        kind = "Real image" if source.image.startswith("real") else "Dropped image"
        return f"{kind}: {named(source.label)}" if named(source.label) else kind
    start = named(source.label)
    end = named(source.toward.label) if source.toward is not None else start
    if not start or source.at == 0 or start == end:
        return start or "Generated image"
    return end if source.at == 1 else f"{start} to {end}"


def subtitle(source: Source, layers: Iterable[Mapping[str, Any]]) -> str:
    """What made the image."""
    labels = {layer["name"]: layer["label"] for layer in layers}
    parts = [source.checkpoint]
    if source.weights == "random":
        parts.append("random weights")
    elif source.weights != "trained":
        parts.append(f"after {source.weights:,} images")
    if source.image is None:
        if source.toward is not None and source.at > 0:
            parts.append(f"seed {source.seed} to {source.toward.seed}, {source.at:.0%} of the way")
        else:
            parts.append(f"seed {source.seed}")
        if source.truncation != 1:
            parts.append(f"truncation {source.truncation:g}")
    parts += [f"gamma ×{factor:g} in {labels.get(name, name)}" for name, factor in source.gamma]
    parts += [
        f"{len(cells)} {'key' if len(cells) == 1 else 'keys'} left out in {labels.get(name, name)}"
        for name, cells in source.without
    ]
    return ", ".join(parts)
