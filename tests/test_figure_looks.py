"""Still figures with every option of the look: each cell read back, and what the caption says."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from planted import planted_sample
from stills import PINS, SVG, away_from_mark, inside, panels, pixels, texts

from viz.colour import colour_table, scale_top
from viz.drawing import smoothed
from viz.figure import Pane, StillFigure, figure, layer_facts, panes_figure
from viz.layout import DOTS_PER_INCH, BlockLayout
from viz.maps import map_of, maps_of, targets
from viz.view import Look, same_place

HREF = "{http://www.w3.org/1999/xlink}href"


@pytest.fixture(scope="module")
def sample():
    return planted_sample()


# Every cell of a map, read back from the picture


def decoded(still: StillFigure, kind: str) -> list[np.ndarray]:
    """The panels' pixels: out of the PNG by their place, out of the SVG as its own images."""
    if kind == "png":
        page = pixels(still)
        return [inside(page, box) for box in panels(still)]
    root = ElementTree.fromstring(still.render("svg"))
    images = [
        element.get("{http://www.w3.org/1999/xlink}href") for element in root.iter(f"{SVG}image")
    ]
    found = [base64.b64decode(href.split(",")[1]) for href in images]
    return [np.asarray(Image.open(BytesIO(one)).convert("RGB")) for one in found[1:-1]]


LOOKS = [
    {},
    {"direction": "to"},
    {"baseline": "average", "direction": "to", "colours": "viridis"},
    {"measure": "value", "temperature": 0.5},
    {"log": True, "colours": "cividis"},
    {"scale": "own", "log": True},
    {"scale": "own", "baseline": "average", "measure": "value"},
]


@pytest.mark.parametrize(
    "look", LOOKS, ids=lambda look: " ".join(map(str, look.values())) or "plain"
)
@pytest.mark.parametrize("layer", ["planted", "square", "pooled", "oblong", "coarse queries"])
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_every_cell_of_every_map_is_read_back(sample, layer, look, kind):
    still = figure(sample, layer, PINS[:3], opacity=1, without={layer: [1]}, **look)
    maps = maps_of(sample.fields[layer], PINS[:3], Look(**look), [1])
    for index, shown in enumerate(decoded(still, kind)):
        top = scale_top([maps[index]] if look.get("scale") == "own" else maps)
        share = maps[index] / top
        if look.get("log"):
            share = np.log(np.maximum(share, 0.01) * 100) / np.log(100)
        colours = colour_table(look.get("colours", "inferno"))
        height, width = maps[index].shape
        free = unmarked(still, index, shown.shape[:2])
        for row, col in np.ndindex(height, width):
            rows = slice(*(at * shown.shape[0] // height for at in (row, row + 1)))
            cols = slice(*(at * shown.shape[1] // width for at in (col, col + 1)))
            seen = shown[rows, cols][2:-2, 2:-2]
            if kind == "png":
                seen = seen[free[rows, cols][2:-2, 2:-2]]
            exact = 255 * np.clip(share[row, col], 0, 1)
            low, high = int(exact + 0.499), int(exact + 0.501)  # either, where it is between two
            for colour in np.unique(seen.reshape(-1, 3), axis=0):
                assert any((colour == colours[at]).all() for at in (low, high))


def unmarked(still: StillFigure, index: int, size: tuple[int, int]) -> np.ndarray:
    """Where the outline of the asked cell is not."""
    layer = still.blocks[0].layers[0]
    cell, grid = layer.pins[index], layer.query_grid
    if still.look.direction == "to":
        cell, grid = same_place(cell, grid, layer.key_grid), layer.key_grid
    free = np.ones(size, bool)
    top, left = (int(at * size[axis] / grid[axis]) for axis, at in enumerate(cell))
    bottom, right = (int((at + 1) * size[axis] / grid[axis]) for axis, at in enumerate(cell))
    free[max(0, top - 16) : bottom + 16, max(0, left - 16) : right + 16] = False
    return free


def test_the_mask_dims_where_attention_is_not(sample):
    still = figure(sample, "planted", [(0, 5)], style="mask", opacity=0.8)
    (box,) = panels(still)
    shown, zoom = inside(pixels(still), box), box.height // 24
    large = sample.image.repeat(zoom, 0).repeat(zoom, 1).astype(float)
    factor = np.full((24 * zoom, 40 * zoom, 1), 0.2)
    factor[: 12 * zoom, -(-80 * zoom // 3) :] = 1  # of 2x3 key cells the top right has it all
    free = away_from_mark(still, 0, box)
    assert np.abs(shown - factor * large)[free].max() <= 1


def test_smooth_maps_are_exact_at_the_centres_of_cells():
    values = np.random.default_rng(0).random((3, 5))
    large = smoothed(values, 3 * 9, 5 * 9)
    np.testing.assert_allclose(large[4::9, 4::9], values)
    np.testing.assert_allclose(large[:4, :4], values[0, 0])
    between = large[4, 4:14]
    np.testing.assert_allclose(np.diff(between), (values[0, 1] - values[0, 0]) / 9)


def test_arrows_lead_to_the_peaks(sample):
    still = figure(sample, "pooled", [(3, 5)], arrows=True, opacity=0)
    plain = figure(sample, "pooled", [(3, 5)], opacity=0)
    (box,) = panels(still)
    changed = (inside(pixels(still), box) != inside(pixels(plain), box)).any(2)
    peaks = targets(still.blocks[0].layers[0].maps[0])
    assert peaks
    start = np.array([3.5 / 16 * box.height, 5.5 / 16 * box.width])
    for peak in peaks:
        end = np.array([(peak.row + 0.5) / 8 * box.height, (peak.col + 0.5) / 8 * box.width])
        if np.linalg.norm(end - start) < 30:
            continue
        middle = ((start + end) / 2).astype(int)
        assert changed[tuple(middle)]
        beyond = (end + 0.1 * (end - start)).astype(int)
        if (beyond >= 0).all() and (beyond < changed.shape).all():
            assert not changed[tuple(beyond)]


def test_all_layers_are_rows_under_the_same_pins(sample):
    still = figure(sample, "planted", [(3, 5), (0, 0)], all_layers=True)
    (block,) = still.blocks
    assert [layer.name for layer in block.layers] == list(sample.fields)
    pooled = block.layers[list(sample.fields).index("pooled")]
    assert pooled.pins == ((14, 14), (2, 1))  # the centres of cells of 4x6 on 16x16
    np.testing.assert_array_equal(pooled.maps[0], map_of(sample.fields["pooled"], (14, 14)))
    said = " ".join(texts(still.render("svg")))
    for name, field in sample.fields.items():
        assert layer_facts(name, field) in said
    assert pixels(still).shape[0] > len(sample.fields) * 200


def test_two_panes_have_one_scale_and_their_own_words(sample):
    other = Pane(
        sample.image, sample.fields, "square", "two", "seed 4", "gamma ×2", {"square": [0]}
    )
    first = Pane(sample.image, sample.fields, "planted", "one", "seed 3")
    still = panes_figure([first, other], [(3, 5)])
    maps = [block.layers[0].maps[0] for block in still.blocks]
    np.testing.assert_array_equal(maps[1], map_of(sample.fields["square"], (7, 7), None, [0]))
    assert still.top == scale_top(maps)
    said = texts(still.render("svg"))
    assert {"one", "two", "gamma ×2"} <= set(said)
    assert " ".join(said).count("Colours show") == 1


def test_what_is_not_plain_is_said(sample):
    look = {"temperature": 0.5, "scale": "own", "log": True, "measure": "value", "direction": "to"}
    said = texts(figure(sample, "pooled", PINS[:2], **look).render("svg"))
    whole = " ".join(said)
    assert "What-if: softmax at temperature 0.5." in whole
    assert "Own scale:" in whole
    assert sum(text.startswith("own scale, to ") for text in said) == 2
    assert "logarithmic" in whole
    assert "how much each point looked at the outlined cell" in whole
    assert "length of what each key's value adds" in whole


@pytest.mark.parametrize("count", [3, 8])
@pytest.mark.parametrize("layers", [1, 3])
def test_rows_of_layers_do_not_overlap(count, layers):
    layout = BlockLayout.of(count, (32, 32), layers, own_scale=True)
    everything = [layout.image, layout.bar, *(box for row in layout.panels for box in row)]
    for index, one in enumerate(everything):
        for other in everything[index + 1 :]:
            apart = one.right < other.left or one.bottom < other.top
            assert apart or other.right < one.left or other.bottom < one.top
    assert layout.bar.right <= 7.5 * DOTS_PER_INCH
    assert layout.bottom > layout.bar.bottom
