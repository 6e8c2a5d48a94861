"""A look and a view: read from a state that anybody may have sent."""

from __future__ import annotations

import math

import pytest

from sagan_core.attention import Grid
from viz.view import Look, View, default_layer, same_place, short, view_from_state

GRIDS = {"a": Grid(4, 6), "b": Grid(8, 8), "discriminator.c": Grid(2, 2)}
STATE = {
    "source": {"seed": 1},
    "layer": "b",
    "other_layer": "a",
    "all_layers": True,
    "pins": [[1, 2], [7, 0]],
    "direction": "to",
    "measure": "value",
    "baseline": "average",
    "temperature": 2,
    "scale": "own",
    "log": True,
    "colours": "cividis",
    "opacity": 0,
    "style": "mask",
    "smooth": True,
    "arrows": True,
}


def test_a_whole_state_is_read():
    look = Look("to", "value", "average", 2.0, "own", True, "cividis", 0.0, "mask", True, True)
    assert view_from_state(STATE, GRIDS) == View("b", ((1, 2), (7, 0)), "a", True, look)


def test_what_is_missing_has_its_default():
    assert view_from_state({}, GRIDS) == View("b")
    assert default_layer({"discriminator.c": 0}) == "discriminator.c"
    with pytest.raises(ValueError, match="no attention layer to look at"):
        view_from_state({}, {})


def test_the_second_pane_has_layers_of_its_own():
    other = {"x": Grid(2, 2)}
    assert view_from_state({"other_layer": "x"}, GRIDS, other).other_layer == "x"
    with pytest.raises(ValueError, match="other_layer: no attention layer 'a'; there are x"):
        view_from_state({"other_layer": "a"}, GRIDS, other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": "c"}, "layer: no attention layer 'c'; there are a, b, discriminator.c"),
        ({"layer": ["b"]}, r"layer: no attention layer \['b'\]"),
        ({"layer": None}, "no attention layer None"),
        ({"direction": "FROM"}, "direction is 'FROM'; it must be one of from, to"),
        ({"baseline": None}, "baseline is None; it must be one of uniform, average"),
        ({"measure": {}}, "measure is a dict"),
        ({"colours": "jet"}, "colours is 'jet'; it must be one of inferno, viridis, cividis"),
        ({"style": "<script>" * 1000}, r"style is '(<script>)+<s?c?r?i?p?t?'; it"),
        ({"opacity": math.nan}, "opacity is nan; it must be a number from 0 to 1"),
        ({"opacity": True}, "opacity is True"),
        ({"opacity": -0.1}, "opacity is -0.1"),
        ({"temperature": 0}, "temperature is 0; it must be a number from 0.1 to 10"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": 10**5000}, "temperature is a number of 16610 bits"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"log": 1}, "log is 1; it must be true or false"),
        ({"arrows": "yes"}, "arrows is 'yes'"),
        ({"all_layers": 0}, "all_layers is 0; it must be true or false"),
        ({"pins": [[8, 0]]}, r"pin \[8, 0\] is not a \[row, col\] cell of the 8x8 grid"),
        ({"pins": [[0, 10**5000]]}, r"pin \[0, a number of 16610 bits\]"),
        ({"pins": [[0, -1]]}, r"pin \[0, -1\]"),
        ({"pins": [[0.0, 1]]}, r"pin \[0.0, 1\]"),
        ({"pins": [[True, 1]]}, r"pin \[True, 1\]"),
        ({"pins": [[0, 1, 2]]}, r"pin \[0, 1, 2\]"),
        ({"pins": [[[[]]]]}, r"pin \[\[\.\.\.\]\]"),
        ({"pins": [[0, 0]] * 9}, "pins must be a list of at most 8"),
        ({"pins": "00"}, "pins must be a list"),
    ],
)
def test_a_wrong_state_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        view_from_state({**STATE, **change}, GRIDS)


@pytest.mark.parametrize("state", [None, [], "x", 3])
def test_what_is_no_state(state):
    with pytest.raises(ValueError, match="expected a state as a JSON object"):
        view_from_state(state, GRIDS)


def test_messages_stay_short():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, "x" * 10**6, 10**10**4, list(range(10**5)), {"x": deep}):
        assert len(short(value)) < 200


def test_a_place_on_another_grid():
    assert same_place((3, 5), Grid(4, 6), Grid(2, 3)) == (1, 2)
    assert same_place((1, 1), Grid(2, 2), Grid(4, 4)) == (3, 3)  # a centre on an edge: below, right
    for row in range(7):
        assert same_place((row, 0), Grid(7, 1), Grid(7, 5)) == (row, 2)
        assert same_place((row, 0), Grid(7, 1), Grid(3, 1))[0] == int((row + 0.5) / 7 * 3)
