"""Colours: even, told apart by every eye, and on a scale that reads well."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from viz.colour import PIN_COLOUR_NAMES, PIN_COLOURS, colour_table, scale_top


def linear(colour: np.ndarray) -> np.ndarray:
    part = colour / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear sRGB -> CIELAB."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.clip(rgb, 0, 1) @ np.transpose(matrix) / (0.9505, 1, 1.089)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def test_the_colour_map_grows_lighter_evenly():
    lightness = lab(linear(colour_table()))[:, 0]
    assert (np.diff(lightness) > 0).all()
    steps = np.diff(lightness[::17])  # 15 parts; single steps are rounded to 8 bits
    assert np.abs(steps - steps.mean()).max() < 0.5 * steps.mean()


def test_the_scale_ends_at_a_pleasant_number_between_the_peaks():
    assert scale_top([]) == scale_top([np.ones((2, 2))]) == 2
    assert scale_top([np.full(3, 2.001)]) == 2
    assert scale_top(np.full((2, 3, 3), 17.3)) == 20
    assert scale_top([np.array([0, 2.0]), np.array([8.0, 1])]) == 4  # the geometric mean
    assert scale_top([np.array([0.5]), np.array([100.0])]) == 10


SIMULATIONS = {  # Machado et al. 2009, severity 1
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "full colour vision": np.eye(3).tolist(),
}


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """Sharma, Wu and Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * math.sqrt(mean**7 / (mean**7 + 25**7))
    c1, c2 = math.hypot(stretch * a1, b1), math.hypot(stretch * a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    lightness, chroma, middle = (l1 + l2) / 2, (c1 + c2) / 2, (h1 + turn / 2) % 360
    t = 1 + sum(
        weight * math.cos(math.radians(factor * middle - shift))
        for weight, factor, shift in ((-0.17, 1, 30), (0.24, 2, 0), (0.32, 3, -6), (-0.2, 4, 63))
    )
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    rotation = 60 * math.exp(-(((middle - 275) / 25) ** 2))
    r = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * math.sin(math.radians(rotation))
    d_l, d_c, d_h = (l2 - l1) / s_l, (c2 - c1) / s_c, hue / s_h
    return math.sqrt(d_l**2 + d_c**2 + d_h**2 + r * d_c * d_h)


def test_ciede2000_gives_the_published_numbers():
    one, other = np.array([50, 2.6772, -79.7751]), np.array([50, 0, -82.7485])
    assert ciede2000(one, other) == pytest.approx(2.0425, abs=1e-4)
    one, other = np.array([2.0776, 0.0795, -1.135]), np.array([0.9033, -0.0636, -0.5514])
    assert ciede2000(one, other) == pytest.approx(0.9082, abs=1e-4)


@pytest.mark.parametrize("simulation", SIMULATIONS)
def test_pin_colours_stay_apart(simulation):
    rgb = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in PIN_COLOURS])
    seen = lab(linear(rgb) @ np.transpose(SIMULATIONS[simulation]))
    assert min(ciede2000(a, b) for a, b in itertools.combinations(seen, 2)) >= 15


def test_every_pin_colour_has_a_name():
    assert len(PIN_COLOURS) == len(PIN_COLOUR_NAMES) == len(set(PIN_COLOUR_NAMES)) == 8
    assert PIN_COLOUR_NAMES[:3] == ("red", "green", "blue")


def test_an_unknown_colour_map_is_an_error():
    with pytest.raises(ValueError, match="no colour map 'jetson'"):
        colour_table("jetson")
