"""The claims: places planted in images, preferences by hand, and the command on a tiny model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sagan_core import Generator, SAGANConfig, save_checkpoint
from sagan_core.attention import record_attention
from sagan_core.card import write_card
from sagan_core.checkpoint import load_checkpoint
from sagan_core.claims import CONDITIONS, Claim, main, preference, redrawn, try_claim
from sagan_core.regions import SKIN_TONES, Cells, Pair, eye_pairs, patches, skin_pairs, stripe_pairs
from sagan_core.sample import latents

CONFIG = SAGANConfig(
    resolution=32,
    classes=3,
    latent_size=4,
    width=8,
    attention=(8, 16),
    discriminator_attention=(),
    query_divisor=2,
    centre_queries=True,
    query_scale=3.0,
)
NAMES = ("gestures", "flags", "cheerful faces")


def cells(image, query=16, key=16):
    def mean(grid):
        side = len(image) // grid
        return image.reshape(grid, side, grid, side, 3).astype(float).mean((1, 3))

    return Cells(mean(query), mean(key))


def blank():
    return np.full((32, 32, 3), 255, np.uint8)


def test_patches_share_edges_not_corners():
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]], bool)
    found = patches(mask)
    assert [int(part.sum()) for part in found] == [3, 2]
    assert found[1].tolist()[0] == [True, True, False, False]
    assert patches(np.zeros((2, 2), bool)) == []


def test_two_patches_of_one_skin_tone_are_paired_and_not_the_clothes():
    image = blank()
    image[2:10, 2:10] = SKIN_TONES[4]
    image[20:28, 20:28] = SKIN_TONES[4]
    image[20:28, 2:6] = SKIN_TONES[1]
    image[12:16, 10:20] = (40, 60, 200)
    one, two = skin_pairs(cells(image))
    hand, face = np.zeros((16, 16), bool), np.zeros((16, 16), bool)
    face[1:5, 1:5], hand[10:14, 10:14] = True, True
    assert {tuple(one.queries), tuple(two.queries)} == {
        tuple(np.flatnonzero(face)),
        tuple(np.flatnonzero(hand)),
    }
    assert sorted((one.same.sum(), two.same.sum())) == [16, 16]
    assert not (one.same.reshape(16, 16) & one.other.reshape(16, 16)).any()
    assert one.other.reshape(16, 16)[6:8, 5:10].all()
    assert one.other.reshape(16, 16)[10:14, 1:3].all()
    assert one.other.sum() == 10 + 8
    image[20:28, 20:28] = 255
    assert skin_pairs(cells(image)) == []


def test_two_eyes_of_a_yellow_face_are_paired_both_ways():
    image = blank()
    image[4:28, 4:28] = SKIN_TONES[0]
    image[12:15, 9:11] = image[12:15, 21:23] = (60, 40, 10)
    image[22:24, 10:22] = (60, 40, 10)
    left, right = eye_pairs(cells(image, query=32))
    assert len(left.queries) == len(right.queries) == 6
    assert {tuple(left.queries), tuple(right.queries)} == {
        tuple(row * 32 + col for row in range(12, 15) for col in cols)
        for cols in ((9, 10), (21, 22))
    }
    assert not (left.same & right.same).any()
    assert not (left.same & left.other).any()
    image[12:15, 9:11] = SKIN_TONES[0]
    assert eye_pairs(cells(image, query=32)) == []


def test_stripes_are_far_cells_of_the_points_colour():
    image = blank()
    image[6:12], image[12:18], image[18:24] = (200, 0, 0), (0, 0, 200), (200, 0, 0)
    pairs = stripe_pairs(cells(image))
    assert pairs
    for pair in pairs:
        (point,) = pair.queries
        row, col = divmod(point, 16)
        red = row not in (6, 7, 8)
        same, other = (np.argwhere(mask.reshape(16, 16)) for mask in (pair.same, pair.other))
        assert {bool(r not in (6, 7, 8)) for r, _ in same} == {red}
        assert {bool(r not in (6, 7, 8)) for r, _ in other} == {not red}
        assert min(np.hypot(r - row, c - col) for r, c in same) >= 4
    assert stripe_pairs(cells(blank())) == []


def test_preference_by_hand():
    # Four keys in a square grid of 2x2; the query sits on the first.
    distances = np.array([[0.0, 0.5, 0.5, 0.7]])
    pair = Pair(np.array([0]), np.array([0, 1, 0, 0], bool), np.array([0, 0, 1, 1], bool))
    weights = np.array([[0.1, 0.6, 0.2, 0.1]])
    # Both others are less than a cell, 0.5, nearer or farther: their mean is 0.15.
    assert preference(weights, [pair], distances) == pytest.approx(0.6 / 0.75)
    assert preference(np.full((1, 4), 0.25), [pair], distances) == 0.5
    far = np.array([[0.0, 0.1, 0.8, 0.9]])
    assert np.isnan(preference(weights, [pair], far))
    assert np.isnan(preference(weights, [], distances))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    generator = Generator(CONFIG)
    for _ in range(3):
        generator(latents(generator, 1, 16), torch.arange(16) % 3)
    path = tmp_path_factory.mktemp("claims") / "tiny"
    save_checkpoint(path, generator, None, NAMES, {"images": 48})
    return path


def test_redrawn_maps_are_of_the_same_grids_and_other_weights(folder):
    generator = load_checkpoint(folder).generator
    with torch.no_grad(), record_attention(generator) as fields:
        generator(latents(generator, 0, 2), torch.tensor([0, 1]))
    field = fields["blocks.1.attention"]
    first, again, other = (redrawn(field, CONFIG, seed) for seed in (0, 0, 1))
    assert first.weights.shape == field.weights.shape
    assert torch.equal(first.weights, again.weights)
    assert not torch.allclose(first.weights, other.weights)
    assert torch.equal(first.x, field.x)
    alike = redrawn(field, replace(CONFIG, pool_keys=False), 0, alike=True)
    centred = alike.key - alike.key.mean((2, 3), keepdim=True)
    torch.testing.assert_close(alike.query, CONFIG.query_scale * centred)


def everywhere(cells_):
    half = np.arange(cells_.key.shape[0] * cells_.key.shape[1]) % 2 == 0
    return [Pair(np.arange(8), half, ~half)]


def test_a_claim_without_content_has_no_preference_under_any_condition(folder):
    checkpoint = load_checkpoint(folder)
    trial = try_claim(checkpoint, Claim("nothing", ("flags", "absent"), everywhere), 10, seed=3)
    summary = trial.summary()
    assert summary["used"] == summary["tried"] == 10
    for name in CONDITIONS:
        assert summary["conditions"][name]["mean"] == pytest.approx(0.5, abs=0.1), name
    assert len(trial.examples) == 4
    again = try_claim(checkpoint, Claim("nothing", ("flags",), everywhere), 10, seed=3, chunk=32)
    np.testing.assert_array_equal(trial.preferences["trained"], again.preferences["trained"])


def test_the_command_writes_numbers_a_figure_and_the_card(folder, capsys):
    assert main([str(folder), "--samples", "6"]) == 0
    assert "from a flag's colour" in capsys.readouterr().out
    found = json.loads((folder / "claims.json").read_text())
    assert found["layer"] == "blocks.1.attention"
    assert {trial["tried"] for trial in found["claims"].values()} == {6}
    with Image.open(folder / "claims.png") as figure:
        assert min(figure.size) > 100
    card = (folder / "README.md").read_text()
    assert "## What it ties together" in card
    assert found["command"] in card
    assert "queries are less their mean over positions and times 3." in card
    (folder / "notes.md").write_text("## What was tried\n\nOne thing.\n")
    about = json.loads((folder / "config.json").read_text())
    about["training"]["images"] += 1
    (folder / "config.json").write_text(json.dumps(about))
    write_card(folder)
    later = (folder / "README.md").read_text()
    assert "## What it ties together" not in later
    assert "## What was tried\n\nOne thing." in later


def test_what_cannot_be_tried_says_why(folder, tmp_path, capsys):
    assert main([str(folder), "--layer", "blocks.9.attention"]) == 2
    assert "blocks.0.attention, blocks.1.attention" in capsys.readouterr().err
    assert main([str(folder), "--samples", "0"]) == 2
    assert "samples is 0" in capsys.readouterr().err
    shipped = Path(__file__).parent.parent / "checkpoints" / "fashion-mnist-32"
    assert main([str(shipped)]) == 2
    assert "0 of the classes" in capsys.readouterr().err
    assert main([str(tmp_path / "none")]) == 2
