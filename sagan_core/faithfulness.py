"""Do a checkpoint's attention maps tell the truth? Figures over many images and points.

`python -m sagan_core.faithfulness CHECKPOINT` examines points of generated images, layer by layer
(`sagan_core.attribution`), and writes `faithfulness.json` and the model card.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from .attention import attention_layers
from .attribution import MAPS, PAIRS, Evidence, Probe, prepare, probe_image, probe_sample
from .card import FAITHFULNESS, write_card
from .checkpoint import Checkpoint, load_checkpoint, write_whole
from .command import command_line, run, whole
from .deletion import LEAST_EFFECT, RANDOM_DRAWS, VERDICTS
from .device import hardware, resolve_device
from .sample import MAX_SEED, Sample, generate

EPILOG = """\
What is tested. A point's map says that the layer, at this point, drew on some keys more than on
others. So the keys that the map ranks first are taken away from this point (weight 0, the rest of
the row scaled to sum to 1 again), 1, 2, 4, ... and at last all of them, and the change of the
point's patch of the image is measured; for the discriminator the change of its logit. The same
with random keys, 20 times. The area under the first curve over the mean area under the others is
"area over random": 1 is chance, 3 means that the map's keys count three times as much as any.

What comes out, per layer:
  verdicts        shares of points at which the map names what matters, is no better than chance,
                  or the layer hardly matters (taking it out changes less than a grey level)
  area over random, and the share of points at which the map beats chance; like all that follows
                  over the points where the layer matters
  nearest keys    the same figure for the keys nearest to the point: does the map know more than
                  "near by"?
  another point's map    tested as if it were this point's; as good means that the map does not
                  depend on the point
  random weights  the same network with its weights shuffled: what a map is worth by construction
  correlations    of the ranks of attention, value-weighted attention, gradient and knock-out

Two images and two points give a first impression in seconds:
  python -m sagan_core.faithfulness checkpoints/fashion-mnist-32 --images 2 --points 2
"""


@dataclass(frozen=True)
class Findings:
    """What one point gave: its map, and the two controls."""

    own: Evidence
    shuffled: Evidence
    random_weights: Evidence


def draw_pins(probe: Probe, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """`count` different query cells, or all where there are fewer."""
    height, width = probe.query_grid
    cells = rng.choice(height * width, min(count, height * width), replace=False)
    return [(int(cell) // width, int(cell) % width) for cell in cells]


def examine_points(
    probe: Probe, pins: Sequence[tuple[int, int]], seed: int, done: Callable[[], object]
) -> list[Findings]:
    """Every pin of one probe with its controls; `done` is called after each."""
    control = probe.with_random_weights(seed)
    findings = []
    for number, pin in enumerate(pins):
        own = seed + number
        findings.append(
            Findings(
                probe.examine(pin, seed=own),
                probe.examine(pin, shuffled=True, seed=own),
                control.examine(pin, seed=own),
            )
        )
        done()
    return findings


def measure_faithfulness(
    checkpoint: Checkpoint, images: int, points: int, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Figures per layer, named "generator." or "discriminator." and the module path.

    The discriminator looks at the generated images. Points are drawn evenly over the query grid,
    classes take turns. Empty for a model without attention.
    """
    networks: dict[str, nn.Module] = {"generator": checkpoint.generator}
    if checkpoint.discriminator is not None:
        networks["discriminator"] = checkpoint.discriminator
    layers = [(kind, layer) for kind in networks for layer in attention_layers(networks[kind])]
    findings: dict[str, list[Findings]] = {f"{kind}.{layer}": [] for kind, layer in layers}
    classes = checkpoint.config.classes
    total = images * points * len(layers)
    with tqdm(total=total, desc="points", unit="point", leave=False, disable=None) as bar:
        for number in range(images):
            label = number % classes if classes else None
            sample = generate(checkpoint.generator, (seed + number) % (MAX_SEED + 1), label)
            for kind, layer in layers:
                probe = _probe(checkpoint, kind, sample, layer)
                pins = draw_pins(probe, points, np.random.default_rng([seed, number]))
                found = examine_points(probe, pins, seed + number * points, bar.update)
                findings[f"{kind}.{layer}"] += found
    return {name: summarise(found) for name, found in findings.items()}


def _probe(checkpoint: Checkpoint, kind: str, sample: Sample, layer: str) -> Probe:
    if kind == "generator":
        return probe_sample(checkpoint.generator, sample, layer)
    assert checkpoint.discriminator is not None
    return probe_image(checkpoint.discriminator, sample.image, sample.label, layer)


def summarise(findings: Sequence[Findings]) -> dict[str, Any]:
    """One layer's figures.

    Shares of verdicts and `layer_effect`, a median, are over all points. All other figures are
    over the points where the layer matters (of the network with random weights, where that one's
    layer does): elsewhere they would be ratios of next to nothing. They also leave out points at
    which they are not defined, and are None where no point is left.
    """
    own = [finding.own for finding in findings]
    tested = [evidence for evidence in own if _matters(evidence)]
    return {
        "pins": len(own),
        "unit": own[0].unit,
        "verdicts": {
            kind: float(np.mean([evidence.verdict.kind == kind for evidence in own]))
            for kind in VERDICTS
        },
        "layer_effect": float(np.median([evidence.layer_effect for evidence in own])),
        **_areas(own),
        "nearest": _mean([evidence.verdict.nearest_over_random for evidence in tested]),
        "shuffled": _areas([finding.shuffled for finding in findings]),
        "random_weights": _areas([finding.random_weights for finding in findings]),
        "maps": {name: _mean([_area(evidence, name) for evidence in tested]) for name in MAPS},
        "correlations": {
            ", ".join(pair): _mean([evidence.correlations[pair] for evidence in tested])["mean"]
            for pair in PAIRS
        },
        "whole_network": own[0].whole_network,
    }


def _matters(evidence: Evidence) -> bool:
    return evidence.verdict.kind != "hardly"


def _areas(evidence: Sequence[Evidence]) -> dict[str, Any]:
    tested = [one for one in evidence if _matters(one)]
    return {
        "tested": len(tested),
        "over_random": _mean([_area(one, "attention") for one in tested]),
        "beats_chance": float(np.mean([_beats_chance(one) for one in tested])) if tested else None,
    }


def _area(evidence: Evidence, name: str) -> float:
    top = evidence.curve.top.get(name)
    return math.nan if top is None else evidence.curve.over_random(top)


def _beats_chance(evidence: Evidence) -> bool:
    top = evidence.curve.top.get("attention")
    return top is not None and evidence.curve.beats_chance(top)


def _mean(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation; None without enough values."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return {
        "mean": float(np.mean(known)) if known else None,
        "spread": float(np.std(known, ddof=1)) if len(known) > 1 else None,
    }


def table(layers: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as lines of text."""
    lines = []
    for name, row in layers.items():
        shares = ", ".join(f"{row['verdicts'][kind]:.0%} {VERDICTS[kind]}" for kind in VERDICTS)
        figures = {
            "area over random": row["over_random"],
            "nearest keys": row["nearest"],
            "another point's map": row["shuffled"]["over_random"],
            "random weights": row["random_weights"]["over_random"],
        }
        lines.append(f"{name}: {shares}")
        for title, figure in figures.items():
            mean, spread = (
                "-" if value is None else f"{value:.2f}"
                for value in (figure["mean"], figure["spread"])
            )
            lines.append(f"  {title:<20}{mean:>8} ± {spread}")
        share = "-" if row["beats_chance"] is None else f"{row['beats_chance']:.0%}"
        lines.append(f"  {'beats chance':<20}{share:>8} of {row['tested']} points")
    return "\n".join(lines)


# ---- the command line


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.faithfulness",
        description="Test whether a checkpoint's attention maps tell the truth: do the keys that "
        "a map ranks first matter more than others? Writes faithfulness.json and README.md into "
        "its folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder")
    add = command.add_argument
    add("--images", type=whole(1), default=20, metavar="N", help="generated images (20)")
    add("--points", type=whole(1), default=8, metavar="N", help="points of each image (8)")
    add("--seed", type=whole(0, MAX_SEED), default=0, metavar="N", help="of everything (0)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
    add("--threads", type=whole(1), metavar="N", help="CPU threads; by default torch decides")
    return command


def examine_folder(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for: `faithfulness.json` without having written it.

    Raises CheckpointError or ValueError with one line that says what was wrong.
    """
    began = time.monotonic()
    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(options.checkpoint, device)
    prepare()
    layers = measure_faithfulness(checkpoint, options.images, options.points, options.seed)
    if not layers:
        raise ValueError(f"{options.checkpoint} has no attention layer: there is no map to test")
    protocol = (
        f"{options.points} random points of each of {options.images} samples, seed {options.seed}; "
        "the discriminator looks at the samples. Keys are taken away from the point's own query, "
        "in the order of its map: 1, 2, 4, ... and all of them (1, 4, 16, ... where a pass is "
        "dear); its patch of the image changes, or the discriminator's logit. The map names what "
        f"matters where that changes more than with random keys ({RANDOM_DRAWS} draws, of which "
        "at most one does as well). The layer hardly matters where taking it out changes the "
        f"patch by under {255 * LEAST_EFFECT['pixels']:.0f} of 255 grey levels (root mean square), "
        f"the logit by under {LEAST_EFFECT['logit']}."
    )
    return {
        "layers": layers,
        "protocol": protocol,
        "images": checkpoint.training.get("images"),
        "command": command_line(parser(), options, "checkpoint"),
        "hardware": hardware(device),
        "seconds": round(time.monotonic() - began),
    }


def measure(options: argparse.Namespace) -> None:
    """Print the figures and write them into the checkpoint's folder."""
    figures = examine_folder(options)
    print(table(figures["layers"]))
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    write_whole(options.checkpoint / FAITHFULNESS, text.encode())
    write_card(options.checkpoint)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    return run(parser(), measure, arguments)


if __name__ == "__main__":
    sys.exit(main())
