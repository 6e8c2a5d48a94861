"""The command line of the page."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

import app
from sagan_core import Generator, SAGANConfig, save_checkpoint

# Gradio leaves the socket open with which it found the port taken.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

SMALL = {"resolution": 32, "latent_size": 4, "width": 8, "discriminator_attention": ()}


def saved(folder: Path, attention: tuple[int, ...] = (8,)) -> Path:
    torch.manual_seed(0)
    save_checkpoint(folder, Generator(SAGANConfig(attention=attention, **SMALL)))
    return folder


def broken(folder: Path, kind: str) -> Path:
    if kind == "missing":
        return folder / "nothing"
    if kind == "no attention":
        return saved(folder, attention=())
    if kind == "empty":
        return folder
    saved(folder)
    if kind == "config":
        (folder / "config.json").write_text("{")
    elif kind == "weights":
        content = (folder / "generator.safetensors").read_bytes()
        (folder / "generator.safetensors").write_bytes(content[: len(content) // 2])
    return folder


@pytest.mark.parametrize("kind", ["missing", "empty", "config", "weights", "no attention"])
def test_a_checkpoint_that_cannot_be_opened_is_one_line(tmp_path, capsys, kind):
    assert app.main(["--checkpoint", str(broken(tmp_path, kind))]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert tmp_path.name in output.err


def test_a_taken_port_is_one_line(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert app.main(["--checkpoint", str(saved(tmp_path)), "--port", port]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"port {port}" in error


@pytest.mark.parametrize("option", ["--port=x", "--checkpoint", "--colour=blue"])
def test_a_wrong_option_ends_with_code_2(option, capsys):
    with pytest.raises(SystemExit) as end:
        app.parse([option])
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_space_listens_outside(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert app.parse([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/sagan-lens")
    assert app.parse([]).host == "0.0.0.0"
    assert app.parse(["--host", "127.0.0.1"]).host == "127.0.0.1"
