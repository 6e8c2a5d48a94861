"""The paper's comparison on a data set of one's own: a grid of runs, each skipped once it is done.

`python -m sagan_core.ablate --data SOURCE --out FOLDER` trains every row with several seeds,
measures them in the features of one classifier, and writes into the folder:

    results.json     every figure of every run along its training
    ablation.md      the table, and which rows differ by more than chance
    figure.html      the curves (drawn by viz.plots, a program of its own that knows plotly)
    ROW/seed-0/...   the checkpoints

Source: Zhang et al. 2018, sections 5.1 (spectral norm, two learning rates) and 5.2 (attention).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from .checkpoint import CONFIG, Checkpoint, load_checkpoint, write_whole
from .classifier import BATCH_SIZE, Classifier, class_accuracies, classifier_features
from .command import command_line, whole
from .comparison import markdown
from .data import SOURCES, DataError
from .device import hardware, resolve_device
from .engine import AnyGenerator
from .model import RESOLUTIONS
from .options import DEFAULTS, PRECISIONS, model_config
from .quality import (
    LEAST_COMPARED,
    Budget,
    draw_samples,
    feature_figures,
    mean_or_nan,
    train_judge,
)
from .reference import RealData, load_real
from .run import STATE, open_run
from .state import TrainingError

JUDGE, GRID, CURVE, RESULTS = "judge.safetensors", "grid.json", "curve.json", "results.json"
REPORT, FIGURE = "ablation.md", "figure.html"
JUDGE_EPOCHS, LEAST_STEPS = 8, 1000
# The paper's 1e-4 and 4e-4, and where both are equal their geometric mean.
EQUAL = {"generator_rate": 2e-4, "discriminator_rate": 2e-4}
D_ALONE = {"generator_spectral_norm": False}


@dataclass(frozen=True)
class Row:
    """A row of the table: what sets it apart from the defaults of `sagan_core.train`."""

    title: str
    options: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "none": Row("no attention", {"attention": []}),
    **{f"attention-{n}": Row(f"attention at {n}x{n}", {"attention": [n]}) for n in (8, 16, 32)},
    **{
        f"residual-{n}": Row(
            f"residual block at {n}x{n}", {"attention": [n], "residual_instead": True}
        )
        for n in (8, 16, 32)
    },
    "both-equal": Row("equal rates", {"attention": [], **EQUAL}),
    "alone-ttur": Row("SN on D alone", {"attention": [], **D_ALONE}),
    "alone-equal": Row("SN on D alone, equal rates", {"attention": [], **D_ALONE, **EQUAL}),
}


class Stopped(Exception):  # noqa: N818 - it is a person's wish
    """A signal stopped a run; everything so far is saved."""


class Grid:
    """Runs in a folder: what is done, and doing the rest.

    Args:
        options: of the command line; those of `COMMON` go to every run.
    """

    COMMON = ("resolution", "width", "batch_size", "precision", "device", "threads")
    # A folder may be gone on with when these change; all others would mix up two grids.
    FREE = ("images", "rows", "seeds", "device", "threads")

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, Path(options.out)
        self.device = resolve_device(options.device)

    def claim(self) -> None:
        """Make the folder this grid's. Raises ValueError where it is another's."""
        mine = {k: v for k, v in vars(self.options).items() if k not in (*self.FREE, "out")}
        file = self.folder / GRID
        if file.is_file():
            known = json.loads(file.read_text(encoding="utf-8"))
            differing = [f"{k} {known.get(k)} -> {v}" for k, v in mine.items() if known.get(k) != v]
            if differing:
                raise ValueError(
                    f"{self.folder} holds another grid ({', '.join(differing)}); give another --out"
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty and holds no grid; give another --out")
        write_whole(file, (json.dumps(mine, indent=2) + "\n").encode())

    @cached_property
    def real(self) -> RealData:
        """The data. Raises DataError where it cannot be used or has no classes."""
        real = load_real(self.options.data, self.options.resolution)
        if not real.images.class_names:
            raise DataError(
                f"{real.images.source} has no classes; rows are compared in the features of a "
                "classifier, which needs two at least"
            )
        if len(real.test) < LEAST_COMPARED:
            raise DataError(
                f"{real.images.source} has {len(real.test)} images to test on; a comparison needs "
                f"{LEAST_COMPARED} at least"
            )
        return real

    def given(self, row: str) -> dict[str, Any]:
        """The options of a row's runs that are not the defaults."""
        common = {name: getattr(self.options, name) for name in self.COMMON}
        chosen = {name: value for name, value in common.items() if value is not None}
        return {**chosen, **ROWS[row].options}

    def check_rows(self) -> None:
        """Raise ValueError, before anything is trained, for a row that no model can be made of."""
        for row in self.options.rows:
            try:
                model_config({**DEFAULTS, **self.given(row)}, self.real.images)
            except ValueError as error:
                raise ValueError(f"row {row}: {error}") from error

    @cached_property
    def judge(self) -> Classifier:
        """One classifier for all rows, trained once and kept in the folder."""
        file, shape = self.folder / JUDGE, self.real.images.images.shape
        if file.is_file():
            classifier = Classifier(shape[1], shape[2], len(self.real.images.class_names))
            classifier.load_state_dict(load_file(file))
            return classifier.to(self.device).eval()
        epochs = math.ceil(JUDGE_EPOCHS * len(self.real) / BATCH_SIZE)
        steps = self.options.judge_steps or max(epochs, LEAST_STEPS)
        classifier = train_judge(self.real, Budget(steps, 0, self.device))
        tensors = {n: t.detach().cpu().contiguous() for n, t in classifier.state_dict().items()}
        write_whole(file, save(tensors))
        return classifier

    @cached_property
    def reference(self) -> Tensor:
        """The test images' features."""
        return classifier_features(self.judge, self.real.test)

    def cells(self) -> Iterator[tuple[str, int]]:
        """(row, seed) of the grid; seed by seed, so that an early end leaves whole comparisons."""
        for seed in range(self.options.seeds):
            for row in self.options.rows:
                yield row, seed

    def cell(self, row: str, seed: int) -> Path:
        return self.folder / row / f"seed-{seed}"

    def known(self, row: str, seed: int) -> dict[str, Any]:
        """What was measured of a run; without points where nothing was."""
        file = self.cell(row, seed) / CURVE
        if not file.is_file():
            return {"points": []}
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def work(self) -> None:
        """Train and measure what is not done yet. Raises Stopped after a signal."""
        for row, seed in self.cells():
            known = self.known(row, seed)
            points = known["points"]
            if "failed" in known or (points and points[-1]["images"] >= self.options.images):
                continue
            print(f"{ROWS[row].title}, seed {seed}", file=sys.stderr)
            found: dict[str, Any] = {}
            try:
                self.train(row, seed)
            except TrainingError as error:
                found["failed"] = str(error)
            found["points"] = self.measure(self.cell(row, seed), points)
            text = json.dumps(found, indent=2) + "\n"
            write_whole(self.cell(row, seed) / CURVE, text.encode())

    def train(self, row: str, seed: int) -> None:
        """Train a run, or go on with it. Raises Stopped, and TrainingError where it breaks down."""
        folder = self.cell(row, seed)
        given = self.given(row) | {"data": self.options.data, "seed": seed}
        given |= {"images": self.options.images, "out": folder}
        run = open_run(given | {"resume": (folder / STATE).is_file()})
        if not run.go(self.options.images):
            raise Stopped(f"stopped in {folder}")

    def measure(self, folder: Path, points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Figures at every snapshot and at the end, the ones that are there taken over."""
        if not (folder / CONFIG).is_file():
            return []
        checkpoint = load_checkpoint(folder, self.device)
        done = {point["images"]: point for point in points}
        end = checkpoint.training["images"]
        for images in checkpoint.snapshots():
            if 0 < images < end and images not in done:
                done[images] = self.figures(checkpoint, checkpoint.load_snapshot(images), images)
        if end not in done:
            done[end] = self.figures(checkpoint, checkpoint.generator, end)
        return [done[images] for images in sorted(done)]

    def figures(
        self, checkpoint: Checkpoint, generator: AnyGenerator, images: int
    ) -> dict[str, Any]:
        """One point of a curve. Every run's samples are of the same latents and classes."""
        rows = self.real.some_rows(self.options.samples, 0)
        labels = self.real.images.labels[rows]
        samples = draw_samples(generator, checkpoint.class_names, len(rows), 0, labels)
        figures = feature_figures(self.reference, classifier_features(self.judge, samples))
        accuracy = mean_or_nan(class_accuracies(self.judge, samples))
        return {"images": images, "gan_test": accuracy, **figures}

    def results(self) -> dict[str, Any]:
        """What `results.json` holds: the rows that have a measured run."""
        rows: dict[str, Any] = {}
        for row, seed in self.cells():
            run = self.known(row, seed)
            if run["points"] or "failed" in run:
                about = rows.setdefault(row, {"title": ROWS[row].title, "runs": {}})
                about["runs"][str(seed)] = run
                if (self.cell(row, seed) / CONFIG).is_file():
                    about["parameters"] = parameters(load_checkpoint(self.cell(row, seed)))
        ordered = {name: {"parameters": [], **rows[name]} for name in ROWS if name in rows}
        return {
            "rows": ordered,
            "protocol": self.protocol(),
            "command": command_line(parser(), self.options),
            "data": self.real.images.source,
        }

    def protocol(self) -> str:
        """What was run and how it was measured, in words."""
        options, real = self.options, self.real
        accuracy = mean_or_nan(class_accuracies(self.judge, real.test))
        rows = np.unique(real.some_rows(min(options.samples, len(real)), 0))
        own = classifier_features(self.judge, real.images, rows)
        floor = feature_figures(self.reference, own)["frechet_distance"]
        return (
            f"{real.images.source} at {options.resolution}x{options.resolution}, width "
            f"{options.width}, batch {options.batch_size}, {options.images:,} images shown to "
            f"every run, seeds 0 to {options.seeds - 1}: mean ± standard deviation. Attention and "
            "the residual block are in the generator and, where it has that resolution, in the "
            "discriminator; rows that name neither have neither. But where said otherwise: "
            "spectral norm (SN) on both networks, learning rates 1e-4 and 4e-4; equal rates are "
            "2e-4. All figures are in the features of one "
            f"classifier of the data set ({accuracy:.1%} of its test images right), of "
            f"{options.samples:,} samples of the averaged generator with the same latents in every "
            f"run, against {len(real.test):,} real images ({real.note}). As many training images "
            f"in the samples' place have a Fréchet distance of {floor:.3g}. On "
            f"{hardware(self.device)}."
        )


def parameters(checkpoint: Checkpoint) -> list[int]:
    """Numbers of parameters of the generator and the discriminator."""
    networks = checkpoint.generator, checkpoint.discriminator
    return [sum(p.numel() for p in n.parameters()) for n in networks if n is not None]


def draw_figure(results: Path, figure: Path) -> str | None:
    """Have viz.plots draw the curves; why it could not, where it could not.

    A process of its own: training machines have no plotly, and the core does not import viz.
    """
    command = [sys.executable, "-m", "viz.plots", "ablation", str(results), "-o", str(figure)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.ablate",
        description="Train the paper's comparison on a data set and write one table and one "
        "figure. Stop at any time with Ctrl-C; the same command goes on, and skips what is done.",
        epilog="Example: python -m sagan_core.ablate --data fashion-mnist --images 200000 --out "
        "ablation. Rows: " + "; ".join(f"{name} ({row.title})" for name, row in ROWS.items()),
    )
    add = command.add_argument
    add("--data", required=True, metavar="SOURCE", help=f"with classes: {SOURCES}")
    add("--out", required=True, type=Path, metavar="FOLDER", help="folder of the whole grid")
    add("--images", type=whole(1), default=200_000, metavar="N", help="shown to a run (200,000)")
    add("--seeds", type=whole(1), default=3, metavar="N", help="runs of every row (3)")
    add("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="default: all")
    add("--resolution", type=int, choices=RESOLUTIONS, default=32, help="pixels (32)")
    add(
        "--width", type=whole(1), default=32, metavar="N", help="of the generator's last block (32)"
    )
    add("--batch-size", type=whole(1), default=64, metavar="N", help="images per step (64)")
    add(
        "--samples",
        type=whole(LEAST_COMPARED),
        default=5000,
        metavar="N",
        help="every figure is of (5,000)",
    )
    add("--judge-steps", type=whole(1), metavar="N", help="of the classifier; default 8 epochs")
    add("--precision", choices=PRECISIONS, help="as in sagan_core.train")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
    add("--threads", type=whole(1), metavar="N", help="CPU threads; by default torch decides")
    return command


def write_results(grid: Grid) -> None:
    """`results.json`, `ablation.md` and, where viz is there, `figure.html`."""
    results = grid.results()
    if not results["rows"]:
        return
    file = grid.folder / RESULTS
    write_whole(file, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
    text = markdown(results)
    write_whole(grid.folder / REPORT, text.encode())
    print(text)
    reason = draw_figure(file, grid.folder / FIGURE)
    if reason is not None:
        print(f"no {FIGURE}: {reason}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    command = parser()
    options = command.parse_args(arguments)
    options.rows = [name for name in ROWS if name in options.rows]
    try:
        grid = Grid(options)
        if options.threads:
            torch.set_num_threads(options.threads)
        grid.check_rows()
        grid.claim()
        try:
            grid.work()
        except (Stopped, KeyboardInterrupt):
            print("stopped; the same command goes on", file=sys.stderr)
            return 130
        write_results(grid)
    except (ValueError, OSError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
