"""A small checkpoint with hostile names, served as the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import torch

from sagan_core import Checkpoint, Generator, SAGANConfig, SelfAttention
from viz.page import build_page, launch_page

HOSTILE = '<img src=x onerror="window.hacked=1">${window.hacked=2}`{{value}}\''
NAMES = ("Boot", HOSTILE, "Bag")
CONFIG = SAGANConfig(
    resolution=32,
    image_channels=1,
    classes=3,
    latent_size=16,
    width=16,
    attention=(8, 16),
    discriminator_attention=(),
)
FIRST, LAST = "blocks.0.attention", "blocks.1.attention"


def make_generator(config: SAGANConfig) -> Generator:
    """Random weights, with attention that matters and sharp rows."""
    torch.manual_seed(0)
    generator = Generator(config)
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, SelfAttention):
                module.gamma.fill_(0.8)
    return generator.eval()


@contextmanager
def served(checkpoint: Checkpoint) -> Iterator[gr.Blocks]:
    """The page for a checkpoint while it is served; its `address` is where."""
    page = build_page(checkpoint)
    page.address = launch_page(page, wait=False)
    try:
        yield page
    finally:
        page.close()
