"""How far convolution reaches: the cells of an attention layer that one pixel can still draw on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sagan_core.sample import latents
from sagan_core.tail import record_tail

from .source import DISCRIMINATOR, Source, short
from .workshop import Workshop


def reach(workshop: Workshop, request: Any) -> dict[str, Any]:
    """{"top", "left", "rows", "cols", "grid"} in cells: the part of a layer that one pixel sees.

    The pixel in the middle of the image, and the cells on which it depends. Counted from the
    operations that follow the layer in the network itself, whatever its weights.

    Args:
        request: {"checkpoint": its name, "layer": one of its generator's}.

    Raises ValueError or LookupError, in words for a person.
    """
    if not isinstance(request, Mapping):
        raise ValueError(f"expected an object, not {short(request)}")
    source = workshop.checked(Source.from_json({"checkpoint": request.get("checkpoint") or ""}))
    pair = workshop.networks.pair(source.checkpoint, "trained")
    layer = request.get("layer")
    known = [name for name in pair.learnt() if not name.startswith(DISCRIMINATOR)]
    if layer not in known:
        raise LookupError(f"no attention layer {short(layer)}; there are {', '.join(known)}")
    generator = pair.generator
    device = next(generator.parameters()).device
    label = torch.zeros(1, dtype=torch.long, device=device) if generator.config.classes else None
    with pair.lock:
        tail = record_tail(generator, layer, latents(generator, 0, 1).to(device), label)
    height, width = tail.output.shape[-2:]
    middle = (height // 2, height // 2 + 1), (width // 2, width // 2 + 1)
    (top, bottom), (left, right) = tail.crop(middle).source
    return {
        "top": top,
        "left": left,
        "rows": bottom - top,
        "cols": right - left,
        "grid": list(tail.attended.shape[-2:]),
    }
