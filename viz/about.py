"""What there is to know about a checkpoint, as the page tells it."""

from __future__ import annotations

from typing import Any

from sagan_core.checkpoint import Checkpoint
from sagan_core.engine import AnyDiscriminator, AnyGenerator
from sagan_core.recognised import architecture, gamma_warnings, parameter_count

WEIGHTS = {"averaged": "averaged over training", "raw": "raw, not averaged", "": ""}


def about_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """JSON: what was recognised and why, the networks layer by layer, norms and warnings."""
    networks = [_network("Generator", checkpoint.generator)]
    warnings = gamma_warnings(checkpoint.generator, "generator")
    if checkpoint.discriminator is not None:
        networks.append(_network("Discriminator", checkpoint.discriminator))
        warnings += gamma_warnings(checkpoint.discriminator, "discriminator")
    recognised = checkpoint.recognised
    native = recognised.native_names if recognised else {}
    for network in networks:
        for part in network["parts"]:
            part["native"] = native.get(f"{network['name'].lower()}.{part['name']}", "")
    return {
        "name": checkpoint.name,
        "family": recognised.family if recognised else "SAGAN Lens",
        "reasons": list(recognised.reasons) if recognised else [],
        "weights": WEIGHTS[recognised.weights] if recognised else WEIGHTS["averaged"],
        "resolution": checkpoint.config.resolution,
        "classes": checkpoint.config.classes,
        "networks": networks,
        "norms": dict(recognised.spectral_norms) if recognised else {},
        "warnings": [*(recognised.warnings if recognised else []), *warnings],
    }


def _network(name: str, network: AnyGenerator | AnyDiscriminator) -> dict[str, Any]:
    parts = [part._asdict() for part in architecture(network)]
    return {"name": name, "parameters": parameter_count(network), "parts": parts}
