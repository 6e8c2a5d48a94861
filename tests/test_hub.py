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


@pytest.fixture
def cache(tmp_path):
    """A repository that was fetched before."""
    repository, revision = tmp_path / "models--me--deep", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    golden = ROOT / "tests" / "golden" / "hf_biggan_deep" / "G"
    (repository / "snapshots" / revision).mkdir(parents=True)
    for name in ("pytorch_model.bin", "config.json"):
        shutil.copy(golden / name, repository / "snapshots" / revision)
    return tmp_path


def test_without_a_network_what_was_fetched_before_opens_and_the_rest_is_refused(cache):
    code = """
import sys
from sagan_core import CheckpointError, open_checkpoint
for address in sys.argv[1:]:
    try:
        checkpoint = open_checkpoint(address)
        print(checkpoint.name, checkpoint.recognised.family, checkpoint.config.resolution)
    except CheckpointError as error:
        print(error)
"""
    addresses = [
        "hub:me/deep:pytorch_model.bin",
        "hub:me/deep",
        "hub:me/deep:G.pth",
        "hub:me/other",
    ]
    # Nothing listens at that port.
    away = {"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    printed = subprocess.run(
        [sys.executable, "-c", code, *addresses],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | away,
        check=True,
    ).stdout.splitlines()
    opened, reason = "me/deep pytorch-pretrained-BigGAN 64", "the hub is out of reach"
    assert printed[:2] == [opened, opened]
    assert [line.endswith(reason) for line in printed[2:]] == [True, True]
