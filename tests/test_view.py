"""What a person is looking at: read from an address or a browser; and the store of samples."""

from __future__ import annotations

import math

import pytest
import torch

from sagan_core import Generator, SAGANConfig, generate
from sagan_core.attention import Grid
from viz.store import SampleStore
from viz.view import Recipe, View, view_from_address, view_from_browser

GRIDS = {"a": Grid(4, 6), "b": Grid(8, 8)}
DEFAULT = View(Recipe(1, 2, 1.0), "a", ((0, 0),))
STATE = {
    "id": "x",
    "seed": 1,
    "label": 0,
    "truncation": 1,
    "layer": "b",
    "baseline": "average",
    "opacity": 0.7,
    "pins": [[1, 2]],
}


def test_an_address_overrides_what_it_names_only():
    assert view_from_address({}, DEFAULT, GRIDS, 3) == DEFAULT
    view = view_from_address({"layer": "b", "compare": "average"}, DEFAULT, GRIDS, 3)
    assert view == View(Recipe(1, 2, 1.0), "b", (), "average")
    view = view_from_address({"seed": "7", "opacity": "0.25"}, DEFAULT, GRIDS, 3)
    assert view == View(Recipe(7, 2, 1.0), "a", (), opacity=0.25)
    assert view_from_address({"opacity": "0.25"}, DEFAULT, GRIDS, 3).pins == DEFAULT.pins


def test_an_address_cannot_give_a_class_to_a_model_without():
    default = View(Recipe(1, None, 1.0), "a", ())
    assert view_from_address({"class": "1"}, default, GRIDS, 0) == default


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("", ()),
        ("3.5", ((3, 5),)),
        ("9.9,0.0", ((3, 5), (0, 0))),
        ("1.1,1.1,,a.b,-1.2,1.2.3,٣.٣,1e0.2", ((1, 1),)),
        (
            ",".join(f"{n // 6}.{n % 6}" for n in range(24)),
            tuple((n // 6, n % 6) for n in range(8)),
        ),
        ("1." + "9" * 5000, ((1, 5),)),
    ],
)
def test_pins_of_an_address(text, pins):
    assert view_from_address({"pins": text}, DEFAULT, GRIDS, 3).pins == pins


def test_a_good_state_is_read():
    expected = View(Recipe(1, 0, 1.0), "b", ((1, 2),), "average", 0.7)
    assert view_from_browser(STATE, GRIDS) == expected
    assert view_from_browser({**STATE, "label": None, "pins": []}, GRIDS).recipe.label is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": "c"}, "no attention layer 'c'; there are a, b"),
        ({"baseline": None}, "uniform, average"),
        ({"opacity": math.nan}, "opacity is nan"),
        ({"opacity": True}, "opacity is True"),
        ({"pins": [[8, 0]]}, r"pin \[8, 0\] is not a .* cell of the 8x8 grid"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"label": "0"}, "class is '0'"),
        ({"truncation": None}, "truncation is None"),
    ],
)
def test_a_wrong_state_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        view_from_browser({**STATE, **change}, GRIDS)


def test_the_store_is_bounded_and_its_ids_unguessable():
    torch.manual_seed(0)
    places = {"attention": (8,), "discriminator_attention": ()}
    generator = Generator(SAGANConfig(resolution=32, classes=3, latent_size=4, width=8, **places))
    made = []

    def make(recipe: Recipe):
        made.append(recipe.seed)
        return generate(generator, *recipe)

    store = SampleStore(make, capacity=2)
    first, sample = store.obtain(Recipe(0, 0, 1.0))
    assert store.obtain(Recipe(0, 0, 1.0)) == (first, sample)
    assert len(first) >= 20
    second, _ = store.obtain(Recipe(1, 0, 1.0))
    assert store.find(first) is sample  # used last: the other one leaves
    store.obtain(Recipe(2, 0, 1.0))
    assert (len(store), store.find(second), store.find(first)) == (2, None, sample)
    assert store.obtain(Recipe(1, 0, 1.0))[0] != second
    assert made == [0, 1, 2, 1]
    for unknown in ("", None, 3, ["x"]):
        assert store.find(unknown) is None


def test_a_recipe_that_cannot_be_made_is_not_kept():
    generator = Generator(SAGANConfig(resolution=32, width=8, discriminator_attention=()))
    store = SampleStore(lambda recipe: generate(generator, *recipe))
    with pytest.raises(ValueError, match="seed is -1"):
        store.obtain(Recipe(-1, None, 1.0))
    assert len(store) == 0
