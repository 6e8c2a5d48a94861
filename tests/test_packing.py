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
    content, description = pack(sample)
    assert len(json.dumps(description)) < 8000
    image = description["image"]
    shape = (image["height"], image["width"], image["channels"])
    pixels = np.frombuffer(content, np.uint8, math.prod(shape), image["offset"])
    assert (pixels.reshape(shape) == sample.image).all()
    for layer in description["layers"]:
        mean = np.frombuffer(content, "<f4", math.prod(layer["key_grid"]), layer["mean"])
        exact = sample.fields[layer["name"]].mean_row()[0].flatten().numpy()
        np.testing.assert_allclose(mean, exact)


def test_a_large_layer_is_small(sample):
    one = Sample(sample.image, {"large": sample.fields["large"]}, 0, None, 1.0)
    assert len(pack(one)[0]) < 340_000  # 64x64 queries and 32x32 keys of 32 channels


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
