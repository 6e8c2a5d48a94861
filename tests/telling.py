"""A small checkpoint without training whose attention layers matter in the image and the logit."""

from __future__ import annotations

from pathlib import Path

import torch
from served import with_gamma

from sagan_core import Checkpoint, Discriminator, Generator, SAGANConfig
from sagan_core.state import calibrate

CONFIG = SAGANConfig(
    resolution=32, width=8, classes=3, attention=(8, 16), discriminator_attention=(8,)
)
LAYER, OF_D = "blocks.1.attention", "discriminator.blocks.1.attention"


def telling_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    generator, discriminator = Generator(CONFIG), Discriminator(CONFIG)
    with_gamma(generator, 1.5)
    calibrate(generator, 8, 2)
    with torch.no_grad():
        for module in discriminator.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(1.5)
    return Checkpoint(
        generator.eval(),
        with_gamma(discriminator, 3),
        ("one", "two", "three"),
        {},
        Path("telling"),
    )
