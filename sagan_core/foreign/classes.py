"""Names of classes, for models whose files have only their number."""

from __future__ import annotations

from pathlib import Path

CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
IMAGENET = Path(__file__).with_name("imagenet_classes.txt")


def class_names(classes: int, data: str = "") -> tuple[str, ...]:
    """A name per class.

    1,000 classes are ImageNet's, in the order of its synsets' numbers, as all trainers have them;
    10 are CIFAR-10's where the file says so (`data`). Others are numbered.
    """
    if classes == 1000:
        lines = IMAGENET.read_text(encoding="utf-8").splitlines()
        return tuple(line for line in lines if not line.startswith("#"))
    if classes == len(CIFAR10) and "cifar10" in data.lower():
        return CIFAR10
    return tuple(f"class {number}" for number in range(classes))
