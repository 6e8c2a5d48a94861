"""The explorer's ES modules on their own, in a browser without Gradio."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest
from browser import LOOK

from viz.colour import PIN_COLOURS
from viz.explorer.explorer import FOLDER


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def modules(chromium):
    """Calls `run(javascript, argument)`, in which `load(name)` imports a module."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(FOLDER))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/explorer.css")

    def run(javascript: str, argument: object = None) -> object:
        return page.evaluate(
            "async (argument) => { const load = (name) => import(`/${name}.js`);"
            f" {javascript} }}",
            argument,
        )

    yield run
    context.close()
    server.shutdown()


SOURCE = {
    "checkpoint": "one",
    "weights": "trained",
    "seed": 3,
    "label": 1,
    "truncation": 1,
    "toward": None,
    "at": 0,
    "gamma": {},
    "without": {},
    "image": None,
}
USUAL = {
    **LOOK,
    "source": SOURCE,
    "other": None,
    "other_layer": None,
    "layer": "a.b",
    "pins": [[1, 2]],
}
LAB = {
    "checkpoint": "one",
    "checkpoints": ["one", "two"],
    "class_names": ["x", "y", "z"],
    "max_seed": 2**32 - 1,
    "pin_colours": list(PIN_COLOURS),
}
EVERYTHING = {
    "all_layers": True,
    "direction": "to",
    "measure": "value",
    "baseline": "average",
    "temperature": 0.25,
    "scale": "own",
    "log": True,
    "colours": "cividis",
    "opacity": 0,
    "style": "mask",
    "smooth": True,
    "arrows": True,
    "layer": "discriminator.blocks.0.attention",
    "pins": [[0, 0], [15, 3]],
    "source": {
        "checkpoint": "two",
        "weights": 50048,
        "seed": 4294967295,
        "label": 2,
        "truncation": 0.35,
        "toward": {"seed": 9, "label": 0},
        "at": 0.5,
        "gamma": {"blocks.1.attention": -1.5, "b": 0},
        "without": {"blocks.1.attention": [3, 4, 5, 9]},
        "image": "real-2",
    },
    "other": {**SOURCE, "weights": "random", "seed": 8},
    "other_layer": "blocks.0.attention",
}
THROUGH = """
  const { queryString, readAddress } = await load("address");
  const [state, usual, lab] = argument;
  return readAddress("?" + queryString(state), usual, lab);
"""


@pytest.mark.parametrize("state", [USUAL, EVERYTHING], ids=["as it opens", "everything else"])
def test_the_address_holds_the_whole_state(modules, state):
    assert modules(THROUGH, [state, USUAL, LAB]) == state


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("seed=-5&class=99&truncation=7&opacity=-3", {"seed": 0, "label": 2, "truncation": 1}),
        ("seed=1e400&class=NaN&truncation=abc", {"seed": 2**32 - 1, "label": 1, "truncation": 1}),
        ("seed=3.7&class=&truncation=", {"seed": 3, "label": 1, "truncation": 1}),
        ("seed=<script>&checkpoint=../../etc", {"seed": 3, "checkpoint": "../../etc"}),
        ("weights=__proto__&image=javascript:1", {"weights": "trained", "image": None}),
        ("gamma=a~999&gamma=b~x&gamma=~&gamma=c", {"gamma": {"a": 2}}),
        ("without=a~3-1.x.2-99999999999", {"without": {"a": []}}),
        ("toward=9999999999999.77&at=NaN", {"toward": {"seed": 2**32 - 1, "label": 2}, "at": 0}),
    ],
)
def test_what_makes_no_sense_in_an_address_is_left_out_or_moved_to_the_nearest(
    modules, address, expected
):
    state = modules(
        """const { readAddress } = await load("address");
        return readAddress("?" + argument[0], argument[1], argument[2]);""",
        [address, USUAL, LAB],
    )
    assert {name: state["source"][name] for name in expected} == expected


def test_pins_in_an_address(modules):
    read = """const { readAddress } = await load("address");
      return argument[0].map((text) => readAddress(text, argument[1], argument[2]).pins);"""
    many = "?pins=" + ",".join(f"0.{col}" for col in range(50))
    asked = ["?pins=3.5,0.12,3.5,-1.2,x,7", "?pins=", "?opacity=0.5", "?seed=9", many]
    given, none, kept, another, capped = modules(read, [asked, USUAL, LAB])
    assert given == [[3, 5], [0, 12]]
    assert none == []
    assert kept == [[1, 2]]
    assert another is None, "another image gets pins of its own"
    assert len(capped) == len(PIN_COLOURS)


def test_an_endless_address_is_read_in_no_time(modules):
    asked = "?without=a~" + "0-999999." * 5000 + "&" + "gamma=b~1&" * 5000
    took, cells = modules(
        """const { readAddress } = await load("address");
        const start = performance.now();
        const state = readAddress(argument[0], argument[1], argument[2]);
        return [performance.now() - start, state.source.without.a?.length ?? 0];""",
        [asked, USUAL, LAB],
    )
    assert cells <= 4096
    assert took < 500


def test_sources_that_make_the_same_picture_have_one_key(modules):
    same = modules(
        """const { sourceKey } = await load("state");
        const plain = { seed: 3, label: 1 };
        const dressed = { ...argument, checkpoint: undefined, gamma: { a: 1 }, without: { a: [] } };
        return [sourceKey(plain) === sourceKey(dressed),
          sourceKey(plain) === sourceKey({ ...plain, gamma: { a: 0 } }),
          sourceKey({ ...plain, gamma: { a: 0, b: 2 } })
            === sourceKey({ ...plain, gamma: { b: 2, a: 0 } })];""",
        SOURCE,
    )
    assert same == [True, False, True]


def test_changing_a_value_leaves_the_former_state_as_it_was(modules):
    before, after, value = modules(
        """const { withValue, valueAt } = await load("state");
        const before = { source: { seed: 1, gamma: {} }, log: false };
        const after = withValue(before, "source.gamma/blocks.1.attention", 0.5);
        return [before, after, valueAt(after, "source.gamma/blocks.1.attention")];"""
    )
    assert before == {"source": {"seed": 1, "gamma": {}}, "log": False}
    assert after["source"] == {"seed": 1, "gamma": {"blocks.1.attention": 0.5}}
    assert value == 0.5


def test_undo_and_redo_and_one_drag_is_one_step(modules):
    seen = modules(
        """const { History } = await load("state");
        const history = new History();
        let now = "a";
        const to = (next, by) => { history.changed(now, by); now = next; };
        to("b", "slider"); to("c", "slider"); to("d", null); to("e", null);
        const seen = [];
        for (const step of ["undo", "undo", "undo", "undo", "redo", "redo", "redo", "redo"]) {
          now = history[step](now) ?? now;
          seen.push(now);
        }
        return seen;"""
    )
    assert seen == ["d", "c", "a", "a", "c", "d", "e", "e"]


def test_the_newest_wish_wins_and_those_between_are_never_asked(modules):
    asked, results = modules(
        """const { Loader } = await load("loader");
        const asked = [];
        const scene = async (source) => {
          asked.push(source.seed);
          await new Promise((done) => setTimeout(done, 30));
          return { file: { url: "data:," }, source, image: { height: 0, width: 0, channels: 1,
            offset: 0 }, layers: [] };
        };
        const loader = new Loader({ scene }, "");
        const wishes = [1, 2, 3, 4].map((seed) => loader.scene({ seed }, 0));
        const results = await Promise.all(wishes);
        await loader.scene({ seed: 4 }, 0);
        return [asked, results.map((found) => found?.source.seed ?? null)];"""
    )
    assert asked == [1, 4], "the second and third were overtaken, the fourth was kept"
    assert results == [None, None, None, 4]


def test_an_error_of_the_server_reaches_the_person(modules):
    words = modules(
        """const { Loader } = await load("loader");
        const loader = new Loader({ scene: async () => ({ error: "no such class" }) }, "");
        return loader.scene({ seed: 1 }, 0).catch((error) => error.message);"""
    )
    assert words == "no such class"


def test_strokes_boxes_and_random_cells(modules):
    stroke, box, drawn = modules(
        """const { strokeCells, boxCells, randomCells } = await load("blocking");
        const grid = { height: 4, width: 5 };
        return [strokeCells({ row: 0, col: 0 }, { row: 3, col: 3 }, grid),
          boxCells({ row: 2, col: 3 }, { row: 1, col: 1 }, grid), randomCells(7, grid)];"""
    )
    assert stroke == [0, 6, 12, 18], "a fast stroke leaves no gaps"
    assert box == [6, 7, 8, 11, 12, 13]
    assert len(set(drawn)) == 7
    assert drawn == sorted(drawn)
    assert set(drawn) <= set(range(20))


def test_peaks_are_where_no_neighbour_is_larger(modules):
    values = [0, 0, 0, 9, 0, 5, 0, 0, 0, 0, 0, 0, 3, 0, 1]
    found = modules(
        """const { peaks } = await load("maths");
        return peaks(argument, { height: 3, width: 5 }, 2);""",
        values,
    )
    assert [(peak["row"], peak["col"], peak["value"]) for peak in found] == [
        (0, 3, 9),
        (1, 0, 5),
        (2, 2, 3),
    ]


def test_scales_linear_and_logarithmic(modules):
    places = modules(
        """const { onScale } = await load("maths");
        return [onScale(5, 10), onScale(20, 10), onScale(0, 10),
          ...[10, 1, 0.1, 0].map((multiple) => onScale(multiple, 10, true))];
        """
    )
    assert places == pytest.approx([0.5, 1, 0, 1, 0.5, 0, 0])


def test_effective_keys_and_distance_of_rows_that_are_known(modules):
    alike, one, near, far = modules(
        """const { effectiveKeys, meanDistance } = await load("maths");
        const grid = { height: 2, width: 2 };
        return [effectiveKeys([0.25, 0.25, 0.25, 0.25]), effectiveKeys([0, 1, 0, 0]),
          meanDistance({ row: 0, col: 0 }, grid, [1, 0, 0, 0], grid),
          meanDistance({ row: 0, col: 0 }, grid, [0, 0.5, 0, 0.5], grid, 2)];"""
    )
    assert alike == pytest.approx(4)
    assert one == pytest.approx(1)
    assert near == 0
    assert far == pytest.approx((1 + 1.25**0.5) / 2)


def test_the_difference_of_two_images(modules):
    found = modules(
        """const { difference } = await load("maths");
        const image = (pixels) => ({ height: 1, width: 2, channels: 3, pixels });
        const { mean, most, pixels } = difference(
          image([0, 0, 0, 10, 20, 30]), image([0, 0, 0, 13, 14, 30]));
        return [mean, most, Array.from(pixels)];"""
    )
    assert found == [1.5, 3, [0, 3]]


def test_no_module_is_left_unused():
    """Every module is reached from explorer.js."""
    reached, waiting = set(), ["explorer.js"]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        source = (FOLDER / name).read_text(encoding="utf-8")
        waiting += [part.split('"')[0] for part in source.split('from "./')[1:]]
    assert reached == {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.js")}
