"""The sentences under a still figure that say what its colours mean."""

from __future__ import annotations

from .colour import LOG_SPAN
from .maps import ARROW_LEAST, ARROWS
from .view import Baseline, Direction, Look

MEANINGS: dict[tuple[Direction, Baseline], str] = {
    ("from", "uniform"): "multiples of uniform attention: at 1× a point looks everywhere alike.",
    ("from", "average"): "multiples of the average point's attention: at 1× a point looks like "
    "the others.",
    ("to", "uniform"): "how much each point looked at the outlined cell, in multiples of uniform "
    "attention.",
    ("to", "average"): "how much each point looked at the outlined cell, in multiples of the "
    "average point's attention.",
}


def legend(look: Look, panels: int) -> str:
    """What the colours of `panels` panels mean, what is a what-if, and how the scale runs."""
    shows = "Colours show" if look.style == "overlay" else "Brightness shows"
    sentences = [f"{shows} {MEANINGS[look.direction, look.baseline]}"]
    if look.measure == "value":
        sentences.append(
            "Attention is weighted by the length of what each key's value adds after the output "
            "convolution."
        )
    if look.scale == "own":
        sentences.append("Own scale: each panel ends at a multiple of its own.")
    elif panels > 1:
        sentences.append("One scale for all panels.")
    if look.log:
        sentences.append(f"The scale is logarithmic, from 1/{LOG_SPAN:g} of its top.")
    if look.smooth:
        sentences.append("Smoothed between cells.")
    if look.arrows:
        ends = "lead to" if look.direction == "from" else "come from"
        sentences.append(
            f"Arrows {ends} up to {ARROWS} peaks of {ARROW_LEAST:g}× or more; wider means more."
        )
    return " ".join(sentences)


def what_if(look: Look) -> str:
    """Says that the maps are not what the model computed; empty where they are."""
    if look.temperature == 1:
        return ""
    return (
        f"What-if: softmax at temperature {look.temperature:g}. The model's own is 1; with that it "
        "made this image."
    )
