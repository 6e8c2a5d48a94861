"""Deletion curves, ranks and verdicts, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from sagan_core.attention import Grid
from sagan_core.deletion import (
    DeletionCurve,
    deletion_sizes,
    judge,
    masks_without,
    nearest_order,
    order_by,
    random_orders,
    rank_correlation,
)


def test_sizes_double_up_to_all_keys():
    assert deletion_sizes(16).tolist() == [1, 2, 4, 8, 16]
    assert deletion_sizes(20).tolist() == [1, 2, 4, 8, 16, 20]
    assert deletion_sizes(64, 4).tolist() == [1, 4, 16, 64]
    assert deletion_sizes(1).tolist() == [1]


def test_masks_lack_the_first_keys_of_an_order():
    masks = masks_without(np.array([2, 0, 3, 1]), np.array([1, 2, 4]))
    assert masks.tolist() == [[1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]]


def test_orders():
    assert order_by(np.array([[0.1, 0.7], [0.2, 0.0]])).tolist() == [1, 2, 0, 3]
    drawn = [order_by(np.zeros(16), seed).tolist() for seed in range(3)]
    assert len({tuple(order) for order in drawn}) == 3
    assert all(sorted(order) == list(range(16)) for order in drawn)
    orders = random_orders(6, seed=1)
    assert orders.shape == (20, 6)
    assert (np.sort(orders, 1) == np.arange(6)).all()
    # Query (0, 3) of a 4x4 grid lies in key (0, 1) of a 2x2 grid.
    assert nearest_order((0, 3), Grid(4, 4), Grid(2, 2)).tolist()[0] == 1
    assert nearest_order((0, 3), Grid(4, 4), Grid(2, 2)).tolist()[-1] == 2


def test_rank_correlation_is_spearmans():
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([1, 4, 9, 16])) == pytest.approx(1)
    assert rank_correlation(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    expected = 4.5 / math.sqrt(4.5 * 5)
    assert rank_correlation(np.array([0, 5, 5, 9]), np.arange(4)) == pytest.approx(expected)
    assert math.isnan(rank_correlation(np.ones(4), np.arange(4)))


def curve_of(top, random, nearest=None):
    random = np.asarray(random, dtype=float)
    sizes = deletion_sizes(2 ** (random.shape[1] - 1))
    return DeletionCurve(sizes, {"attention": np.asarray(top, dtype=float)}, random, nearest)


def test_area_is_the_mean_height_over_log_k():
    curve = curve_of([4, 4, 4], [[0, 1, 4], [2, 3, 4]])
    assert curve.area(curve.top["attention"]) == 4
    assert curve.area(curve.random) == pytest.approx((1.5 + 3) / 2)
    assert curve.over_random(curve.top["attention"]) == pytest.approx(4 / 2.25)
    assert curve.random_mean.tolist() == [1, 2, 4]
    assert curve.random_spread == pytest.approx([math.sqrt(2), math.sqrt(2), 0])
    assert curve.spread_over_random() == pytest.approx(math.sqrt(2) * 0.75 / 2.25)


FLAT = np.linspace(0.9, 1.1, 20)[:, None] * np.array([1, 2, 3, 4])


@pytest.mark.parametrize(
    ("top", "effect", "unit", "words"),
    [
        ([3, 3, 4, 4], 0.1, "pixels", "the map names what matters"),
        ([1, 2, 3, 4], 0.1, "pixels", "no better than chance here"),
        ([0, 0, 0, 4], 0.1, "pixels", "no better than chance here"),
        ([3, 3, 4, 4], 0.003, "pixels", "this layer hardly matters at all"),
        ([3, 3, 4, 4], 0.011, "logit", "the map names what matters"),
        ([3, 3, 4, 4], 0.009, "logit", "this layer hardly matters at all"),
    ],
)
def test_the_verdict_follows_from_the_numbers(top, effect, unit, words):
    verdict = judge(curve_of(top, FLAT, np.array([2, 2, 3, 4.0])), "attention", effect, unit)
    assert verdict.words == words
    assert verdict.over_random == pytest.approx((top[0] / 2 + top[1] + top[2] + top[3] / 2) / 7.5)
    if verdict.kind != "hardly":
        assert f"{verdict.over_random:.2f} times" in verdict.reason
        assert f"nearest keys: {8 / 7.5:.2f}" in verdict.reason


def test_a_patch_that_nothing_changes_gives_no_ratio():
    verdict = judge(curve_of([0, 0, 0], np.zeros((20, 3))), "attention", 0.5, "pixels")
    assert verdict.kind == "chance"
    assert math.isnan(verdict.over_random)
    assert verdict.reason.startswith("Taking keys away from this point changes nothing.")
