"""What makes a scene, read from whatever a client sends."""

from __future__ import annotations

import json
import math

import pytest

from viz.source import MOST_CELLS, Place, Source, short

FULL = {
    "checkpoint": "mine",
    "weights": 50048,
    "seed": 3,
    "label": 8,
    "truncation": 0.5,
    "toward": {"seed": 5, "label": None},
    "at": 0.25,
    "gamma": {"blocks.1.attention": 1.5},
    "without": {"blocks.1.attention": [0, 17]},
    "image": None,
}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


HOSTILE = [
    None,
    3,
    "seed",
    [],
    math.nan,
    nested(900),
    {"seed": -1},
    {"seed": 2**32},
    {"seed": 10**5000},
    {"seed": 1.5},
    {"seed": math.nan},
    {"seed": math.inf},
    {"seed": True},
    {"seed": "7"},
    {"seed": [7]},
    {"seed": nested(900)},
    {"label": -1},
    {"label": 10**400},
    {"label": False},
    {"label": "8"},
    {"truncation": 1.01},
    {"truncation": -0.1},
    {"truncation": math.nan},
    {"truncation": 10**400},
    {"truncation": None},
    {"truncation": True},
    {"at": 2},
    {"at": -math.inf},
    {"at": "0.5"},
    {"toward": 5},
    {"toward": {}},
    {"toward": {"seed": None}},
    {"toward": {"seed": 1, "label": 0.5}},
    {"weights": "best"},
    {"weights": -1},
    {"weights": None},
    {"weights": ["trained"]},
    {"weights": True},
    {"checkpoint": None},
    {"checkpoint": "x" * 100_000},
    {"checkpoint": ["a"]},
    {"gamma": []},
    {"gamma": {"a": 2.01}},
    {"gamma": {"a": math.nan}},
    {"gamma": {"a": None}},
    {"gamma": {"a": 10**400}},
    {"gamma": {"a" * 1000: 1}},
    {"gamma": {str(i): 0.5 for i in range(1000)}},
    {"without": [1, 2]},
    {"without": {"a": 3}},
    {"without": {"a": [-1]}},
    {"without": {"a": [0.5]}},
    {"without": {"a": [math.nan]}},
    {"without": {"a": [[0]]}},
    {"without": {"a": nested(900)}},
    {"without": {"a": [MOST_CELLS]}},
    {"without": {"a": [0] * (MOST_CELLS + 1)}},
    {"image": 3},
    {"image": "real-"},
    {"image": "real--1"},
    {"image": "real-99999999999"},
    {"image": "dropped-../../etc/passwd"},
    {"image": "dropped-" + "0" * 33},
    {"image": "real-1\n"},
    {str(i): i for i in range(5000)},
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_what_makes_no_sense_is_refused_in_a_few_words(value):
    with pytest.raises(ValueError, match=r"must be|such") as caught:
        Source.from_json(value)
    assert len(str(caught.value)) < 300


def test_a_source_comes_back_from_json():
    source = Source.from_json(FULL)
    assert source.to_json() == FULL
    assert Source.from_json(json.loads(json.dumps(source.to_json()))) == source
    assert source.toward == Place(5)
    assert source.edited


def test_equal_scenes_have_equal_sources():
    plain = Source.from_json({"seed": 3})
    same = {"seed": 3.0, "gamma": {"a": 1}, "without": {"a": []}, "truncation": 1, "extra": "x"}
    assert Source.from_json(same) == plain
    assert hash(Source.from_json(same)) == hash(plain)
    assert not plain.edited
    one = {"gamma": {"b": 0, "a": 0.5}, "without": {"c": [4, 1, 4]}}
    other = {"gamma": {"a": 0.5, "b": 0.0}, "without": {"c": [1, 4]}}
    assert Source.from_json(one) == Source.from_json(other)
    assert Source.from_json({}) == Source()


def test_strange_values_are_told_shortly():
    for value in (nested(5000), 10**5000, "x" * 10**6, {"a": nested(5000)}, b"\0" * 1000):
        assert len(short(value)) < 70
