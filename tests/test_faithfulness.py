"""The figures over many points, and what the command writes."""

import json

import numpy as np
import pytest
import torch

from sagan_core import Discriminator, Generator, SAGANConfig, load_checkpoint, save_checkpoint
from sagan_core.attention import attention_layers
from sagan_core.attribution import PAIRS, probe_sample
from sagan_core.command import command_line
from sagan_core.faithfulness import (
    draw_pins,
    examine_points,
    main,
    measure_faithfulness,
    parser,
    summarise,
)
from sagan_core.sample import generate
from sagan_core.state import calibrate

CONFIG = SAGANConfig(
    resolution=32,
    image_channels=1,
    classes=2,
    latent_size=8,
    width=8,
    attention=(8,),
    discriminator_attention=(8,),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    generator, discriminator = Generator(CONFIG), Discriminator(CONFIG)
    with torch.no_grad():
        for network in (generator, discriminator):
            for layer in attention_layers(network).values():
                layer.gamma.fill_(1.5)
    calibrate(generator, 8, 2)
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(path, generator, discriminator.eval(), ("one", "two"), {"images": 640})
    return path


def test_the_figures_are_means_over_the_points(folder):
    generator = load_checkpoint(folder).generator
    probe = probe_sample(generator, generate(generator, 0, 0), "blocks.0.attention")
    pins = draw_pins(probe, 3, np.random.default_rng(0))
    assert len(set(pins)) == 3
    calls = []
    found = examine_points(probe, pins, 5, lambda: calls.append(1))
    assert len(calls) == 3
    figures = summarise(found)
    tested = [one.own for one in found if one.own.verdict.kind != "hardly"]
    assert len(tested) == figures["tested"] > 1
    areas = [evidence.curve.over_random(evidence.curve.top["attention"]) for evidence in tested]
    assert figures["over_random"]["mean"] == pytest.approx(np.mean(areas))
    assert figures["over_random"]["spread"] == pytest.approx(np.std(areas, ddof=1))
    assert sum(figures["verdicts"].values()) == pytest.approx(1)
    beats = [evidence.curve.beats_chance(evidence.curve.top["attention"]) for evidence in tested]
    assert figures["beats_chance"] == pytest.approx(np.mean(beats))
    for one, pin in zip(found, pins, strict=True):
        assert one.own.pin == one.shuffled.pin == one.random_weights.pin == pin
        assert one.shuffled.shuffled_from not in (None, pin)
        np.testing.assert_array_equal(one.shuffled.maps["knock-out"], one.own.maps["knock-out"])
        assert not np.array_equal(one.random_weights.maps["attention"], one.own.maps["attention"])


def test_figures_come_again_for_the_same_seed(folder):
    checkpoint = load_checkpoint(folder)
    first, again = (measure_faithfulness(checkpoint, 1, 1, seed=3) for _ in range(2))
    assert first == again
    assert list(first) == ["generator.blocks.0.attention", "discriminator.blocks.1.attention"]
    assert first["generator.blocks.0.attention"]["unit"] == "pixels"
    assert first["discriminator.blocks.1.attention"]["unit"] == "logit"


def test_the_command_writes_figures_and_the_card(folder, capsys):
    assert main([str(folder), "--images", "2", "--points", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    figures = json.loads((folder / "faithfulness.json").read_text())
    row = figures["layers"]["generator.blocks.0.attention"]
    assert row["pins"] == 4
    assert set(row["correlations"]) == {", ".join(pair) for pair in PAIRS}
    assert f"{row['over_random']['mean']:.2f}" in printed
    card = (folder / "README.md").read_text()
    section = card.split("## Is the map true?")[1]
    assert f"| `generator.blocks.0.attention` | 4 | {row['verdicts']['names']:.0%}" in section
    mean, spread = row["over_random"]["mean"], row["over_random"]["spread"]
    assert f"{mean:.2f} ± {spread:.2f}" in section
    assert "of the logit" in section
    assert figures["command"] in section
    assert "--images 2 --points 2" in figures["command"]


def test_figures_of_other_weights_leave_the_card(folder):
    from sagan_core.card import write_card

    file = folder / "faithfulness.json"
    figures = json.loads(file.read_text())
    file.write_text(json.dumps({**figures, "images": 1}))
    write_card(folder)
    assert "Is the map true" not in (folder / "README.md").read_text()


def test_with_gamma_0_every_point_says_that_the_layer_hardly_matters(folder, tmp_path, capsys):
    checkpoint = load_checkpoint(folder)
    with torch.no_grad():
        for layer in attention_layers(checkpoint.generator).values():
            layer.gamma.zero_()
    save_checkpoint(tmp_path, checkpoint.generator, None, ("one", "two"), {"images": 640})
    assert main([str(tmp_path), "--images", "1", "--points", "2", "--device", "cpu"]) == 0
    row = json.loads((tmp_path / "faithfulness.json").read_text())["layers"]
    figures = row["generator.blocks.0.attention"]
    assert figures["verdicts"] == {"names": 0, "chance": 0, "hardly": 1}
    assert figures["over_random"] == {"mean": None, "spread": None}
    assert (figures["tested"], figures["beats_chance"]) == (0, None)
    assert "100% this layer hardly matters at all" in capsys.readouterr().out
    assert "| - ± - | - |" in (tmp_path / "README.md").read_text()


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
    plain = SAGANConfig(**{**vars(CONFIG), "attention": (), "discriminator_attention": ()})
    save_checkpoint(tmp_path, Generator(plain), None, ("one", "two"))
    assert main([str(tmp_path)]) == 2
    assert "no attention layer" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--points", "0"])
    assert "'0' is not a whole number from 1" in capsys.readouterr().err


def test_help_teaches_and_the_command_is_kept():
    text = " ".join(parser().format_help().split())
    for word in ("area over random", "another point's map", "random weights", "Two images"):
        assert word in text
    options = parser().parse_args(["checkpoints/mine", "--points", "3"])
    kept = command_line(parser(), options, "checkpoint")
    assert kept == "python -m sagan_core.faithfulness checkpoints/mine --points 3"
