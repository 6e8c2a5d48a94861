"""The numbers of a map, against the rules written as loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from planted import KINDS, make_field, planted_field

from sagan_core.attention import AttentionField, mask_keys
from viz.maps import map_of, maps_of, targets
from viz.view import Look

SMALL = [kind for kind in KINDS if kind != "large"]
LOOKS = [
    Look(direction, measure, baseline, temperature)
    for direction in ("from", "to")
    for measure in ("attention", "value")
    for baseline in ("uniform", "average")
    for temperature in (1.0, 0.4)
]


def by_loops(field: AttentionField, pin, look: Look, without=()) -> np.ndarray:
    """The docstring of maps.py, word by word."""
    query, key = (part[0].flatten(1).double().numpy() for part in (field.query, field.key))
    strength = field.strength()[0].flatten().double().numpy()
    rows = np.zeros((query.shape[1], key.shape[1]))
    for q in range(rows.shape[0]):
        logits = [query[:, q] @ key[:, k] / look.temperature for k in range(rows.shape[1])]
        kept = [k for k in range(rows.shape[1]) if k not in without]
        largest = max(logits[k] for k in kept)
        for k in kept:
            rows[q, k] = math.exp(logits[k] - largest)
        rows[q] /= rows[q].sum()
        if look.measure == "value":
            rows[q] *= strength
            rows[q] /= rows[q].sum()
    multiple = rows * rows.shape[1]
    if look.baseline == "average":
        mean = rows.mean(0)
        multiple = np.where(mean > 0, rows / np.where(mean > 0, mean, 1), 1)
    (height, width), (down, across) = field.query_grid, field.key_grid
    row, col = pin
    if look.direction == "from":
        return multiple[row * width + col].reshape(down, across)
    y, x = (row + 0.5) / height, (col + 0.5) / width
    return multiple[:, int(y * down) * across + int(x * across)].reshape(height, width)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_maps_follow_the_rules(kind, look):
    field = make_field(kind)
    pins = [(0, 0), (3, 4), (2, 1)]
    for without in ((), (0, 5)):
        found = maps_of(field, pins, look, without)
        for pin, one in zip(pins, found, strict=True):
            np.testing.assert_allclose(one, by_loops(field, pin, look, without), rtol=1e-9)


@pytest.mark.parametrize("kind", SMALL)
def test_plain_maps_are_the_fields_own(kind):
    field = make_field(kind)
    keys, rows = math.prod(field.key_grid), field.weights[0].double()
    np.testing.assert_allclose(map_of(field, (2, 3)), field.attended_by(2, 3)[0] * keys, rtol=1e-4)
    average = rows.mean(0).reshape(field.key_grid)
    expected = field.attended_by(2, 3)[0].double() / average
    np.testing.assert_allclose(map_of(field, (2, 3), Look(baseline="average")), expected, rtol=1e-4)
    masked = mask_keys(rows, torch.arange(keys) > 3)
    index = 2 * field.query_grid.width + 3
    expected = masked[index].reshape(field.key_grid) * keys
    np.testing.assert_allclose(map_of(field, (2, 3), None, range(4)), expected, rtol=1e-4)
    weighted = field.value_weighted(2, 3)[0] * keys
    np.testing.assert_allclose(map_of(field, (2, 3), Look(measure="value")), weighted, rtol=1e-4)


def test_a_planted_column_shows_who_looked():
    found = map_of(planted_field(), (3, 5), Look("to"))
    expected = np.zeros((4, 6))
    expected[2:, 4:] = 6
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_blocks_join_without_a_seam():
    field = make_field("large")  # 4096 x 1024 are a whole block
    twice = AttentionField(
        *(torch.cat([part, part], 2) for part in (field.query, field.key, field.x, field.out)),
        field.gamma,
    )
    look = Look("to", baseline="average")
    found = map_of(twice, (70, 5), look)
    np.testing.assert_allclose(found, np.tile(map_of(field, (6, 5), look), (2, 1)), rtol=1e-9)


def test_multiples_of_the_average_are_one_where_nobody_looks():
    query, key = torch.ones(1, 1, 2, 2), torch.tensor([[[[0.0, -1000.0]]]])
    field = AttentionField(query, key, query, query, 1.0)
    assert map_of(field, (1, 1), Look(baseline="average")).tolist() == [[1, 1]]
    assert map_of(field, (1, 1)).tolist() == [[2, 0]]


def test_rows_with_nothing_left_are_zero():
    field = planted_field()
    assert (map_of(field, (0, 0), None, range(6)) == 0).all()
    silent = AttentionField(
        field.query, field.key, field.x, field.out, 1.0, field.value, 0 * field.added
    )
    assert (map_of(silent, (0, 0), Look(measure="value")) == 0).all()


def test_wrong_cells_are_named():
    field = planted_field()
    with pytest.raises(IndexError, match=r"pin \(4, 0\) is outside the 4x6 grid"):
        map_of(field, (4, 0))
    with pytest.raises(IndexError, match="key cell 6 is outside the grid of 6 cells"):
        map_of(field, (0, 0), None, [6])


def test_arrows_lead_to_the_largest_peaks():
    found = np.array(
        [
            [9.0, 8.0, 1.0, 1.0, 3.0],
            [1.0, 1.0, 1.0, 1.0, 1.0],
            [4.0, 4.0, 1.0, 1.9, 1.0],
            [4.0, 1.0, 1.0, 1.0, 5.0],
        ]
    )
    assert [tuple(target) for target in targets(found)] == [(0, 0, 9), (3, 4, 5), (2, 0, 4)]
    assert len(targets(found, 10)) == 4  # 1.9 is too little
    assert targets(np.ones((3, 3))) == []


def test_every_peak_is_at_least_its_neighbours():
    found = np.random.default_rng(0).integers(0, 6, (9, 11)).astype(float)
    peaks = targets(found, 100)
    assert peaks
    for row, col, multiple in peaks:
        around = found[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2]
        assert multiple == found[row, col] == around.max() >= 2
    for one, other in itertools.combinations(peaks, 2):
        near = abs(one.row - other.row) <= 1 and abs(one.col - other.col) <= 1
        assert not near or one.multiple != other.multiple
