"""`python -m viz`: the same figure as in Python, and errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sagan_core import Generator, SAGANConfig, generate, load_checkpoint, save_checkpoint
from viz.__main__ import label_index, main
from viz.figure import figure

NAMES = ("Coat", "Bag", "7")
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    config = SAGANConfig(
        resolution=32,
        image_channels=1,
        classes=3,
        latent_size=8,
        width=16,
        attention=(8, 16),
        discriminator_attention=(),
    )
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(folder, Generator(config), None, NAMES)
    return folder


def command(folder: Path, out: Path, *more: str, kind: str = "figure") -> list[str]:
    return [kind, "--checkpoint", str(folder), "-o", str(out), *more]


def test_a_new_process_draws_what_python_draws_and_opens_no_window(folder, tmp_path):
    out = tmp_path / "x.svg"
    arguments = command(folder, out, "--label", "Bag", "--seed", "3", "--pins", "3,4", "8,8")
    code = (
        "import sys; from viz.__main__ import main; assert main(sys.argv[1:]) == 0; "
        "assert not {'matplotlib.pyplot', 'gradio'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
    )
    sample = generate(load_checkpoint(folder).generator, 3, 1)
    expected = figure(sample, "blocks.1.attention", [(3, 4), (8, 8)], caption="tiny, Bag")
    assert out.read_bytes() == expected.render("svg")


def test_every_choice_reaches_the_figure(folder, tmp_path):
    out = tmp_path / "x.png"
    image = ["--seed", "9", "--label", "0", "--truncation", "0.5"]
    maps = ["--layer", "blocks.0.attention", "--pins", "7,7"]
    looks = ["--baseline", "average", "--opacity", "0.2"]
    assert main(command(folder, out, *image, *maps, *looks)) == 0
    sample = generate(load_checkpoint(folder).generator, 9, 0, 0.5)
    expected = figure(
        sample,
        "blocks.0.attention",
        [(7, 7)],
        baseline="average",
        opacity=0.2,
        caption="tiny, Coat",
    )
    assert out.read_bytes() == expected.render("png")


def test_without_choices_it_takes_what_the_page_suggests(folder, tmp_path):
    from viz.suggestions import suggested_pins

    out = tmp_path / "x.npz"
    assert main(command(folder, out, kind="data")) == 0
    sample = generate(load_checkpoint(folder).generator)
    with np.load(out, allow_pickle=False) as data:
        layer = data["layer"].item()
        assert layer == "blocks.1.attention"  # the last
        pins = suggested_pins(sample.fields[layer], sample.image)
        assert data["pins"].tolist() == [list(pin) for pin in pins]
        assert (data["image"] == sample.image).all()
        assert data["checkpoint"] == "tiny"
        assert data["class_name"] == NAMES[sample.label]


def test_classes_by_name_in_any_case_or_by_index(folder):
    checkpoint = load_checkpoint(folder)
    asked = {"Coat": 0, "bag": 1, "1": 1, "7": 2, "2": 2, None: None}
    assert {label: label_index(checkpoint, label) for label in asked} == asked


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--label", "Shoe"], "no class 'Shoe'; there are Coat, Bag, 7; or an index up to 2"),
        (["--label", "-1"], "no class '-1'"),
        (["--seed", "-1"], "seed is -1; it must be a whole number from 0"),
        (["--truncation", "2"], "truncation is 2.0; it must be from 0 to 1"),
        (["--layer", "foo"], "no attention layer 'foo'; this sample has blocks.0.attention, "),
        (["--layer", "foo", "--pins", "1,1"], "no attention layer 'foo'"),
        (["--pins", "3,16"], "pin (3, 16) is outside the 16x16 grid"),
        (["--opacity", "nan"], "opacity is nan"),
        (["--checkpoint", "nowhere"], "nowhere does not exist; expected a folder"),
        (["-o", "x.gif"], "must end in .png, .pdf, .svg"),
        (["-o", "nowhere/x.png"], "nowhere/x.png: No such file or directory"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(folder, tmp_path, capsys, more, said):
    out = tmp_path / "x.png"
    pins = [] if "--pins" in more or "--layer" in more else ["--pins", "1,1"]
    assert main(command(folder, out, *pins, *more)) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m viz figure: ")
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("pin", ["3;4", "3", "a,b", "3,4,5"])
def test_a_pin_that_is_none(folder, tmp_path, capsys, pin):
    with pytest.raises(SystemExit, match="2"):
        main(command(folder, tmp_path / "x.png", "--pins", pin))
    assert f"{pin!r} is not ROW,COL, such as 3,4" in capsys.readouterr().err
