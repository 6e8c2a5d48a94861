"""How good a checkpoint is, and what its attention does: the command.

`python -m sagan_core.evaluate CHECKPOINT --data SOURCE` writes `metrics.json`, `neighbours.png` and
the model card. `quality.py` says what is measured, `metrics.py` how.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from .attention import AttentionField, attention_layers, record_attention
from .card import METRICS, NEIGHBOURS, write_card
from .checkpoint import Checkpoint, load_checkpoint, write_whole
from .classifier import BATCH_SIZE
from .command import command_line, run, whole
from .data import SOURCES, DataError
from .device import hardware, resolve_device
from .inception import download_weights, is_published, load_inception
from .measures import image_changes, summarise
from .quality import (
    COMPARED_SAMPLES,
    INCEPTION_SAMPLES,
    Budget,
    Quality,
    draw_samples,
    finite_or_none,
    mean_or_nan,
    measure_quality,
)
from .reference import RealData, load_real
from .report import ACCURACIES, table
from .sample import MAX_SEED, evaluating, latents

EPOCHS, LEAST_STEPS = 8, 1000
MOST_GAN_TRAIN_SAMPLES = 100_000
ATTENTION_SAMPLES = 256
DOWNLOAD = "download"


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
    checkpoint: Checkpoint,
    real: RealData,
    samples: int,
    budget: Budget,
    inception: nn.Module | None = None,
    inception_samples: int = INCEPTION_SAMPLES,
) -> tuple[dict[str, Any], Image.Image | None]:
    """What `metrics.json` says of the model itself, and samples beside their nearest neighbours.

    `figures` has a `quality.Figure` for every key; `accuracy` (means over classes) and
    `per_class`, from 0 to 1, are there for a class-conditional model; `attention` is
    `measure_attention`; `protocol` says how it was measured and `left_out` what was not, and why.

    Args:
        samples: how many GAN-train trains on.
    """
    attention = measure_attention(checkpoint, seed=budget.seed)
    draw = partial(draw_samples, checkpoint.generator, checkpoint.class_names)
    quality = measure_quality(draw, real, budget, samples, inception, inception_samples)
    found: dict[str, Any] = {
        "figures": {key: asdict(figure) for key, figure in quality.figures.items()},
        "left_out": quality.left_out,
        "attention": attention,
        "protocol": _protocol(real, samples, budget, quality),
    }
    if "real" in quality.per_class:
        found["accuracy"] = {key: mean_or_nan(quality.per_class[key]) for key in ACCURACIES}
        found["per_class"] = {
            name: {key: finite_or_none(values[label]) for key, values in quality.per_class.items()}
            for label, name in enumerate(checkpoint.class_names)
        }
    return found, quality.neighbours


def _protocol(real: RealData, samples: int, budget: Budget, quality: Quality) -> str:
    parts = [
        f"N: {len(real):,} real training images, {len(real.test):,} real test images "
        f"({real.note}); truncation 1; seed {budget.seed}."
    ]
    if real.images.class_names:
        epochs = budget.steps * BATCH_SIZE / len(real)
        parts.append(
            "The classifier is the small CNN of sagan_core/classifier.py, trained for "
            f"{budget.steps:,} batches of {BATCH_SIZE} ({epochs:.3g} epochs of the real images)."
        )
    if "gan_test" in quality.figures:
        parts.append(
            f"{min(samples, COMPARED_SAMPLES):,} samples for GAN-test and {samples:,} for "
            "GAN-train, classes equally frequent; accuracy is the mean over classes. For all "
            "other figures samples have the classes of random training images."
        )
    if "frechet_distance" in quality.figures:
        parts.append(
            "Real images in the samples' place are training images, which the classifier knows. "
            "A Fréchet distance of fewer images (or, within classes, fewer a class) than "
            "features, 128, is too high and compares with none at other numbers."
        )
    if not real.test_is_new:
        parts.append("The generator has seen the test images too.")
    parts.append(f"Attention over {ATTENTION_SAMPLES} samples.")
    return " ".join(parts)


# ---- the command line


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.evaluate",
        description="Measure a checkpoint: GAN-test and GAN-train; Fréchet and kernel distance, "
        "precision, recall, density and coverage in the features of a classifier trained on the "
        "data; memorisation; FID, KID, Inception score and intra-FID where Inception-v3's weights "
        "are given; and what its attention does. Writes metrics.json, neighbours.png and README.md "
        "into its folder.",
        epilog="Example: python -m sagan_core.evaluate checkpoints/fashion-mnist-32 "
        "--data fashion-mnist",
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder")
    add = command.add_argument
    add("--data", required=True, metavar="SOURCE", help=f"what it was trained on: {SOURCES}")
    add(
        "--samples",
        type=whole(1),
        metavar="N",
        help="how many GAN-train trains on (default: as many as real training images, "
        f"{MOST_GAN_TRAIN_SAMPLES:,} at most); the other figures look at {COMPARED_SAMPLES:,}, "
        "or at N",
    )
    add(
        "--epochs",
        type=whole(1),
        metavar="N",
        help="how often a classifier sees the real images; the one trained on samples gets as "
        f"many batches (default {EPOCHS}, or more where that makes under {LEAST_STEPS:,} batches)",
    )
    add(
        "--inception",
        metavar="FILE",
        help="Inception-v3's weights for FID and its like: a .pth of torch-fidelity or the same as "
        f".safetensors; {DOWNLOAD!r} fetches them. Needs the extra 'inception': pip install -r "
        "requirements-inception.txt",
    )
    add(
        "--inception-samples",
        type=whole(2),
        default=INCEPTION_SAMPLES,
        metavar="N",
        help=f"how many samples FID and its like look at, and how many training images "
        f"({INCEPTION_SAMPLES:,}, or as many as there are)",
    )
    add("--seed", type=whole(0, MAX_SEED), default=0, metavar="N", help="of everything (0)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
    add("--threads", type=whole(1), metavar="N", help="CPU threads; by default torch decides")
    return command


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


def open_inception(
    option: str | None, device: torch.device
) -> tuple[nn.Module | None, str | None, str | None]:
    """The network that --inception asks for, what weights it has, or why it is left out.

    Raises InceptionError where what was asked for cannot be used; that there is no network to
    download from only leaves its figures out.
    """
    if option is None:
        return None, None, f"no weights of Inception-v3 were given (--inception FILE or {DOWNLOAD})"
    try:
        file = download_weights() if option == DOWNLOAD else Path(option).expanduser()
    except ConnectionError as error:
        return None, None, str(error)
    network = load_inception(file, device)
    if is_published(file):
        return network, "the weights that torch-fidelity publishes", None
    return network, "other weights than torch-fidelity publishes: compare with no other FID", None


def evaluate_folder(options: argparse.Namespace) -> tuple[dict[str, Any], Image.Image | None]:
    """What the command line asks for: `metrics.json` and `neighbours.png`, not yet written.

    Raises CheckpointError, DataError or ValueError with one line that says what was wrong.
    """
    if options.checkpoint.is_file():
        raise ValueError(
            f"{options.checkpoint} is a file, and what is measured is kept in a checkpoint's "
            f"folder: python -m sagan_core.convert {options.checkpoint} FOLDER makes one of it"
        )
    began = time.monotonic()
    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(options.checkpoint, device)
    config = checkpoint.config
    real = load_real(options.data, config.resolution, config.image_channels)
    check_classes(checkpoint, real)
    inception, weights, reason = open_inception(options.inception, device)
    samples = options.samples or min(len(real), MOST_GAN_TRAIN_SAMPLES)
    steps = math.ceil((options.epochs or EPOCHS) * len(real) / BATCH_SIZE)
    if options.epochs is None:
        steps = max(steps, LEAST_STEPS)
    metrics, neighbours = evaluate(
        checkpoint,
        real,
        samples,
        Budget(steps, options.seed, device),
        inception,
        options.inception_samples,
    )
    if reason:
        metrics["left_out"].append(f"FID, KID, Inception score, intra-FID: {reason}")
    if weights:
        metrics["protocol"] += f" Inception-v3 has {weights}."
    about = {
        **metrics,
        "images": checkpoint.training.get("images"),
        "command": command_line(parser(), options, "checkpoint"),
        "hardware": hardware(device),
        "seconds": round(time.monotonic() - began),
    }
    return about, neighbours


def measure(options: argparse.Namespace) -> None:
    """Print the figures and write them into the checkpoint's folder."""
    metrics, neighbours = evaluate_folder(options)
    print(table(metrics))
    text = json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"
    write_whole(options.checkpoint / METRICS, text.encode())
    if neighbours is not None:
        picture = io.BytesIO()
        neighbours.save(picture, "PNG")
        write_whole(options.checkpoint / NEIGHBOURS, picture.getvalue())
    write_card(options.checkpoint)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    return run(parser(), measure, arguments)


if __name__ == "__main__":
    sys.exit(main())
