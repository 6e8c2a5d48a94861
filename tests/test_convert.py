"""Another code base's checkpoint as a folder of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sagan_core import (
    CheckpointError,
    generate,
    load_checkpoint,
    open_checkpoint,
    record_attention,
    save_checkpoint,
)
from sagan_core.convert import convert, main
from sagan_core.recognised import architecture

GOLDEN = Path(__file__).parent / "golden"
SOURCES = sorted(file for file in GOLDEN.glob("*/G/*") if file.suffix in (".pth", ".bin"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda file: file.parent.parent.name)
def test_a_converted_folder_is_the_same_model(source, tmp_path):
    opened = convert(source, tmp_path / "ours")
    folder = load_checkpoint(tmp_path / "ours")
    assert folder.config == opened.config
    assert folder.recognised == opened.recognised
    assert folder.class_names == opened.class_names
    one, other = (generate(model.generator, 5, truncation=0.4) for model in (opened, folder))
    assert (one.image == other.image).all()
    for name, field in one.fields.items():
        assert torch.equal(field.weights, other.fields[name].weights)
    assert (folder.discriminator is None) == (opened.discriminator is None)
    if folder.discriminator is not None:
        images = torch.zeros(1, 3, folder.config.resolution, folder.config.resolution)
        labels = torch.zeros(1, dtype=torch.long)
        logits = [model.discriminator(images, labels) for model in (opened, folder)]
        assert torch.equal(*logits)
    assert not [file for file in (tmp_path / "ours").iterdir() if file.suffix in (".pth", ".bin")]


def test_the_command_says_what_it_found(tmp_path, capsys):
    source = next(file for file in SOURCES if "mmgen_sagan_biggan" in str(file))
    assert main([str(source), str(tmp_path / "ours")]) == 0
    printed = capsys.readouterr().out
    assert "mmgeneration, averaged weights" in printed
    assert "generator: " in printed
    assert "discriminator: " in printed
    assert main([str(source), str(tmp_path / "ours")]) == 2
    assert "already holds a checkpoint" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_the_module_runs():
    ended = subprocess.run(
        [sys.executable, "-m", "sagan_core.convert", "--help"],
        capture_output=True,
        text=True,
        cwd=GOLDEN.parent.parent,
        check=True,
    )
    assert "hub:OWNER/NAME" in ended.stdout


def test_a_folder_of_ours_is_copied(tmp_path):
    shipped = GOLDEN.parent.parent / "checkpoints" / "fashion-mnist-32"
    convert(shipped, tmp_path / "copy")
    images = [
        generate(load_checkpoint(folder).generator, 1).image
        for folder in (shipped, tmp_path / "copy")
    ]
    assert (images[0] == images[1]).all()
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["format"] == 1


def test_the_format_before_stays_readable():
    config = GOLDEN.parent.parent / "checkpoints" / "fashion-mnist-32" / "config.json"
    assert json.loads(config.read_text())["format"] == 1
    assert load_checkpoint(config.parent).recognised is None
    opened = open_checkpoint(config.parent)
    assert opened.recognised.family == "SAGAN Lens"
    assert open_checkpoint(config.parent / "generator.safetensors").name == opened.name
    snapshot = sorted((config.parent / "snapshots").glob("*.safetensors"))[-1]
    assert open_checkpoint(snapshot).name.startswith("fashion-mnist-32 after ")
    with pytest.raises(CheckpointError, match="is a discriminator; open its folder"):
        open_checkpoint(config.parent / "discriminator.safetensors")


@pytest.mark.parametrize("source", SOURCES, ids=lambda file: file.parent.parent.name)
def test_the_architecture_is_that_of_a_forward_pass(source):
    checkpoint = open_checkpoint(source)
    generator = checkpoint.generator
    parts = architecture(generator)
    labels = torch.zeros(1, dtype=torch.long) if checkpoint.config.classes else None
    with torch.no_grad(), record_attention(generator) as fields:
        generator(torch.zeros(1, checkpoint.config.latent_size), labels)
    attention = {part.name: part for part in parts if part.gamma is not None}
    assert list(attention) == list(fields)
    for name, field in fields.items():
        assert attention[name].resolution == field.query_grid.height
        assert attention[name].channels == field.x.shape[1]
        assert attention[name].gamma == field.gamma
    assert parts[-1].resolution in (checkpoint.config.resolution, checkpoint.config.resolution // 2)
    within = sum(part.parameters for part in parts)
    assert within < sum(p.numel() for p in generator.parameters())


def test_saving_checks_the_number_of_names(tmp_path):
    checkpoint = open_checkpoint(SOURCES[0])
    with pytest.raises(ValueError, match="1 class names for a model of"):
        save_checkpoint(tmp_path, checkpoint.generator, class_names=["one"])
