"""Checkpoints that people hand to the page, and what it tells of a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder
from served import CONFIG, NAMES, make_generator

from sagan_core import Checkpoint, generate, open_checkpoint
from viz.source import Source
from viz.studio import Studio

GOLDEN = Path(__file__).parent / "golden"
THEIRS = GOLDEN / "biggan_pytorch_biggan" / "G" / "G_ema.pth"


@pytest.fixture
def studio() -> Studio:
    return Studio([Checkpoint(make_generator(CONFIG), None, NAMES, {}, Path("ours"))], uploads=True)


@pytest.fixture
def folder():
    folder = Path(get_upload_folder()) / "test-uploads"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def test_an_uploaded_checkpoint_is_shown_to_who_knows_its_name(studio, folder):
    file = Path(shutil.copy(THEIRS, folder))
    name = studio.upload({"path": str(file)})["checkpoint"]
    file.unlink()  # Gradio clears its folder now and then
    assert name not in studio.lab(None)["checkpoints"], "nobody else gets to know of it"
    scene = studio.scene({"checkpoint": name, "seed": 3, "label": 1})
    assert [layer["name"] for layer in scene["layers"]] == ["layers.2"]
    lab = studio.lab(name)
    assert (lab["checkpoint"], len(lab["class_names"])) == (name, 5)
    made = studio.made(studio.checked(Source(checkpoint=name, seed=3, label=1)))
    assert (made.image == generate(open_checkpoint(THEIRS).generator, 3, 1).image).all()


def test_what_is_told_of_a_checkpoint_of_another_code_base(studio, folder):
    name = studio.upload({"path": shutil.copy(THEIRS, folder)})["checkpoint"]
    about = studio.about(name)
    assert about["family"] == "BigGAN-PyTorch"
    assert about["weights"] == "averaged over training"
    assert about["reasons"]
    generator = about["networks"][0]
    attention = [part for part in generator["parts"] if part["gamma"] is not None]
    assert [(part["resolution"], part["native"]) for part in attention] == [(16, "blocks.1.1")]
    checkpoint = open_checkpoint(THEIRS)
    assert generator["parameters"] == sum(p.numel() for p in checkpoint.generator.parameters())
    assert about["norms"]
    assert all(norm > 0 for norm in about["norms"].values())


def test_what_is_told_of_ours_warns_where_gamma_is_near_zero():
    generator = make_generator(CONFIG)
    generator.blocks[1].attention.gamma.data.fill_(0.001)
    studio = Studio([Checkpoint(generator, None, NAMES, {}, Path("ours"))])
    about = studio.about(None)
    assert about["family"] == "SAGAN Lens"
    assert len(about["warnings"]) == 1
    assert "blocks.1.attention is 0.001" in about["warnings"][0]


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04broken", b"\x80\x02cos\nsystem\n(S'true'\ntR.", b"x" * 100]
)
def test_a_file_that_is_none_is_refused_in_words_without_the_servers_paths(studio, folder, content):
    file = folder / "theirs.pth"
    file.write_bytes(content)
    words = studio.upload({"path": str(file)})["error"]
    assert "theirs.pth" in words
    assert str(folder) not in words


@pytest.mark.parametrize(
    "request_", [None, 7, {}, {"path": "/etc/passwd"}, {"path": "../../etc/passwd"}, {"path": [1]}]
)
def test_only_uploaded_files_are_opened(studio, request_):
    assert "upload" in studio.upload(request_)["error"]


def test_uploads_are_off_unless_asked_for(folder):
    studio = Studio([Checkpoint(make_generator(CONFIG), None, NAMES, {}, Path("ours"))])
    assert "--uploads" in studio.upload({"path": shutil.copy(THEIRS, folder)})["error"]
    assert not studio.lab(None)["uploads"]
