"""A small checkpoint with hostile names, served as the page."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import torch

from sagan_core import (
    Checkpoint,
    Discriminator,
    Generator,
    SAGANConfig,
    SelfAttention,
    save_checkpoint,
)
from sagan_core.checkpoint import HISTORY, save_snapshot
from viz.page import build_page, launch_page

HOSTILE = '<img src=x onerror="window.hacked=1">${window.hacked=2}`{{value}}\''
NAMES = ("Boot", HOSTILE, "Bag")
SNAPSHOTS = (1000, 2000, 3000)
CONFIG = SAGANConfig(
    resolution=32,
    image_channels=1,
    classes=3,
    latent_size=16,
    width=16,
    attention=(8, 16),
    discriminator_attention=(16,),
)
FIRST, LAST = "blocks.0.attention", "blocks.1.attention"


def with_gamma(network: torch.nn.Module, gamma: float) -> torch.nn.Module:
    """The network in eval mode with this gamma in all of its attention layers."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, SelfAttention):
                module.gamma.fill_(gamma)
    return network.eval()


def make_generator(config: SAGANConfig, seed: int = 0, gamma: float = 0.8) -> Generator:
    """Random weights, with attention that matters and sharp rows."""
    torch.manual_seed(seed)
    generator = Generator(config)
    with_gamma(generator, gamma)
    return generator


def save_tiny(folder: Path) -> Path:
    """A checkpoint with everything: hostile names, a discriminator, snapshots, real images."""
    generator = make_generator(CONFIG)
    torch.manual_seed(1)
    discriminator = Discriminator(CONFIG)
    with_gamma(discriminator, 0.5)
    save_checkpoint(folder, generator, discriminator, NAMES, {"images": SNAPSHOTS[-1]})
    lines = []
    for number, images in enumerate(SNAPSHOTS):
        one = copy.deepcopy(generator)
        with torch.no_grad():
            for weight in one.parameters():
                weight.mul_(1 + 0.1 * (len(SNAPSHOTS) - number))
        save_snapshot(folder, one, images)
        lines.append({"images": images, "loss_generator": 0.1, "loss_discriminator": 1.0 / images})
    (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    np.savez_compressed(folder / "real.npz", images=images, labels=np.array([2, 0]))
    return folder


@contextmanager
def served(*checkpoints: Checkpoint | Path, port: int | None = None) -> Iterator[gr.Blocks]:
    """The page for checkpoints while it is served; its `address` is where."""
    page = build_page(checkpoints)
    page.address = launch_page(page, port=port, wait=False)
    try:
        yield page
    finally:
        page.close()


def post(page: gr.Blocks, body: str | bytes, timeout: float = 30) -> httpx.Response:
    """Send the explorer's server functions anything at all, as any client can."""
    address = f"{page.address.rstrip('/')}/gradio_api/component_server"
    headers = {"Content-Type": "application/json"}
    return httpx.post(address, content=body, headers=headers, timeout=timeout)


def ask(page: gr.Blocks, function: str, argument: Any) -> Any:
    """What a server function answers; `argument` may hold what JSON should not, such as NaN."""
    explorer = next(key for key, block in page.blocks.items() if block.elem_id == "explorer")
    body = {
        "data": argument,
        "fn_name": function,
        "component_id": explorer,
        "session_hash": "anyone",
    }
    response = post(page, json.dumps(body))
    assert response.status_code == 200, response.text[:500]
    return response.json()
