"""How good samples are: every figure with what it was measured on.

In the features of a classifier that was trained on the data set: Fréchet and kernel distance,
precision and recall, density and coverage. In Inception-v3's, where its weights are there: FID,
KID, Inception score, intra-FID. Beside them GAN-test, GAN-train and memorisation.

GAN-test: a classifier trained on real images is tested on samples; low where samples do not look
like their class. GAN-train: a classifier trained on samples is tested on real images; low also
where samples lack the variety of real ones. Both are read beside real-to-real, the accuracy of
the first classifier on held-out real images.

Source: Shmelkov, Schmid, Alahari 2018, *How good is my GAN?*; for the others see `metrics.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from .classifier import Classifier, class_accuracies, classifier_features, train_classifier
from .data import ImageSet
from .engine import AnyGenerator
from .inception import inception_features
from .memorisation import Embed, find_neighbours, neighbour_grid, pixels
from .metrics import (
    density_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from .reference import RealData
from .sample import generate_images

COMPARED_SAMPLES, INCEPTION_SAMPLES = 10_000, 50_000
LEAST_COMPARED = 6  # density and coverage ask for the fifth nearest other image
CLASSIFIER, INCEPTION, PIXELS = "classifier of the data set", "Inception-v3", "pixels"


@dataclass(frozen=True)
class Figure:
    """One number, and what it was measured on.

    Attributes:
        value: of the samples.
        real: the same of real images in the samples' place; None where there are none for it.
        samples, real_samples, reference: how many samples, how many real images in their place,
            and how many real images both are compared with: GAN-test's and GAN-train's
            classifiers are trained on, or tested on, these.
        features: the space in which distances are taken.
        seed: of everything drawn for it.
        spread: standard deviation over the parts it is a mean of, where it is one.
    """

    value: float
    real: float | None
    samples: int
    real_samples: int
    reference: int
    features: str
    seed: int
    spread: float | None = None


@dataclass
class Quality:
    """What was found, by the keys of `report.TITLES`; per-class values; what was left out.

    Attributes:
        per_class: (classes,) each: accuracies by the keys of `report.ACCURACIES`, and
            "frechet_distance", NaN for a class without enough images.
        left_out: reasons, one line each.
        neighbours: samples beside their nearest training images.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    per_class: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    neighbours: Image.Image | None = None


@dataclass(frozen=True)
class Budget:
    """How every classifier of one evaluation is trained, so that their figures compare.

    Attributes:
        steps: batches of `classifier.BATCH_SIZE` images.
        seed: of initial weights, order, and everything drawn.
    """

    steps: int
    seed: int = 0
    device: torch.device | str = "cpu"


class Draw(Protocol):
    """Draws `count` samples, for given labels (count,) or with classes equally frequent.

    Without classes the result has no `class_names`. Every seed draws others.
    """

    def __call__(self, count: int, seed: int, labels: np.ndarray | None = None) -> ImageSet: ...


def draw_samples(
    generator: AnyGenerator,
    class_names: Sequence[str],
    count: int,
    seed: int,
    labels: np.ndarray | None = None,
    chunk: int = 1000,
) -> ImageSet:
    """`count` samples at truncation 1, on the path that the page's images take.

    Args:
        class_names: empty for an unconditional model.
        seed: every one draws other latents.
        labels: (count,) class indices; by default classes take turns, so that their numbers
            differ by one at most.
    """
    classes = len(class_names)
    if labels is None or not classes:
        labels = np.arange(count) % max(1, classes)
    starts = range(0, count, chunk)
    seeds = np.random.SeedSequence(seed).generate_state(len(starts))
    shape = (generator.config.image_channels, *2 * (generator.config.resolution,))
    images = np.empty((count, *shape), np.uint8)
    with tqdm(total=count, desc="samples", unit="img", leave=False, disable=None) as bar:
        for start, chunk_seed in zip(starts, seeds, strict=True):
            part = torch.from_numpy(labels[start : start + chunk])
            drawn = generate_images(
                generator, part if classes else None, len(part), int(chunk_seed)
            )
            images[start : start + chunk] = drawn.transpose(0, 3, 1, 2)
            bar.update(len(part))
    return ImageSet(images, labels, tuple(class_names), "samples")


def gan_test(judge: Classifier, samples: ImageSet) -> np.ndarray:
    """Per-class accuracy, (classes,), on samples of a classifier trained on real images."""
    return class_accuracies(judge, samples)


def gan_train(samples: ImageSet, test: ImageSet, budget: Budget) -> np.ndarray:
    """Per-class accuracy, (classes,), on real images of a classifier trained on samples."""
    classifier = train_classifier(
        samples, budget.steps, budget.seed, budget.device, title="classifier of samples"
    )
    return class_accuracies(classifier, test)


def train_judge(real: RealData, budget: Budget) -> Classifier:
    """The classifier of the real images, which is asked about samples and gives the features."""
    return train_classifier(
        real.images,
        budget.steps,
        budget.seed,
        budget.device,
        real.rows,
        title="classifier of real images",
    )


def measure_quality(
    draw: Draw,
    real: RealData,
    budget: Budget,
    gan_train_samples: int,
    inception: nn.Module | None = None,
    inception_samples: int = INCEPTION_SAMPLES,
    judge: Classifier | None = None,
) -> Quality:
    """Everything that this data set and this kind of model allow; the rest is named as left out.

    Args:
        gan_train_samples: how many GAN-train trains on; the figures in the classifier's features
            and GAN-test look at 10,000 others, or as many.
        inception: Inception-v3 (`inception.load_inception`); it looks at `inception_samples`, or
            at as many as there are training images.
        judge: of `train_judge` on the same data, where several generators are measured.
    """
    quality = Quality()
    seeds = range(4 * budget.seed, 4 * budget.seed + 4)
    # Samples get the classes of random training images, so that their mix is the data's.
    rows = real.some_rows(min(gan_train_samples, COMPARED_SAMPLES), budget.seed)
    samples = draw(len(rows), seeds[0], real.images.labels[rows])
    spaces: dict[str, tuple[str, Embed]] = {"pixels": (PIXELS, pixels)}
    if real.images.class_names:
        judge = judge or train_judge(real, budget)
        spaces["features"] = CLASSIFIER, partial(classifier_features, judge)
        compare_features(quality, judge, real, samples, rows, budget.seed)
        if samples.class_names:
            for_test, for_train = draw(len(rows), seeds[1]), draw(gan_train_samples, seeds[2])
            judge_samples(quality, judge, real, for_test, for_train, budget)
        else:
            quality.left_out.append("GAN-test and GAN-train: the model is unconditional")
    else:
        quality.left_out.append(
            "figures in a classifier's features, GAN-test and GAN-train: the data has no classes"
        )
    measure_memorisation(quality, real, samples, spaces, budget.seed)
    if inception is not None:
        count = min(inception_samples, len(real))
        rows = real.some_rows(count, budget.seed)
        samples = draw(count, seeds[3], real.images.labels[rows])
        compare_with_inception(quality, inception, real, samples, rows, budget.seed)
    return quality


def judge_samples(
    quality: Quality,
    judge: Classifier,
    real: RealData,
    for_test: ImageSet,
    for_train: ImageSet,
    budget: Budget,
) -> None:
    """Real-to-real, GAN-test and GAN-train: the accuracy of every class, and the means."""
    accuracies = {
        "real": class_accuracies(judge, real.test),
        "gan_test": gan_test(judge, for_test),
        "gan_train": gan_train(for_train, real.test, budget),
    }
    quality.per_class |= accuracies
    means = {key: mean_or_nan(values) for key, values in accuracies.items()}
    counts = {
        "gan_test": (len(for_test), len(real.test), len(real)),
        "gan_train": (len(for_train), len(real), len(real.test)),
    }
    for key, numbers in counts.items():
        quality.figures[key] = Figure(
            means[key], finite_or_none(means["real"]), *numbers, CLASSIFIER, budget.seed
        )


def compare_features(
    quality: Quality,
    judge: Classifier,
    real: RealData,
    samples: ImageSet,
    rows: np.ndarray,
    seed: int,
) -> None:
    """Distances to the test images in a classifier's features.

    Args:
        rows: the training images that stand in the samples' place for comparison.
    """
    rows = np.unique(rows)
    counts = len(samples), len(rows), len(real.test)
    if min(counts) < LEAST_COMPARED:
        quality.left_out.append(
            f"distances in the classifier's features: of {min(counts)} images they say nothing"
        )
        return
    reference = classifier_features(judge, real.test)
    compared = classifier_features(judge, samples), classifier_features(judge, real.images, rows)
    found = [feature_figures(reference, features) for features in compared]
    if samples.class_names:
        labels = samples.labels, real.images.labels[rows]
        within = [
            class_distances(reference, real.test.labels, features, own, len(samples.class_names))
            for features, own in zip(compared, labels, strict=True)
        ]
        quality.per_class["frechet_distance"] = within[0]
        if np.isfinite(within[0]).any():
            for figures, distances in zip(found, within, strict=True):
                figures["class_frechet_distance"] = mean_or_nan(distances)
    ours, theirs = found
    for key, value in ours.items():
        quality.figures[key] = Figure(value, finite_or_none(theirs[key]), *counts, CLASSIFIER, seed)


def feature_figures(reference: Tensor, features: Tensor) -> dict[str, float]:
    """What compares two sets, (N, D) and (M, D), by the keys of `report.TITLES`."""
    precision, recall = precision_recall(reference, features)
    density, coverage = density_coverage(reference, features)
    return {
        "frechet_distance": frechet_distance(reference, features),
        "kernel_distance": kernel_distance(reference, features),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }


def class_distances(
    reference: Tensor,
    reference_labels: np.ndarray,
    features: Tensor,
    labels: np.ndarray,
    classes: int,
) -> np.ndarray:
    """Fréchet distance within every class: (classes,), NaN where either has fewer than two images.

    Source: the intra-FID of Miyato and Koyama 2018, *cGANs with Projection Discriminator*.
    """
    distances = np.full(classes, np.nan)
    for label in range(classes):
        parts = reference[reference_labels == label], features[labels == label]
        if min(map(len, parts)) > 1:
            distances[label] = frechet_distance(*parts)
    return distances


def measure_memorisation(
    quality: Quality,
    real: RealData,
    samples: ImageSet,
    spaces: Mapping[str, tuple[str, Embed]],
    seed: int,
) -> None:
    """How close samples come to training images, in several spaces; the grid is of pixels."""
    if len(real.images) < 2:
        quality.left_out.append("memorisation: there is one training image alone")
        return
    for name, (title, embed) in spaces.items():
        found = find_neighbours(real, samples, embed, seed)
        counts = len(found.distances), len(found.baseline), len(real.images)
        copies, as_real = found.copies
        quality.figures[f"closer_{name}"] = Figure(found.closer, 0.5, *counts, title, seed)
        quality.figures[f"copies_{name}"] = Figure(copies, as_real, *counts, title, seed)
        if embed is pixels:
            quality.neighbours = neighbour_grid(real, samples, found)


def compare_with_inception(
    quality: Quality,
    network: nn.Module,
    real: RealData,
    samples: ImageSet,
    rows: np.ndarray,
    seed: int,
) -> None:
    """FID, KID, Inception score and intra-FID of samples to the training images at `rows`.

    As usual, the reference is the training images; the test images stand in the samples' place
    for comparison, though mostly fewer, which alone makes their FID higher.
    """
    counts = len(samples), len(real.test), len(rows)
    if min(counts) < 2:
        quality.left_out.append(f"FID and its like: of {min(counts)} images they say nothing")
        return
    reference, _ = inception_features(network, real.images, rows, "training images")
    ours, our_logits = inception_features(network, samples, title="samples")
    theirs, their_logits = inception_features(network, real.test, title="test images")

    def add(key: str, value: float, of_real: float | None, spread: float | None = None) -> None:
        figure = Figure(value, of_real, *counts, INCEPTION, seed, spread)
        quality.figures[key] = figure

    add("fid", frechet_distance(reference, ours), frechet_distance(reference, theirs))
    add("kid", kernel_distance(reference, ours), kernel_distance(reference, theirs))
    splits = min(10, *map(len, (ours, theirs)))
    score, spread = inception_score(our_logits, splits, seed)
    add("inception_score", score, inception_score(their_logits, splits, seed)[0], spread)
    if not samples.class_names:
        quality.left_out.append("intra-FID: the model is unconditional")
        return
    own, classes = real.images.labels[rows], len(samples.class_names)
    within = class_distances(reference, own, ours, samples.labels, classes)
    of_real = class_distances(reference, own, theirs, real.test.labels, classes)
    if np.isfinite(within).any():
        add("intra_fid", mean_or_nan(within), finite_or_none(mean_or_nan(of_real)))
    else:
        quality.left_out.append("intra-FID: no class has two images")


def mean_or_nan(values: np.ndarray) -> float:
    """Mean of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
