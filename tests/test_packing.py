"""The file that the browser gets, what is said about a layer, and the pins to open with."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from planted import KINDS, make_field, planted_field, planted_sample

from sagan_core.attention import AttentionField
from sagan_core.sample import Sample
from viz.explorer.notes import HARDLY_CHANGES, MUCH_THE_SAME, layer_notes
from viz.explorer.packing import half_precision, pack
from viz.suggestions import suggested_pins


@pytest.fixture(scope="module")
def sample() -> Sample:
    return planted_sample()


def rows(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    logits = query.astype(float).T @ key.astype(float)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_keeps_the_rows(name):
    field = make_field(name)
    exact = field.weights[0].numpy()
    assert np.abs(rows(*half_precision(field)) - exact).max() < 0.01 * exact.max()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_half_precision_survives_extreme_sizes(scale):
    field = make_field("pooled")
    exact = field.weights[0].numpy()
    skewed = AttentionField(field.query * scale, field.key / scale, field.x, field.out, field.gamma)
    assert np.abs(rows(*half_precision(skewed)) - exact).max() < 0.01 * exact.max()


def test_a_common_offset_of_the_keys_costs_no_precision():
    field = make_field("pooled")
    moved = AttentionField(field.query, field.key + 100, field.x, field.out, field.gamma)
    assert np.abs(rows(*half_precision(moved)) - field.weights[0].numpy()).max() < 0.01


def test_the_description_is_small_and_finds_everything(sample):
    other = 255 - sample.image
    content, description = pack(sample.image, sample.fields, {"planted": 2.5}, other)
    assert len(json.dumps(description)) < 8000
    for name, expected in (("image", sample.image), ("reference", other)):
        about = description[name]
        shape = (about["height"], about["width"], about["channels"])
        pixels = np.frombuffer(content, np.uint8, math.prod(shape), about["offset"])
        assert (pixels.reshape(shape) == expected).all()
    assert [layer["learnt_gamma"] for layer in description["layers"]][:2] == [2.5, 0.5]
    for layer in description["layers"]:
        field = sample.fields[layer["name"]]

        def numbers(name, grid, layer=layer):
            return np.frombuffer(content, "<f4", math.prod(layer[grid]), layer[name])

        for name, exact in (("mean", field.mean_row()), ("strength", field.strength())):
            np.testing.assert_allclose(numbers(name, "key_grid"), exact[0].flatten())
        for name, exact in (("entropy", field.entropy()), ("distance", field.distance(40 / 24))):
            np.testing.assert_allclose(numbers(name, "query_grid"), exact[0].flatten())


@pytest.mark.parametrize("name", KINDS)
def test_columns_follow_from_the_normaliser(name):
    field = make_field(name)
    image = np.zeros((8, 8, 1), np.uint8)
    content, description = pack(image, {name: field})
    (layer,) = description["layers"]
    counts = {grid: math.prod(layer[f"{grid}_grid"]) for grid in ("query", "key")}
    query, key = (
        np.frombuffer(content, "<f2", layer["channels"] * counts[grid], layer[grid])
        .reshape(layer["channels"], counts[grid])
        .astype(float)
        for grid in ("query", "key")
    )
    normalisers = np.frombuffer(content, "<f4", counts["query"], layer["normaliser"])
    columns = np.exp(query.T @ key - normalisers[:, None])
    np.testing.assert_allclose(columns.sum(1), 1, rtol=1e-4)
    exact = field.weights[0].numpy()
    assert np.abs(columns - exact).max() < 0.01 * exact.max()


def test_layers_of_one_size_are_numbered_and_networks_are_named():
    field, image = make_field("square"), np.zeros((8, 8, 1), np.uint8)
    names = ("blocks.0.attention", "blocks.1.attention", "discriminator.blocks.0.attention")
    _, description = pack(image, dict.fromkeys(names, field))
    assert [layer["label"] for layer in description["layers"]] == [
        "Generator 8×8 (1)",
        "Generator 8×8 (2)",
        "Discriminator 8×8",
    ]
    assert [layer["network"] for layer in description["layers"]][1:] == [
        "generator",
        "discriminator",
    ]


def test_a_large_layer_is_small(sample):
    content, _ = pack(sample.image, {"large": sample.fields["large"]})
    # 64x64 queries and 32x32 keys of 32 channels, and three numbers for each query.
    assert len(content) < 400_000


# Words and pins to open with


def noted(field: AttentionField) -> list[bool]:
    return [bool(note["warning"]) for note in layer_notes(field)]


def test_a_layer_that_does_little_or_shows_one_map_is_named():
    field = planted_field()
    assert noted(field) == [False, False]
    assert "100%" in layer_notes(field)[0]["text"]
    weak = AttentionField(field.query, field.key, field.x, field.out, 0.9 * HARDLY_CHANGES)
    assert noted(weak) == [True, False]
    assert "1.8%" in layer_notes(weak)[0]["text"]
    same = AttentionField(0 * field.query, field.key, field.x, field.out, 1.0)
    assert noted(same) == [False, True]
    assert MUCH_THE_SAME < field.dependence() <= math.log(6)


def test_suggested_pins_lie_apart_on_the_object_with_maps_of_their_own():
    image = np.zeros((24, 24, 1), np.uint8)
    image[6:18, 4:20] = 200
    query, key = torch.zeros(1, 4, 12, 12), 8 * torch.eye(4).reshape(1, 4, 2, 2)
    for row, col in itertools.product(range(12), range(12)):
        query[0, row // 6 * 2 + col // 6, row, col] = 1  # each quarter looks at its own key
    ones = torch.ones(1, 1, 12, 12)
    field = AttentionField(query, key, ones, ones, 1.0)
    pins = suggested_pins(field, image)
    assert len({(row // 6, col // 6) for row, col in pins}) == 3
    assert all(3 <= row < 9 and 2 <= col < 10 for row, col in pins)


@pytest.mark.parametrize("name", KINDS)
def test_suggested_pins_are_three_different_cells(name, sample):
    field = make_field(name)
    pins = suggested_pins(field, sample.image)
    assert len(set(pins)) == 3
    assert all(
        0 <= r < field.query_grid.height and 0 <= c < field.query_grid.width for r, c in pins
    )
