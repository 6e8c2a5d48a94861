"""Does attention tie far places together that belong together? Three claims, tried on samples.

`python -m sagan_core.claims CHECKPOINT` finds in the samples, by their colours alone,

    skin      two patches of one skin tone: a face and a hand, or two hands
    eyes      the two eyes of a face
    stripes   places of one colour, at least a quarter of the image apart, in flags

and compares, for points in the one place, the attention that falls on the other with that on cells
of other colours (white background apart) at the same distance from the point. Preference is
same / (same + other): 0.5 where only distance counts. Three controls stand beside the model's own
maps (`CONDITIONS`). A redrawn map may well lean to one side, as features themselves differ between
an eye and a cheek; what training gave to the claim is what the model's own maps have beyond it.

The skin tones are Noto Color Emoji's; the classes are those of `sagan_core.emoji`.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .attention import AttentionField, SelfAttention, attention_layers, record_attention
from .card import CLAIMS, write_card
from .checkpoint import Checkpoint, CheckpointError, load_checkpoint, write_whole
from .claims_figure import draw_trials
from .device import hardware
from .model import SAGANConfig
from .regions import Cells, Pair, eye_pairs, skin_pairs, stripe_pairs
from .sample import MAX_SEED, evaluating, latents, to_uint8

FIGURE = "claims.png"
EXAMPLES = 4
CONDITIONS = {
    "trained": "the model's own maps",
    "redrawn": "query and key weights drawn anew, on the same feature maps",
    "alike": "as redrawn, but one draw for both, so that a point looks where features are like its "
    "own; what a run with --alike starts from",
    "shuffled": "the model's maps, key positions shuffled",
}


@dataclass(frozen=True)
class Claim:
    """What is claimed, in which classes, and how its places are found."""

    title: str
    classes: tuple[str, ...]
    find: Callable[[Cells], list[Pair]]


CLAIMS_TRIED = {
    "skin": Claim(
        "from skin to other skin of the same tone",
        ("gestures", "two hands", "people", "professions"),
        skin_pairs,
    ),
    "eyes": Claim("from an eye to the other", ("cheerful faces", "unhappy faces"), eye_pairs),
    "stripes": Claim("from a flag's colour to the same, far away", ("flags",), stripe_pairs),
}


def preference(weights: np.ndarray, pairs: Sequence[Pair], distances: np.ndarray) -> float:
    """same / (same + other) of one image, matched in distance; NaN where nothing can be compared.

    For each query, every `same` cell is compared with the mean over the `other` cells whose
    distance from the query differs by less than a key cell.

    Args:
        weights: (N_query, N_key), rows sum to 1.
        distances: (N_query, N_key) between cells, in image sides.
    """
    width = 1 / math.isqrt(weights.shape[1])
    on_same = on_other = 0.0
    for pair in pairs:
        rows = weights[pair.queries][:, None]  # (n, 1, N_key)
        same, other = np.flatnonzero(pair.same), np.flatnonzero(pair.other)
        far = distances[pair.queries]
        alike = np.abs(far[:, same][:, :, None] - far[:, other][:, None, :]) < width
        counts = alike.sum(2)  # (n, same)
        means = (alike * rows[:, :, other]).sum(2) / np.maximum(counts, 1)
        on_same += float((rows[:, 0, same] * (counts > 0)).sum())
        on_other += float(means.sum())
    return on_same / (on_same + on_other) if on_same + on_other else math.nan


def redrawn(
    field: AttentionField, config: SAGANConfig, seed: int, alike: bool = False
) -> AttentionField:
    """The field of a layer with new query and key weights, or one for both, on the same input."""
    channels = field.x.shape[1]
    layer = SelfAttention(
        channels,
        channels // config.query_divisor,
        channels // config.value_divisor,
        config.pool_keys,
        config.centre_queries,
        config.query_scale,
    )
    rng = torch.Generator().manual_seed(seed)
    for conv in (layer.query, layer.key):
        torch.nn.init.xavier_uniform_(conv.weight, generator=rng)
        sigma = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
        conv.weight.data /= sigma  # as spectral norm would
    if alike:
        layer.key.load_state_dict(layer.query.state_dict())
    with torch.inference_mode(), record_attention(layer) as fields:
        layer(field.x)
    return fields[""]


@dataclass(frozen=True, eq=False)
class Example:
    """A sample for the figure.

    Attributes:
        image: (R, R, C) uint8.
        pair: one of those found in it.
        looked: (H', W'): the mean map of the pair's points.
        query_grid: of the layer.
    """

    image: np.ndarray
    pair: Pair
    looked: np.ndarray
    query_grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Trial:
    """One claim tried on many samples.

    Attributes:
        tried: samples made; the preferences are of those in which the places were found.
        preferences: per condition (n,), NaN-free and in the same order.
        examples: the first of them.
    """

    claim: Claim
    tried: int
    preferences: Mapping[str, np.ndarray]
    examples: Sequence[Example]

    def summary(self) -> dict[str, Any]:
        """Per condition: mean, standard deviation, 95% interval of the mean, share above 0.5."""
        count = len(self.preferences["trained"])
        if not count:
            return {"title": self.claim.title, "tried": self.tried, "used": 0, "conditions": {}}
        return {
            "title": self.claim.title,
            "tried": self.tried,
            "used": count,
            "conditions": {
                name: {
                    "mean": float(values.mean()),
                    "deviation": float(values.std()),
                    "interval": float(1.96 * values.std() / math.sqrt(count)),
                    "above_half": float((values > 0.5).mean()),
                }
                for name, values in self.preferences.items()
            },
        }


def try_claim(
    checkpoint: Checkpoint,
    claim: Claim,
    samples: int,
    seed: int = 0,
    layer: str | None = None,
    chunk: int = 32,
) -> Trial:
    """Try one claim on `samples` fresh samples of its classes, evenly.

    Args:
        layer: the generator's attention layer; the last one by default.

    Raises ValueError where the model has no attention or none of the claim's classes.
    """
    generator, names = checkpoint.generator, checkpoint.class_names
    layers = list(attention_layers(generator))
    layer = layer or (layers[-1] if layers else "")
    chosen = [names.index(name) for name in claim.classes if name in names]
    if layer not in layers or not chosen:
        raise ValueError(
            f"{checkpoint.name} has attention at {', '.join(layers) or 'no layer'} and "
            f"{len(chosen)} of the classes {', '.join(claim.classes)}: nothing to try"
        )
    config = generator.config
    if not isinstance(config, SAGANConfig):
        raise ValueError(f"claims are tried on models trained here, not on one of {config.family}")
    labels = torch.tensor(chosen).repeat(-(-samples // len(chosen)))[:samples]
    z = latents(generator, seed, samples)
    found: dict[str, list[float]] = {condition: [] for condition in CONDITIONS}
    examples: list[Example] = []
    rng = torch.Generator().manual_seed(seed)
    for start in tqdm(range(0, samples, chunk), claim.title, leave=False, disable=None):
        part = slice(start, start + chunk)
        with evaluating(generator), record_attention(generator) as fields:
            images = to_uint8(generator(z[part], labels[part]))
        field = fields[layer]
        maps, distances = _maps(field, config, start, rng), field.cell_distances().numpy()
        for index, image in enumerate(images):
            cells = Cells.of(np.broadcast_to(image, (*image.shape[:2], 3)), field)
            pairs = claim.find(cells)
            values = [preference(maps[name][index], pairs, distances) for name in CONDITIONS]
            if any(map(math.isnan, values)):
                continue
            for name, value in zip(CONDITIONS, values, strict=True):
                found[name].append(value)
            if len(examples) < EXAMPLES:
                pair = pairs[len(pairs) // 2]
                looked = maps["trained"][index][pair.queries].mean(0).reshape(field.key_grid)
                examples.append(Example(image, pair, looked, field.query_grid))
    return Trial(
        claim, samples, {name: np.array(values) for name, values in found.items()}, examples
    )


def _maps(
    field: AttentionField, config: SAGANConfig, seed: int, rng: torch.Generator
) -> dict[str, np.ndarray]:
    """Weights (B, N_query, N_key) under every condition."""
    trained = field.weights
    orders = [torch.randperm(trained.shape[2], generator=rng) for _ in trained]
    shuffled = torch.stack([rows[:, order] for rows, order in zip(trained, orders, strict=True)])
    drawn = (redrawn(field, config, seed, alike).weights for alike in (False, True))
    maps = trained, *drawn, shuffled
    return {name: weights.numpy() for name, weights in zip(CONDITIONS, maps, strict=True)}


def table(trials: Mapping[str, Mapping[str, Any]]) -> str:
    """Summaries as lines of text."""
    lines = []
    for name, trial in trials.items():
        lines.append(f"{name}: {trial['title']} ({trial['used']} of {trial['tried']} samples)")
        lines += [
            f"  {condition:9} {row['mean']:.3f} +- {row['interval']:.3f}, deviation "
            f"{row['deviation']:.3f}, above 0.5 in {row['above_half']:.0%}"
            for condition, row in trial["conditions"].items()
        ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.claims",
        description="Try on samples whether attention ties together skin of one tone, the eyes of "
        f"a face and a flag's stripes. Writes {CLAIMS} and {FIGURE} into the checkpoint, and its "
        "card anew.",
    )
    command.add_argument("checkpoint", type=Path, help="a folder of a model of emoji classes")
    command.add_argument(
        "--samples", type=int, default=400, metavar="N", help="per claim (default 400)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="(default 0)")
    command.add_argument(
        "--layer", metavar="NAME", help="of the generator (default: the last with attention)"
    )
    return command


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Try all claims, write the files, and return what `claims.json` holds."""
    if options.samples < 1:
        raise ValueError(f"samples is {options.samples}; it must be a whole number from 1")
    if not 0 <= options.seed <= MAX_SEED:
        raise ValueError(f"seed is {options.seed}; it must be from 0 to {MAX_SEED}")
    began = time.monotonic()
    checkpoint = load_checkpoint(options.checkpoint)
    trials = {
        name: try_claim(checkpoint, claim, options.samples, options.seed, options.layer)
        for name, claim in CLAIMS_TRIED.items()
    }
    words = ["python", "-m", "sagan_core.claims", str(options.checkpoint)]
    words += ["--samples", str(options.samples), "--seed", str(options.seed)]
    result = {
        "images": checkpoint.training.get("images"),
        "layer": options.layer or list(attention_layers(checkpoint.generator))[-1],
        "conditions": CONDITIONS,
        "claims": {name: trial.summary() for name, trial in trials.items()},
        "command": shlex.join(words + (["--layer", options.layer] if options.layer else [])),
        "hardware": hardware(torch.device("cpu")),
        "seconds": round(time.monotonic() - began),
    }
    text = json.dumps(result, indent=2) + "\n"
    write_whole(options.checkpoint / CLAIMS, text.encode())
    picture = io.BytesIO()
    draw_trials(trials).save(picture, "PNG")
    write_whole(options.checkpoint / FIGURE, picture.getvalue())
    write_card(options.checkpoint)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    command = parser()
    try:
        print(table(run(command.parse_args(arguments))["claims"]))
    except (ValueError, CheckpointError, OSError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
