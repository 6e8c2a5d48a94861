"""Fixtures shared by the browser tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest
from playwright.sync_api import Browser, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny batches on a busy machine: two threads wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium where there is one, else the one that Playwright installed."""
    with sync_playwright() as playwright:
        system = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=system, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The folder of a small checkpoint with everything, under a hostile name."""
    from served import save_tiny

    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "<b>tiny")


@pytest.fixture(scope="session")
def checkpoint(tiny):
    from sagan_core import load_checkpoint

    return load_checkpoint(tiny)


@pytest.fixture(scope="session")
def page(tiny, tmp_path_factory):
    """That checkpoint and one without classes, served as the page."""
    from served import make_generator, served

    from sagan_core import SAGANConfig, load_checkpoint, save_checkpoint

    plain = SAGANConfig(
        resolution=32, width=8, latent_size=8, attention=(16,), discriminator_attention=()
    )
    other = tmp_path_factory.mktemp("more") / "colour"
    save_checkpoint(other, make_generator(plain))
    with served(load_checkpoint(tiny), other) as page:
        yield page
