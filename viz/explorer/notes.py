"""What is said in words about a layer, beside its picture."""

from __future__ import annotations

import math

from sagan_core.attention import AttentionField

HARDLY_CHANGES = 0.02
"""Below this median ||gamma * out|| / ||x|| a layer is said to hardly change the image. A fiftieth
of the signal is a few of 256 grey levels at most: without the layer the image looks the same."""

MUCH_THE_SAME = 0.2
"""Below this dependence, in nats, the map is said to be much the same from every point. Trained
probes with 0.09 nats showed one map wherever they were asked; from 0.64 nats on maps differed
plainly. A fifth of a nat is nearer to the first."""


def layer_label(field: AttentionField, network: str = "generator") -> str:
    """The layer's name for a person: network and size of its query grid."""
    return f"{network.capitalize()} {field.query_grid.height}×{field.query_grid.width}"


def layer_notes(field: AttentionField, network: str = "generator") -> list[dict[str, str | bool]]:
    """Does the layer matter, and does its map depend on the point? Of the first image.

    Each note is a `text` and whether it is a `warning`: something without which the picture would
    be taken for more than it is.
    """
    share = float(field.update_share()[0].median())
    dependence, most = float(field.dependence()[0]), math.log(math.prod(field.key_grid))
    if share < HARDLY_CHANGES:
        what = "image" if network == "generator" else "verdict"
        size = f"This layer hardly changes the {what}: its update is {share:.1%} of the signal."
    else:
        size = f"The layer's update is {share:.0%} of the signal."
    if dependence < MUCH_THE_SAME:
        own = f"The map is much the same from every point ({dependence:.2f} of {most:.1f} nats)."
    else:
        own = f"The map depends on the point ({dependence:.2f} of {most:.1f} nats)."
    return [
        {"text": size, "warning": share < HARDLY_CHANGES},
        {"text": own, "warning": dependence < MUCH_THE_SAME},
    ]
