"""The grid on a tiny budget: what it trains, skips and goes on with, and what the table says."""

import json
import math
import shutil
import sys

import numpy as np
import plotly.io
import pytest
import torch

from sagan_core import Discriminator, Generator, load_checkpoint
from sagan_core.ablate import ROWS, main
from sagan_core.comparison import PAIRS, Spread, is_separated, markdown, verdict
from sagan_core.data import ImageSet
from sagan_core.options import DEFAULTS, model_config
from sagan_core.run import STATE
from sagan_core.state import Recipe
from viz.plots import ablation_figure
from viz.plots import main as plot

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Class 0 is bright above, class 1 below."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (80, 32, 32), np.uint8)
    labels = np.arange(80) % 2
    for image, label in zip(images, labels, strict=True):
        image[16 * label : 16 * label + 16] += 150
    file = tmp_path_factory.mktemp("data") / "halves.npz"
    np.savez(file, images=images, labels=labels, class_names=np.array(["above", "below"]))
    return file


def ablate(source, out, *more, images=40, rows=("none", "attention-8")):
    options = ["--data", str(source), "--out", str(out), "--images", str(images), "--rows", *rows]
    tiny = ["--width", "8", "--batch-size", "20", "--samples", "40", "--judge-steps", "10"]
    return main([*options, *tiny, "--seeds", "2", "--device", "cpu", *more])


@pytest.fixture(scope="module")
def grid(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("grid") / "ablation"
    assert ablate(source, out) == 0
    return out


def written(grid):
    return {path: path.stat().st_mtime_ns for path in grid.rglob("*.pt")}


# ---- the rows


def test_rows_differ_in_what_they_say_and_in_nothing_else():
    images = np.zeros((1, 1, 32, 32), np.uint8)
    data = ImageSet(images, np.zeros(1, np.int64), ("a", "b"), "none")
    configs, recipes = {}, {}
    for name, row in ROWS.items():
        options = {**DEFAULTS, "resolution": 32, "width": 8, **row.options}
        configs[name] = model_config(options, data)
        known = set(Recipe.__dataclass_fields__) & set(row.options)
        recipes[name] = Recipe(**{key: row.options[key] for key in known})
    assert configs["none"].attention == configs["none"].discriminator_attention == ()
    assert configs["attention-16"].discriminator_attention == (16,)
    # The discriminator of 32x32 images has no blocks at 32x32.
    assert configs["attention-32"].discriminator_attention == ()
    rates = {name: (r.generator_rate, r.discriminator_rate) for name, r in recipes.items()}
    equal = {
        name for name, (generator, discriminator) in rates.items() if generator == discriminator
    }
    assert equal == {"both-equal", "alone-equal"}
    alone = {name for name, config in configs.items() if not config.generator_spectral_norm}
    assert alone == {"alone-ttur", "alone-equal"}
    assert {name for name, config in configs.items() if config.residual_instead} == {
        "residual-8",
        "residual-16",
        "residual-32",
    }
    for place in (8, 16, 32):
        for network in (Generator, Discriminator):
            kinds = (configs[f"{kind}-{place}"] for kind in ("attention", "residual"))
            sizes = {sum(p.numel() for p in network(config).parameters()) for config in kinds}
            assert len(sizes) == 1, (place, network)


# ---- the grid


def test_a_grid_leaves_table_figure_and_checkpoints(grid):
    results = json.loads((grid / "results.json").read_text())
    assert list(results["rows"]) == ["none", "attention-8"]
    for name, row in results["rows"].items():
        assert sorted(row["runs"]) == ["0", "1"]
        for seed, run in row["runs"].items():
            (point,) = run["points"]
            assert point["images"] == 40
            assert all(math.isfinite(value) for value in point.values())
            assert load_checkpoint(grid / name / f"seed-{seed}").config.classes == 2
    seeds = [run["points"] for run in results["rows"]["none"]["runs"].values()]
    assert seeds[0] != seeds[1]
    report = (grid / "ablation.md").read_text()
    for said in ("no attention", "attention at 8x8", "40 samples", "8 real images"):
        assert said in " ".join(report.split())
    assert "python -m sagan_core.ablate --data" in report
    page = (grid / "figure.html").read_text()
    assert "attention at 8x8" in page
    assert 'src="http' not in page


def test_what_is_done_is_skipped(source, grid, capsys):
    before, results = written(grid), (grid / "results.json").read_text()
    assert len(before) == 4
    assert ablate(source, grid) == 0
    assert written(grid) == before
    assert (grid / "results.json").read_text() == results
    assert "seed" not in capsys.readouterr().err


def test_an_interrupted_run_goes_on_to_the_same_result(source, grid, tmp_path):
    # A smaller budget first stands for the interruption: runs are bit-identical after a resume.
    out = tmp_path / "again"
    assert ablate(source, out, "--seeds", "1", images=20, rows=("none",)) == 0
    assert ablate(source, out, "--seeds", "1", rows=("none",)) == 0
    whole, resumed = (
        json.loads((folder / "none" / "seed-0" / "curve.json").read_text())["points"]
        for folder in (grid, out)
    )
    assert [point["images"] for point in resumed] == [20, 40]
    assert resumed[-1] == pytest.approx(whole[-1], rel=1e-4)


def test_a_run_that_breaks_down_is_a_result_not_the_end(source, grid, tmp_path):
    out = tmp_path / "broken"
    shutil.copytree(grid, out)
    state = out / "none" / "seed-0" / STATE
    saved = torch.load(state, weights_only=True)
    next(iter(saved["state"]["discriminator"].values())).fill_(math.nan)
    torch.save(saved, state)
    assert ablate(source, out, images=60, rows=("none",)) == 0
    runs = json.loads((out / "results.json").read_text())["rows"]["none"]["runs"]
    assert "not finite" in runs["0"]["failed"]
    assert [point["images"] for point in runs["0"]["points"]] == [40]
    assert "failed" not in runs["1"]
    assert "(1 of 2 broke down)" in (out / "ablation.md").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--width", "16"], "holds another grid (width 8 -> 16)"),
        (["--samples", "30"], "holds another grid (samples 40 -> 30)"),
        (["--device", "abacus"], "device 'abacus' cannot be used here"),
    ],
)
def test_another_grid_does_not_overwrite_this_one(source, grid, capsys, more, message):
    before = written(grid)
    assert ablate(source, grid, *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert written(grid) == before


def test_data_without_classes_and_a_strange_folder_are_one_line(tmp_path, source, capsys):
    np.savez(tmp_path / "plain.npz", images=np.zeros((20, 32, 32), np.uint8))
    assert ablate(tmp_path / "plain.npz", tmp_path / "plain") == 2
    assert "has no classes" in capsys.readouterr().err
    assert ablate(source, tmp_path) == 2
    error = capsys.readouterr().err
    assert "is not empty and holds no grid" in error
    assert error.count("\n") == 1


def test_what_no_row_can_be_made_of_shows_before_anything_is_trained(tmp_path, source, capsys):
    assert ablate(source, tmp_path / "narrow", "--width", "2", rows=("none", "attention-16")) == 2
    error = capsys.readouterr().err
    assert "row attention-16: width is 2" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "narrow").exists()
    few = np.zeros((6, 32, 32), np.uint8)
    np.savez(tmp_path / "few.npz", images=few, labels=np.arange(6) % 2)
    assert ablate(tmp_path / "few.npz", tmp_path / "few") == 2
    assert "has 2 images to test on" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        ablate(source, tmp_path / "other", "--samples", "3")
    assert "'3' is not a whole number from 6" in capsys.readouterr().err


def test_without_plotly_the_table_is_written_and_the_figure_named(
    source, grid, monkeypatch, capsys
):
    (grid / "figure.html").unlink()
    monkeypatch.setattr(sys, "executable", "false")  # the drawing process fails
    assert ablate(source, grid) == 0
    assert "no figure.html: exit status 1" in capsys.readouterr().err
    monkeypatch.undo()
    assert ablate(source, grid) == 0
    assert (grid / "figure.html").is_file()


# ---- the comparison


def results_of(**rows):
    """results.json of rows given as the final distances of their seeds; None broke down."""

    def run(value):
        figures = ("frechet_distance", "kernel_distance", "gan_test")
        point = dict.fromkeys((*figures, "precision", "recall", "coverage"), value)
        early = point | {"images": 10, "frechet_distance": 2 * (value or 0)}
        if value is None:
            return {"points": [early], "failed": "a loss is not finite"}
        return {"points": [early, point | {"images": 20}]}

    return {
        "rows": {
            name: {
                "title": name.replace("_", " "),
                "parameters": [10, 20],
                "runs": {str(seed): run(value) for seed, value in enumerate(values)},
            }
            for name, values in rows.items()
        },
        "protocol": "As agreed.",
        "command": "python",
        "data": "planted",
    }


def test_mean_spread_and_standard_error_by_hand():
    first, second = Spread.of([1.0, 2.0, 3.0]), Spread.of([5.0, 5.0, 8.0])
    assert (first.mean, first.deviation) == (2, 1)
    assert second.deviation == pytest.approx(math.sqrt(3))
    assert second.less(first) == pytest.approx((4, math.sqrt(1 / 3 + 3 / 3)))
    assert is_separated(second, first)  # 4 of 1.155: 3.46 standard errors
    assert not is_separated(Spread.of([4.0, 4.0, 7.0]), first)  # 3 of 1.155
    assert not is_separated(Spread.of([90.0]), first)


def test_the_verdict_says_what_the_budget_separates_and_what_not():
    results = results_of(none=[10, 11, 12], better=[1, 2, 1], alike=[11, 10, 13])
    text = verdict(results)
    assert "better (lower)" in text
    assert "Not separated: alike" in text
    text = verdict(results_of(none=[10, 11, 12], alike=[11, 10, 13]))
    assert text.startswith("This budget separates no row from none")


def test_the_table_leaves_broken_runs_out_of_the_mean():
    table = markdown(results_of(none=[10, 11, 12], shaky=[4, None, 6]))
    line = next(line for line in table.splitlines() if line.startswith("| shaky"))
    assert "(1 of 3 broke down)" in line
    assert "| 5 ± 1.41 |" in line
    assert "| -6 ± 1.2 |" in line


def test_the_paper_s_pairs_stand_beside_each_other():
    rows = {"none": [10, 11, 12], "attention-8": [1, 2, 3], "residual-8": [5, 5, 8]}
    table = markdown(results_of(**rows))
    line = next(
        line for line in table.splitlines() if line.startswith("| attention at 8x8 against")
    )
    assert line.split(" | ")[1] == "**-4 ± 1.2**"
    assert "at 16x16 against" not in table
    assert "own pairs" not in markdown(results_of(none=[10, 11, 12]))


def test_the_pairs_name_rows_of_the_grid():
    assert {name for pair in PAIRS.values() for name in pair} == set(ROWS)


# ---- the figure


def test_the_figure_shows_the_means_and_every_run(tmp_path):
    results = results_of(none=[10, 11, 12], attention=[1, 2, None])
    figure = ablation_figure(results)
    curves = {trace.name: trace for trace in figure.data if trace.name}
    assert list(curves["none"].x) == [10, 20]
    assert list(curves["none"].y) == [22, 11]
    # The run that broke down ended before 20 images.
    assert list(curves["attention"].x) == [10]
    ends = [trace for trace in figure.data if trace.xaxis == "x2" and len(trace.x) > 1]
    assert [list(trace.x) for trace in ends] == [[10, 11, 12], [1, 2]]
    (tmp_path / "results.json").write_text(json.dumps(results))
    out = tmp_path / "figure.json"
    assert plot(["ablation", str(tmp_path / "results.json"), "-o", str(out)]) == 0
    assert len(plotly.io.from_json(out.read_text()).data) == len(figure.data)


@pytest.mark.parametrize(
    ("content", "out", "message"),
    [
        ('{"rows": {}}', "figure.html", "no row that was measured"),
        ('{"curves": 1}', "figure.html", "not the results.json of sagan_core.ablate"),
        ("{", "figure.html", "Expecting property name"),
        (None, "figure.html", "No such file"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(tmp_path, capsys, content, out, message):
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    assert plot(["ablation", str(file), "-o", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_figure_has_a_known_suffix(tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps(results_of(none=[1, 2])))
    command = ["ablation", str(tmp_path / "results.json"), "-o", str(tmp_path / "figure.bmp")]
    assert plot(command) == 2
    assert "saved as .html or .json" in capsys.readouterr().err
