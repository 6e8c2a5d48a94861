"""The house in order: which way imports run, what README and checkpoints promise."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sagan_core import load_checkpoint
from sagan_core.evaluate import measure_attention

ROOT = Path(__file__).parent.parent
CHECKPOINTS = sorted(path.parent for path in (ROOT / "checkpoints").glob("*/config.json"))


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def test_the_core_knows_no_page():
    for file in (ROOT / "sagan_core").rglob("*.py"):
        found = set(imported(file)) & {"gradio", "plotly", "viz", "app", "matplotlib", "captum"}
        if file.name == "attribution.py":  # late, in functions: see below, and its own test
            found -= {"captum"}
        assert not found, f"{file.name} imports {found}"
    code = "import sagan_core, sagan_core.run, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()
    slow = {"gradio", "plotly", "matplotlib", "captum", "viz", "accelerate", "datasets"}
    assert not slow & set(loaded)


def test_the_readmes_python_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {
        "images": torch.zeros(2, 1, 32, 32),
        "z": torch.zeros(2, 64),
        "labels": torch.tensor([0, 1]),
    }
    exec(code, names)
    assert names["sample"].image.shape == (32, 32, 1)
    assert names["images"].shape == (2, 1, 32, 32)
    assert list(names["fields"]) == ["blocks.0.attention"]


def test_every_file_that_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text()
    tree = text.split("## What is where")[1].split("```")[1]
    folders = [ROOT / name for name in ("sagan_core", "viz", "benchmarks", "tests")]
    there = {path.name for folder in folders for path in folder.rglob("*.py")}
    for name in re.findall(r"\b\w+\.py\b", tree):
        assert name in there or (ROOT / name).is_file(), name
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda path: path.name)
def test_shipped_checkpoints_open_and_are_what_their_card_says(folder):
    checkpoint = load_checkpoint(folder)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "state.pt"]
    assert max(path.stat().st_size for path in files) < 10_000_000
    snapshots = checkpoint.snapshots()
    assert len(snapshots) >= 8
    assert min(snapshots) == 0
    for images in snapshots:
        checkpoint.load_snapshot(images)
    card = (folder / "README.md").read_text()
    measured = measure_attention(checkpoint)
    for name, layer in measured.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| `{name}`"))
        assert f"{layer['gamma']:+.3f}" in row
        assert f"{layer['dependence']:.2f} nats" in row
    assert max(layer["dependence"] for layer in measured.values()) > 0.3


def test_all_weights_together_stay_small():
    files = (ROOT / "checkpoints").rglob("*.safetensors")
    assert sum(path.stat().st_size for path in files) < 60_000_000
