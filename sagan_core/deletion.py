"""Deletion curves: does taking away the keys that a map ranks first change more than chance does?

Plain arithmetic on numpy arrays; `sagan_core.attribution` measures what goes in. The idea is that
of pixel flipping (Samek et al. 2017, *Evaluating the visualization of what a deep neural network
has learned*), with the keys of an attention layer in place of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from .attention import Grid

RANDOM_DRAWS = 20
# How much better than random keys, in area, a map has to be at least before it names something.
LEAST_LEAD = 1.1
# Below these changes "the layer hardly matters": one of 255 grey levels, and a hundredth of the
# hinge loss's margin, which is 1.
LEAST_EFFECT = {"pixels": 1 / 255, "logit": 0.01}

Unit = Literal["pixels", "logit"]
VerdictKind = Literal["names", "chance", "hardly"]
VERDICTS: Mapping[VerdictKind, str] = {
    "names": "the map names what matters",
    "chance": "no better than chance here",
    "hardly": "this layer hardly matters at all",
}


def deletion_sizes(keys: int, factor: int = 2) -> np.ndarray:
    """How many keys go at each point of a curve: 1, `factor`, its square, ... and all of them."""
    sizes = [keys]
    size = 1
    while size < keys:
        sizes.append(size)
        size *= factor
    return np.sort(sizes)


def order_by(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Key indices, the largest value first; equal values in random order.

    In the order of the grid they would be neighbours, and neighbours gone change more than keys
    here and there: a map of one value would seem to name something.
    """
    draw = np.random.default_rng(seed).random(values.size)
    return np.lexsort((draw, -values.ravel()))


def random_orders(keys: int, seed: int = 0, draws: int = RANDOM_DRAWS) -> np.ndarray:
    """(draws, keys): each row all keys in random order."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(keys) for _ in range(draws)])


def nearest_order(pin: tuple[int, int], query_grid: Grid, key_grid: Grid) -> np.ndarray:
    """Keys by the distance of their centre from the centre of query cell `pin`, nearest first."""
    rows = (np.arange(key_grid.height) + 0.5) / key_grid.height
    cols = (np.arange(key_grid.width) + 0.5) / key_grid.width
    row, col = ((place + 0.5) / size for place, size in zip(pin, query_grid, strict=True))
    # Rounded, so that rounding errors do not order cells at the same distance.
    distance = np.round((rows[:, None] - row) ** 2 + (cols[None, :] - col) ** 2, 9)
    return np.argsort(distance.ravel(), kind="stable")


def masks_without(order: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(len(sizes), keys) float32: row i is 0 at the first sizes[i] keys of `order`, else 1."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return (rank[None, :] >= sizes[:, None]).astype(np.float32)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, from -1 to 1; equal values share their mean rank. NaN where one is constant."""
    one, two = _ranks(first.ravel()), _ranks(second.ravel())
    one, two = one - one.mean(), two - two.mean()
    spread = math.sqrt(float(one @ one) * float(two @ two))
    return float(one @ two) / spread if spread > 0 else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


@dataclass(frozen=True, eq=False)
class DeletionCurve:
    """How much the patch changes when keys go, in the unit of `Evidence.unit`.

    Attributes:
        sizes: (K,) how many keys are gone; the last is all of them.
        top: per map (K,): the keys that the map ranks first are gone. A map of one value all
            over ranks none first and has no curve.
        random: (draws, K): random keys, each row one random order of all keys.
        nearest: (K,): the keys nearest to the pin; None without a pin.
    """

    sizes: np.ndarray
    top: Mapping[str, np.ndarray]
    random: np.ndarray
    nearest: np.ndarray | None

    @property
    def random_mean(self) -> np.ndarray:
        return self.random.mean(0)

    @property
    def random_spread(self) -> np.ndarray:
        """(K,) standard deviation over the draws."""
        return self.random.std(0, ddof=1)

    def area(self, curve: np.ndarray) -> float:
        """Mean height of one or, as a mean, several curves, with k on a logarithmic axis."""
        if len(self.sizes) == 1:
            return float(curve.mean())
        places = np.log2(self.sizes)
        return float((np.trapezoid(curve, places) / places[-1]).mean())

    @cached_property
    def _random_area(self) -> float:
        return self.area(self.random)

    def over_random(self, curve: np.ndarray) -> float:
        """A curve's area over the mean random one: 1 is chance. NaN where nothing changes."""
        return self.area(curve) / self._random_area if self._random_area > 0 else math.nan

    def spread_over_random(self) -> float:
        """Standard deviation of `over_random` of the random draws themselves."""
        return float(np.std([self.over_random(draw) for draw in self.random], ddof=1))

    def draws_as_good(self, curve: np.ndarray) -> int:
        """How many of the random draws have as large an area."""
        area = self.area(curve)
        return sum(self.area(draw) >= area for draw in self.random)

    def beats_chance(self, curve: np.ndarray) -> bool:
        """Its area is at least LEAST_LEAD times the mean, and one draw at most does as well.

        One draw may: where a single key counts, a random order has it first now and then. Of 20
        draws, a random order comes that far in 2 of 21 cases.
        """
        return self.over_random(curve) >= LEAST_LEAD and self.draws_as_good(curve) <= 1


@dataclass(frozen=True)
class Verdict:
    """What the numbers say of a map.

    Attributes:
        kind: key of `VERDICTS`.
        over_random: area of the map's deletion curve over the mean random one; 1 is chance.
        random_spread: standard deviation of the same figure over the random draws.
        draws_as_good: how many random draws did as well as the map.
        nearest_over_random: the same figure for the nearest keys; None without a pin.
        layer_effect: how much the patch changes without the layer.
        least_effect: below this the layer hardly matters.
        unit: of both effects.
    """

    kind: VerdictKind
    over_random: float
    random_spread: float
    draws_as_good: int
    nearest_over_random: float | None
    layer_effect: float
    least_effect: float
    unit: Unit

    @property
    def words(self) -> str:
        return VERDICTS[self.kind]

    @property
    def reason(self) -> str:
        """The numbers that decide it, in a sentence or two."""
        effect = f"Without the layer {_changes(self.unit, self.layer_effect)}"
        if self.kind == "hardly":
            return f"{effect}; under {_amount(self.unit, self.least_effect)} counts as nothing."
        if math.isnan(self.over_random):
            return f"Taking keys away from this point changes nothing. {effect}."
        nearest = (
            ""
            if self.nearest_over_random is None
            else f"; the nearest keys: {self.nearest_over_random:.2f}"
        )
        return (
            f"Taking away the map's top keys changes {self.over_random:.2f} times as much as "
            f"random keys do (1 ± {self.random_spread:.2f}; {self.draws_as_good} of {RANDOM_DRAWS} "
            f"draws as much{nearest}). {effect}."
        )


def _amount(unit: Unit, value: float) -> str:
    return f"{255 * value:.2g} of 255 grey levels" if unit == "pixels" else f"{value:.2g}"


def _changes(unit: Unit, value: float) -> str:
    what = "the patch" if unit == "pixels" else "the logit"
    return f"{what} changes by {_amount(unit, value)}"


def judge(curve: DeletionCurve, name: str, layer_effect: float, unit: Unit) -> Verdict:
    """The verdict on the map `name` of a curve.

    "hardly" where taking the layer out changes the patch by less than LEAST_EFFECT; else "names"
    where the map beats chance (`DeletionCurve.beats_chance`); else "chance", as for a map of one
    value all over, whose order is chance itself.
    """
    top, least = curve.top.get(name), LEAST_EFFECT[unit]
    kind: VerdictKind = "names" if top is not None and curve.beats_chance(top) else "chance"
    return Verdict(
        "hardly" if layer_effect < least else kind,
        1.0 if top is None else curve.over_random(top),
        curve.spread_over_random(),
        RANDOM_DRAWS if top is None else curve.draws_as_good(top),
        None if curve.nearest is None else curve.over_random(curve.nearest),
        layer_effect,
        least,
        unit,
    )
