"""Addresses on a hub: what they mean, and what is fetched. No test here reaches for a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sagan_core import CheckpointError
from sagan_core.foreign.hub import parse, wanted_files

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"


def test_addresses():
    assert parse("hub:me/sagan") == ("me/sagan", None)
    assert parse("hub:me/sagan.v2:runs/G_ema.pth") == ("me/sagan.v2", "runs/G_ema.pth")
    file = "model=G-best-weights-step=88000.pth"
    assert parse(f"hub:me/studio:{file}") == ("me/studio", file)
    for wrong in ("hub:", "hub:me", "hub:me/a/b", "hub:me/sagan:", "hub:me/sagan:../G.pth"):
        with pytest.raises(CheckpointError, match="is no address; expected hub:OWNER"):
            parse(wrong)


def test_what_is_fetched_of_a_repository():
    def files(*listed):
        return wanted_files("hub:me/sagan", listed)

    ours = ("README.md", "config.json", "generator.safetensors", "snapshots/1.safetensors")
    assert files(*ours) == ["config.json", "generator.safetensors"]
    pair = ("config.json", "pytorch_model.bin", "tf_model.ckpt")
    assert files(*pair) == ["pytorch_model.bin", "config.json"]
    assert files("G_ema.pth", "README.md") == ["G_ema.pth"]
    with pytest.raises(CheckpointError, match=r"2 files of weights \(G.pth, G_ema.pth\); name one"):
        files("G.pth", "G_ema.pth")
    with pytest.raises(CheckpointError, match="0 files of weights"):
        files("README.md")


def opened(address, cache):
    """Open an address in a process of its own, whose hub is out of reach."""
    code = """
import sys
from sagan_core import CheckpointError, open_checkpoint
try:
    checkpoint = open_checkpoint(sys.argv[1])
    print(checkpoint.name, checkpoint.recognised.family, checkpoint.config.resolution)
except CheckpointError as error:
    print("refused:", error)
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, address],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=True,
    ).stdout.strip()


def test_a_file_that_was_fetched_before_opens_without_a_network(tmp_path):
    repository = tmp_path / "models--me--deep"
    revision = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    shutil.copytree(GOLDEN / "hf_biggan_deep" / "G", repository / "snapshots" / revision)
    found = opened("hub:me/deep:pytorch_model.bin", tmp_path)
    assert found == "me/deep pytorch-pretrained-BigGAN 64"


def test_a_hub_out_of_reach_is_said(tmp_path):
    assert "the hub is out of reach" in opened("hub:me/deep:G.pth", tmp_path)
    assert opened("hub:me/deep", tmp_path).startswith("refused: hub:me/deep could not be fetched")
