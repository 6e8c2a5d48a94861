"""How good a checkpoint is: what a classifier says of its samples, and what its attention does.

`python -m sagan_core.evaluate CHECKPOINT --data SOURCE` writes `metrics.json` and the model card.

GAN-test: a classifier trained on real images is tested on samples; low where samples do not look
like their class. GAN-train: a classifier trained on samples is tested on real images; low also
where samples lack the variety of real ones. Both are read beside real-to-real, the accuracy of
the first classifier on held-out real images.

Source: Shmelkov, Schmid, Alahari 2018, *How good is my GAN?*
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .attention import AttentionField, attention_layers, record_attention
from .card import METRICS, write_card
from .checkpoint import Checkpoint, load_checkpoint, write_whole
from .classifier import BATCH_SIZE, Classifier, class_accuracies, train_classifier
from .data import SOURCES, DataError, ImageSet, has_test_part, load_images
from .device import hardware, resolve_device
from .engine import AnyGenerator
from .measures import image_changes, summarise
from .sample import MAX_SEED, evaluating, generate_images, latents

EPOCHS, LEAST_STEPS = 8, 1000
GAN_TEST_SAMPLES, MOST_GAN_TRAIN_SAMPLES = 10_000, 100_000
ATTENTION_SAMPLES = 256
HELD_OUT_SHARE = 0.1
FIGURES = {"real": "real-to-real", "gan_test": "GAN-test", "gan_train": "GAN-train"}


# ---- real images


@dataclass(frozen=True)
class RealData:
    """Real images for training a classifier and, apart from them, for testing one.

    Attributes:
        images: holds the training images, at `rows` where these are not all of it.
        test: the held-out images.
        rows: (n,) indices into `images`; None for all.
        note: where `test` comes from, in words.
    """

    images: ImageSet
    test: ImageSet
    rows: np.ndarray | None
    note: str

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.images if self.rows is None else self.rows)


def load_real(source: str | Path, resolution: int, channels: int) -> RealData:
    """A data set's training and test part; without a test part a tenth of each class is held out.

    Raises DataError for a source that cannot be used, has no class with two images, or has a
    class in its test part alone.
    """
    images = load_images(source, resolution, "train", channels)
    classes = len(images.class_names)
    if has_test_part(source):
        test = load_images(source, resolution, "test", channels)
        if len(test.class_names) > classes:
            found = len(test.class_names)
            raise DataError(f"{source} has {classes} classes, but {found} in its test part")
        test = replace(test, class_names=images.class_names)
        return RealData(images, test, None, "the data's own test part")
    kept, held = stratified_split(images.labels, HELD_OUT_SHARE)
    if not len(held):
        raise DataError(f"{source} has no class with two images: nothing would be left to test on")
    test = replace(images, images=images.images[held], labels=images.labels[held])
    note = (
        f"{HELD_OUT_SHARE:.0%} of every class, held out from the classifier though not from the "
        "GAN, as the data has no test part"
    )
    return RealData(images, test, kept, note)


def stratified_split(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Row indices (kept, held out), ascending: the same share, rounded up, of every class.

    A class of one image is kept whole. The same labels always give the same rows.
    """
    rng = np.random.default_rng(0)
    held = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        held.append(rows[: math.ceil(share * len(rows)) if len(rows) > 1 else 0])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), out), out


# ---- samples, and what classifiers say of them


@dataclass(frozen=True)
class Budget:
    """How every classifier of one evaluation is trained, so that their figures compare.

    Attributes:
        steps: batches of `classifier.BATCH_SIZE` images.
        seed: of initial weights and order.
    """

    steps: int
    seed: int = 0
    device: torch.device | str = "cpu"


def draw_samples(
    generator: AnyGenerator, class_names: Sequence[str], count: int, seed: int, chunk: int = 1000
) -> ImageSet:
    """`count` samples at truncation 1, the classes equally frequent.

    Classes take turns, so their numbers differ by one at most. Every `seed` draws other latents.
    """
    labels = torch.arange(count) % len(class_names)
    starts = range(0, count, chunk)
    seeds = np.random.SeedSequence(seed).generate_state(len(starts))
    shape = (generator.config.image_channels, *2 * (generator.config.resolution,))
    images = np.empty((count, *shape), np.uint8)
    with tqdm(total=count, desc="samples", unit="img", leave=False, disable=None) as bar:
        for start, chunk_seed in zip(starts, seeds, strict=True):
            part = labels[start : start + chunk]
            drawn = generate_images(generator, part, len(part), int(chunk_seed))
            images[start : start + chunk] = drawn.transpose(0, 3, 1, 2)
            bar.update(len(part))
    return ImageSet(images, labels.numpy(), tuple(class_names), "samples")


def gan_test(judge: Classifier, samples: ImageSet) -> np.ndarray:
    """Per-class accuracy, (classes,), on samples of a classifier trained on real images."""
    return class_accuracies(judge, samples)


def gan_train(samples: ImageSet, test: ImageSet, budget: Budget) -> np.ndarray:
    """Per-class accuracy, (classes,), on real images of a classifier trained on samples."""
    classifier = train_classifier(
        samples, budget.steps, budget.seed, budget.device, title="classifier of samples"
    )
    return class_accuracies(classifier, test)


def judge_samples(
    checkpoint: Checkpoint, real: RealData, samples: int, budget: Budget
) -> dict[str, np.ndarray]:
    """Per-class accuracies, (classes,) each, for the three of `FIGURES`.

    Args:
        samples: how many GAN-train trains on; GAN-test looks at 10,000 others, or as many.
    """
    judge = train_classifier(
        real.images,
        budget.steps,
        budget.seed,
        budget.device,
        real.rows,
        title="classifier of real images",
    )
    generator, names = checkpoint.generator, checkpoint.class_names
    for_test = draw_samples(generator, names, min(samples, GAN_TEST_SAMPLES), 2 * budget.seed)
    for_train = draw_samples(generator, names, samples, 2 * budget.seed + 1)
    return {
        "real": class_accuracies(judge, real.test),
        "gan_test": gan_test(judge, for_test),
        "gan_train": gan_train(for_train, real.test, budget),
    }


# ---- attention


def measure_attention(
    checkpoint: Checkpoint, count: int = ATTENTION_SAMPLES, seed: int = 0, chunk: int = 64
) -> dict[str, dict[str, float]]:
    """`measures.summarise` of every attention layer over `count` samples.

    Of the generator's also `image_change`, `measures.image_changes` over the first `chunk` of them.
    Layers are named as in `history.jsonl`: "generator." or "discriminator." and the module path.
    The discriminator looks at the samples. Empty for a model without attention.
    """
    generator, device = checkpoint.generator, next(checkpoint.generator.parameters()).device
    classes = max(1, generator.config.classes)
    labels = (torch.arange(count) % classes).to(device)
    z = latents(generator, seed, count).to(device)
    networks: dict[str, nn.Module] = {"generator": generator}
    if checkpoint.discriminator is not None:
        networks["discriminator"] = checkpoint.discriminator
    watched = {name: network for name, network in networks.items() if attention_layers(network)}
    parts: dict[str, list[AttentionField]] = {}
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        for name, field in _fields(networks, watched, z[part], labels[part]).items():
            parts.setdefault(name, []).append(field)
    summaries = {name: summarise(_joined(fields)) for name, fields in parts.items()}
    for layer, change in image_changes(generator, z[:chunk], labels[:chunk]).items():
        summaries[f"generator.{layer}"]["image_change"] = change
    return summaries


def _fields(
    networks: Mapping[str, nn.Module], watched: Mapping[str, nn.Module], z: Tensor, labels: Tensor
) -> dict[str, AttentionField]:
    """One pass through the generator and, where it is given, the discriminator."""
    with ExitStack() as contexts:
        for network in networks.values():
            contexts.enter_context(evaluating(network))
        fields = {name: contexts.enter_context(record_attention(n)) for name, n in watched.items()}
        images = networks["generator"](z, labels)
        if "discriminator" in networks:
            networks["discriminator"](images, labels)
    return {f"{name}.{layer}": f for name, layers in fields.items() for layer, f in layers.items()}


def _joined(fields: Sequence[AttentionField]) -> AttentionField:
    """Fields of one layer over several batches as one over all their images."""

    def join(name: str) -> Tensor:
        return torch.cat([getattr(field, name) for field in fields])

    return replace(fields[0], query=join("query"), key=join("key"), x=join("x"), out=join("out"))


# ---- the report


def evaluate(
    checkpoint: Checkpoint, real: RealData, samples: int, budget: Budget
) -> dict[str, Any]:
    """What `metrics.json` says of the model itself.

    `accuracy` (means over classes) and `per_class`, from 0 to 1, are left out for an
    unconditional model; `attention` is `measure_attention`; `protocol` says how it was measured.
    """
    attention = measure_attention(checkpoint, seed=budget.seed)
    looked = f"Attention over {ATTENTION_SAMPLES} samples; seed {budget.seed}."
    if not checkpoint.config.classes:
        return {"attention": attention, "protocol": f"Unconditional: no class figures. {looked}"}
    figures = judge_samples(checkpoint, real, samples, budget)
    per_class = {
        name: {
            figure: None if math.isnan(values[label]) else float(values[label])
            for figure, values in figures.items()
        }
        for label, name in enumerate(checkpoint.class_names)
    }
    epochs = budget.steps * BATCH_SIZE / len(real)
    protocol = (
        f"N: {len(real):,} real training images, {len(real.test):,} real test images "
        f"({real.note}), {min(samples, GAN_TEST_SAMPLES):,} samples for GAN-test and {samples:,} "
        "for GAN-train, classes equally frequent, truncation 1. Accuracy is the mean over "
        f"classes; every classifier is the small CNN of sagan_core/classifier.py, trained for "
        f"{budget.steps:,} batches of {BATCH_SIZE} ({epochs:.3g} epochs of the real images). "
        f"{looked}"
    )
    return {
        "accuracy": {figure: float(np.nanmean(values)) for figure, values in figures.items()},
        "per_class": per_class,
        "attention": attention,
        "protocol": protocol,
    }


def table(metrics: Mapping[str, Any]) -> str:
    """The metrics as lines of text."""
    parts = [metrics["protocol"]]
    if metrics["attention"]:
        parts.insert(0, _attention_table(metrics["attention"]))
    if "accuracy" in metrics:
        parts.insert(0, _accuracy_table(metrics["accuracy"], metrics["per_class"]))
    return "\n\n".join(parts)


def _accuracy_table(
    accuracy: Mapping[str, float], per_class: Mapping[str, Mapping[str, float | None]]
) -> str:
    rows: dict[str, Mapping[str, float | None]] = {**per_class, "mean over classes": accuracy}
    if accuracy["real"]:
        shares = {key: accuracy[key] / accuracy["real"] for key in ("gan_test", "gan_train")}
        rows["of real-to-real"] = {"real": None, **shares}
    texts = {
        name: ["-" if (value := row[key]) is None else f"{value:.1%}" for key in FIGURES]
        for name, row in rows.items()
    }
    return _columns(list(FIGURES.values()), texts)


def _attention_table(layers: Mapping[str, Mapping[str, float]]) -> str:
    texts = {
        name: [
            f"{row['gamma']:+.3f}",
            f"{row['update']:.1%}",
            f"{row['entropy']:.2f} nats",
            f"{row['dependence']:.2f} nats",
            f"{row['effective_keys']:.1f} of {row['keys']:.0f}",
            f"{row['distance']:.2f}",
            f"{row['pairwise']:.0%}",
            f"{row['image_change']:.1f}" if "image_change" in row else "-",
        ]
        for name, row in layers.items()
    }
    titles = "gamma,update,entropy,dependence,effective keys,distance,pairwise,image change"
    return _columns(titles.split(","), texts)


def _columns(titles: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    first = max(map(len, rows))
    width = 2 + max(len(cell) for row in (titles, *rows.values()) for cell in row)
    lines = {"": titles, **rows}
    return "\n".join(
        f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell in row)
        for name, row in lines.items()
    )


# ---- the command line


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.evaluate",
        description="Measure a checkpoint: real-to-real accuracy, GAN-test and GAN-train "
        "(Shmelkov et al. 2018), and what its attention does. Writes metrics.json and README.md "
        "into its folder.",
        epilog="Example: python -m sagan_core.evaluate checkpoints/fashion-mnist-32 "
        "--data fashion-mnist",
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder")
    add = command.add_argument
    add("--data", required=True, metavar="SOURCE", help=f"what it was trained on: {SOURCES}")
    add(
        "--samples",
        type=_whole(1),
        metavar="N",
        help="how many GAN-train trains on (default: as many as real training images, "
        f"{MOST_GAN_TRAIN_SAMPLES:,} at most); GAN-test looks at {GAN_TEST_SAMPLES:,}, or at N",
    )
    add(
        "--epochs",
        type=_whole(1),
        metavar="N",
        help="how often a classifier sees the real images; the one trained on samples gets as "
        f"many batches (default {EPOCHS}, or more where that makes under {LEAST_STEPS:,} batches)",
    )
    add("--seed", type=_whole(0, MAX_SEED), default=0, metavar="N", help="of everything (0)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
    add("--threads", type=_whole(1), metavar="N", help="CPU threads; by default torch decides")
    return command


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number in a range, for argparse."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            upper = "" if most is None else f" to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}{upper}")
        return int(text)

    return number


def check_classes(checkpoint: Checkpoint, real: RealData) -> None:
    """Raises DataError when a conditional model and the data have different numbers of classes.

    Warns on stderr where the names differ, as their order then may too.
    """
    ours, theirs = checkpoint.class_names, real.images.class_names
    if not ours or ours == theirs:
        return
    if len(ours) != len(theirs):
        raise DataError(
            f"the model has {len(ours)} classes and {real.images.source} has {len(theirs)}; "
            "--data takes the set that the model was trained on"
        )
    names = next((a, b) for a, b in zip(ours, theirs, strict=True) if a != b)
    print(
        f"note: the model's class {names[0]!r} is {names[1]!r} in the data; they are taken for "
        "the same",
        file=sys.stderr,
    )


def evaluate_folder(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for: `metrics.json` without having written it.

    Raises CheckpointError, DataError or ValueError with one line that says what was wrong.
    """
    began = time.monotonic()
    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(options.checkpoint, device)
    config = checkpoint.config
    real = load_real(options.data, config.resolution, config.image_channels)
    check_classes(checkpoint, real)
    samples = options.samples or min(len(real), MOST_GAN_TRAIN_SAMPLES)
    steps = math.ceil((options.epochs or EPOCHS) * len(real) / BATCH_SIZE)
    if options.epochs is None:
        steps = max(steps, LEAST_STEPS)
    metrics = evaluate(checkpoint, real, samples, Budget(steps, options.seed, device))
    return {
        **metrics,
        "images": checkpoint.training.get("images"),
        "command": command_line(options),
        "hardware": hardware(device),
        "seconds": round(time.monotonic() - began),
    }


def command_line(options: argparse.Namespace) -> str:
    """The command with every option that is not the default."""
    words = ["python", "-m", "sagan_core.evaluate", str(options.checkpoint)]
    defaults = vars(parser().parse_args(["", "--data", ""]))
    for name, value in vars(options).items():
        if value != defaults[name] and name != "checkpoint":
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    command = parser()
    options = command.parse_args(arguments)
    try:
        metrics = evaluate_folder(options)
        print(table(metrics))
        text = json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"
        write_whole(options.checkpoint / METRICS, text.encode())
        write_card(options.checkpoint)
    except (ValueError, OSError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{command.prog}: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
