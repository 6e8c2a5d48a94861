"""A small classifier that judges samples, its training and its accuracy.

Plain maths on labelled images: nothing here knows of generators. `evaluate.py` asks it both
questions of Shmelkov et al. 2018, *How good is my GAN?*
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .data import ImageSet
from .device import bf16_pays
from .order import ShuffledOrder
from .sample import evaluating

BATCH_SIZE = 128
PEAK_RATE, WARM_UP, MOMENTUM, WEIGHT_DECAY, SMOOTHING = 0.1, 0.25, 0.9, 5e-4, 0.1


class Stage(nn.Module):
    """conv 3x3, BN, ReLU, then a residual conv 3x3, BN, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        x = F.relu(self.norm1(self.conv1(x)))
        return x + F.relu(self.norm2(self.conv2(x)))


class Classifier(nn.Module):
    """Images in [-1, 1] -> class logits, over feature maps from resolution / 2 down to 4x4.

    Each 2x2 pixels become channels first, which makes the network four times cheaper; a map of
    g x g cells has 512 / g channels (16 at least). At 32x32: 32, 64, 128; 289,000 parameters.

    Args:
        image_channels: 1 or 3.
        resolution: height and width in pixels, a power of two from 8.
        classes: number of classes.
    """

    def __init__(self, image_channels: int, resolution: int, classes: int) -> None:
        super().__init__()
        grids = [2**k for k in range(resolution.bit_length() - 2, 1, -1)]
        widths = [4 * image_channels, *(max(16, 512 // grid) for grid in grids)]
        self.stages = nn.ModuleList(Stage(*channels) for channels in pairwise(widths))
        self.to_logits = nn.Linear(widths[-1], classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, R, R) in [-1, 1] -> (B, 128): the last feature map's mean over positions."""
        x = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        for index, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if index else x)
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, R, R) in [-1, 1] -> logits (B, classes)."""
        return self.to_logits(self.features(images))


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device))


def train_classifier(
    data: ImageSet,
    steps: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rows: np.ndarray | None = None,
    batch_size: int = BATCH_SIZE,
    title: str = "classifier",
) -> Classifier:
    """Train a fresh classifier for exactly `steps` batches, so that two of them compare.

    SGD with Nesterov momentum; the rate rises for a quarter of the steps and falls to 0, both
    linearly. No augmentation, as what leaves a class unchanged differs between data sets.

    Args:
        data: images and labels; the logits have one entry per class name.
        seed: of the initial weights and of the order of the images. The same seed gives the same
            weights on the same device with the same number of threads.
        rows: (n,) indices of the images to use; all by default.
        title: of the progress bar.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(data.images.shape[1], data.images.shape[2], len(data.class_names))
    classifier.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(
        classifier.parameters(), PEAK_RATE, MOMENTUM, 0, WEIGHT_DECAY, nesterov=True, fused=True
    )
    chosen = torch.arange(len(data)) if rows is None else torch.from_numpy(rows)
    order = ShuffledOrder(len(chosen), seed)
    with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
        for step in tqdm(range(steps), title, unit="batch", leave=False, disable=None):
            optimiser.param_groups[0]["lr"] = PEAK_RATE * _rate_share(step, steps)
            indices = chosen[order.slice(step * batch_size, batch_size)]
            images, labels = (tensor.to(device) for tensor in data.batch(indices))
            with _autocast(device):
                logits = classifier(images)
            F.cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return classifier.eval()


def _rate_share(step: int, steps: int) -> float:
    """Of the peak learning rate: a triangle over the steps, above 0 at each."""
    place = (step + 1) / (steps + 1)
    return min(place / WARM_UP, (1 - place) / (1 - WARM_UP))


def class_accuracies(classifier: Classifier, data: ImageSet, batch_size: int = 500) -> np.ndarray:
    """Share of each class's images that the classifier gets right, from 0 to 1.

    Returns (classes,) float64, NaN for a class without images. The mean over classes is the
    accuracy on a set where all classes are equally frequent, as they are among our samples.
    """
    device = next(classifier.parameters()).device
    right = np.zeros(len(data), bool)
    with evaluating(classifier), _autocast(device):
        for start in range(0, len(data), batch_size):
            indices = torch.arange(start, min(start + batch_size, len(data)))
            images, labels = data.batch(indices)
            predicted = classifier(images.to(device)).argmax(1).cpu()
            right[indices.numpy()] = (predicted == labels).numpy()
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    hits = np.bincount(data.labels, right, minlength=len(data.class_names))
    return np.where(counts, hits / np.maximum(counts, 1), np.nan)


def classifier_features(
    classifier: Classifier, data: ImageSet, rows: np.ndarray | None = None, batch_size: int = 500
) -> Tensor:
    """`Classifier.features` of a set's images, or of those at `rows`: (n, 128) float32.

    In full precision, as a distance between features should not measure rounding.
    """
    device = next(classifier.parameters()).device
    chosen = torch.arange(len(data)) if rows is None else torch.from_numpy(rows)
    with evaluating(classifier):
        parts = [
            classifier.features(data.batch(indices)[0].to(device))
            for indices in chosen.split(batch_size)
        ]
    return torch.cat(parts)
