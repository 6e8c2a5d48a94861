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
from viz.kept import keep
from viz.notebook import explore
from viz.workshop import Workshop

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


def test_every_choice_of_the_look_reaches_the_figure(folder, tmp_path):
    look = {"direction": "to", "measure": "value", "scale": "own", "colours": "viridis"}
    look |= {"style": "mask", "temperature": 2.0}
    flags = [part for name, value in look.items() for part in (f"--{name}", str(value))]
    flags += ["--log", "--smooth", "--arrows", "--all-layers", "--label", "1", "--pins", "3,4"]
    assert main(command(folder, tmp_path / "x.svg", *flags)) == 0
    sample = generate(load_checkpoint(folder).generator, 0, 1)
    look |= {"log": True, "smooth": True, "arrows": True, "all_layers": True}
    expected = figure(sample, pins=[(3, 4)], caption="tiny, Bag", **look)
    assert (tmp_path / "x.svg").read_bytes() == expected.render("svg")


def test_a_recipe_draws_the_same_again(folder, tmp_path):
    layer = "blocks.0.attention"
    asked = ["--label", "Bag", "--seed", "3", "--layer", layer, "--pins", "1,2", "7,7", "--log"]
    asked += ["--gamma", f"{layer}=1.5", "--without", f"{layer}=0,5"]
    assert main(command(folder, tmp_path / "first.svg", *asked)) == 0
    checkpoint = Workshop([folder])
    state = {
        "source": {
            "seed": 3,
            "label": 1,
            "gamma": {layer: 1.5},
            "without": {layer: [0, 5]},
        },
        "layer": layer,
        "pins": [[1, 2], [7, 7]],
        "log": True,
    }
    content, name = keep(checkpoint, state, "json")
    assert name == "tiny_bag_seed-3.json"
    (tmp_path / name).write_bytes(content)
    again = ["--recipe", str(tmp_path / name)]
    assert main(command(folder, tmp_path / "again.svg", *again)) == 0
    first = (tmp_path / "first.svg").read_text()
    assert (tmp_path / "again.svg").read_text() == first
    assert "2 of 16 key cells knocked out" in first.replace("&#160;", " ")
    assert main(command(folder, tmp_path / "linear.svg", *again, "--no-log")) == 0
    assert (tmp_path / "linear.svg").read_text() != first


def test_a_recipe_for_other_weights_is_refused(folder, tmp_path, capsys):
    content, _ = keep(Workshop([folder]), {"source": {}}, "json")
    other = tmp_path / "tiny"
    config = load_checkpoint(folder).config
    save_checkpoint(other, Generator(config), None, NAMES)
    (tmp_path / "recipe.json").write_bytes(content)
    again = ["--recipe", str(tmp_path / "recipe.json")]
    assert main(command(other, tmp_path / "x.svg", *again)) == 2
    assert "made with other weights than those of tiny here" in capsys.readouterr().err
    (tmp_path / "recipe.json").write_text("[" * 100_000)
    assert main(command(folder, tmp_path / "x.svg", *again)) == 2
    (tmp_path / "recipe.json").write_text('{"state": 3}')
    assert main(command(folder, tmp_path / "x.svg", *again)) == 2
    assert "this is no recipe" in capsys.readouterr().err


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


def test_the_page_in_one_file(folder, tmp_path):
    out = tmp_path / "x.html"
    assert main(command(folder, out, "--seed", "3", "--label", "Bag", kind="html")) == 0
    expected = explore(folder, seed=3, label=1)
    assert out.read_text(encoding="utf-8") == expected.page


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
        (["--truncation", "2"], "truncation is 2.0; it must be a number from 0 to 1"),
        (["--layer", "foo"], "no attention layer 'foo'; there are blocks.0.attention, "),
        (["--layer", "foo", "--pins", "1,1"], "no attention layer 'foo'"),
        (["--pins", "3,16"], "pin [3, 16] is not a [row, col] cell of the 16x16 grid"),
        (["--opacity", "nan"], "opacity is nan"),
        (["--checkpoint", "nowhere"], "--checkpoint is given 2 times; only recipes need several"),
        (["-o", "x.gif"], "must end in .png, .pdf or .svg"),
        (["--gamma", "foo=1.5"], "no attention layer 'foo'"),
        (["--gamma", "blocks.0.attention=9"], "the factor on gamma is 9.0"),
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


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["data", "--checkpoint", "nowhere", "-o", str(tmp_path / "x.npz")]) == 2
    assert "nowhere does not exist; expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize("pin", ["3;4", "3", "a,b", "3,4,5"])
def test_a_pin_that_is_none(folder, tmp_path, capsys, pin):
    with pytest.raises(SystemExit, match="2"):
        main(command(folder, tmp_path / "x.png", "--pins", pin))
    assert f"{pin!r} is not ROW,COL, such as 3,4" in capsys.readouterr().err
