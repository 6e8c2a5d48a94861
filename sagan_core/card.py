"""The model card: a checkpoint's README.md, written from what the folder itself holds."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, load_checkpoint, write_whole
from .model import SAGANConfig
from .report import ACCURACIES, COLUMNS, figure_rows

METRICS, CLAIMS, NOTES = "metrics.json", "claims.json", "notes.md"
FAITHFULNESS, NEIGHBOURS = "faithfulness.json", "neighbours.png"


def write_card(folder: Path) -> None:
    """Write README.md from what the folder holds: config, history, what was measured, `notes.md`.

    Measurements of an earlier state of the weights are left out. `notes.md` is a person's: what
    was tried, what to know; it stands in the card as it is.
    """
    checkpoint = load_checkpoint(folder)
    metrics, claims, faithfulness = (
        _measured(checkpoint, folder / name) for name in (METRICS, CLAIMS, FAITHFULNESS)
    )
    notes = folder / NOTES
    parts = [
        _head(checkpoint),
        _training(checkpoint.training),
        _layers(checkpoint, metrics),
        _faithfulness(faithfulness),
        _quality(metrics, folder),
        _claims(claims),
        notes.read_text(encoding="utf-8").strip() if notes.is_file() else "",
        _snapshots(checkpoint),
    ]
    write_whole(folder / "README.md", ("\n\n".join(filter(None, parts)) + "\n").encode())


def _measured(checkpoint: Checkpoint, file: Path) -> dict[str, Any]:
    """What a file of measurements holds; nothing where it is not of these weights."""
    measured = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return measured if measured.get("images") == checkpoint.training.get("images") else {}


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False)


def _code(text: str) -> str:
    return f"```\n{text}\n```"


def _head(checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    colour = "grey" if config.image_channels == 1 else "colour"
    kind = f"class-conditional, {config.classes} classes" if config.classes else "unconditional"
    places = ", ".join(f"{size}x{size}" for size in config.attention) or "nowhere"
    judged = ", ".join(f"{size}x{size}" for size in config.discriminator_attention) or "nowhere"
    networks = {"generator": checkpoint.generator, "discriminator": checkpoint.discriminator}
    sizes = ", ".join(
        f"{name} {sum(p.numel() for p in network.parameters()):,}"
        for name, network in networks.items()
        if network is not None
    )
    block, normed = "Attention", ""
    if isinstance(config, SAGANConfig):
        block = "A residual block in attention's place" if config.residual_instead else block
        normed = "" if config.generator_spectral_norm else "No spectral norm in the generator. "
        keys = "max-pooled 2x2" if config.pool_keys else "not pooled"
        widths = (
            f"; keys {keys}; queries and keys have 1/{config.query_divisor} of the channels, "
            f"values 1/{config.value_divisor}"
        )
    else:
        widths = f"; trained with {config.family}"
    about = _paragraph(
        f"A SAGAN for {config.resolution}x{config.resolution} {colour} images, {kind}. {block} "
        f"in the generator at {places}, in the discriminator at {judged}{widths}. "
        f"{normed}Parameters: {sizes}."
    )
    if isinstance(config, SAGANConfig):
        about += _not_in_the_paper(config)
    return f"# {checkpoint.name}\n\n{about}\n\n![Samples with fixed latents](samples.png)"


def _not_in_the_paper(config: SAGANConfig) -> str:
    """A paragraph on the settings of attention that the paper does not have, if any are set."""
    centred = "less their mean over positions" if config.centre_queries else ""
    scaled = f"times {config.query_scale:g}" if config.query_scale != 1 else ""
    changes = " and ".join(filter(None, (centred, scaled)))
    return f"\n\n{_paragraph(f'Not as in the paper: queries are {changes}.')}" if changes else ""


def _training(about: Mapping[str, Any]) -> str:
    if not {"command", "images", "seconds", "data"} <= about.keys():
        return ""
    rate = about["images"] / max(1, about["seconds"])
    text = _paragraph(
        f"Trained on {about['data']} ({about['data_images']:,} images): {about['images']:,} images "
        f"shown in {about['steps']:,} steps and {about['seconds'] / 3600:.1f} hours "
        f"({rate:.0f} images/s) on {about['hardware']}."
    )
    return f"## Training\n\n{text}\n\n{_code(about['command'])}"


def _layers(checkpoint: Checkpoint, metrics: Mapping[str, Any]) -> str:
    rows, source = metrics.get("attention"), "over samples of the averaged generator"
    if rows is None:
        history = checkpoint.history()
        rows, source = (history[-1]["attention"] if history else None), "in the last logged step"
    if not rows:
        return ""
    text = _paragraph(
        f"Measured {source}. Update: median of |gamma out| / |x|. Dependence: mutual information "
        "of query and key position, 0 where every point has the same map. Effective keys: "
        "exp(entropy) of a point's map. Distance: mean distance looked over, in image sides; "
        "looking everywhere alike is 0.52. Pairwise: share of the logits' variance that depends on "
        "the query (Yin et al. 2020). Image change: mean change of a pixel, of 255, when the layer "
        "is taken out."
    )
    columns = {
        "gamma": lambda row: f"{row['gamma']:+.3f}",
        "update": lambda row: f"{row['update']:.1%}",
        "dependence": lambda row: f"{row['dependence']:.2f} nats",
        "effective keys": lambda row: f"{row['effective_keys']:.0f} of {row['keys']:.0f}",
        "distance": lambda row: f"{row['distance']:.2f}",
        "pairwise": lambda row: f"{row['pairwise']:.0%}",
        "image change": lambda row: f"{row['image_change']:.1f}",
    }
    lines = [
        " | ".join([f"| `{name}`", *(_cell(write, row) for write in columns.values())]) + " |"
        for name, row in rows.items()
    ]
    head = f"| layer | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|"
    return "\n".join(["## Attention\n", text + "\n", head, *lines])


def _cell(write: Callable[[Mapping[str, float]], str], row: Mapping[str, float]) -> str:
    """A figure in words, or a dash where it was not measured."""
    try:
        return write(row)
    except KeyError:
        return "-"


def _faithfulness(figures: Mapping[str, Any]) -> str:
    if not figures.get("layers"):
        return ""
    verdicts = [
        f"| `{name}` | {row['pins']} | {row['verdicts']['names']:.0%} "
        f"| {row['verdicts']['chance']:.0%} | {row['verdicts']['hardly']:.0%} "
        f"| {_effect(row)} |"
        for name, row in figures["layers"].items()
    ]
    areas = [
        f"| `{name}` | {_spread(row['over_random'])} | {_share(row['beats_chance'])} "
        f"| {_spread(row['nearest'])} | {_spread(row['shuffled']['over_random'])} "
        f"| {_spread(row['random_weights']['over_random'])} |"
        for name, row in figures["layers"].items()
    ]
    pairs = [
        f"| `{name}` | " + " | ".join(_number(row["correlations"][pair]) for pair in _PAIRS) + " |"
        for name, row in figures["layers"].items()
    ]
    minutes = f"{figures['seconds'] / 60:.0f} minutes on {figures['hardware']}."
    return "\n".join(
        [
            "## Is the map true?\n",
            _paragraph(figures["protocol"]) + "\n",
            "| layer | points | the map names what matters | no better than chance "
            "| the layer hardly matters | median effect of the layer |\n|---|---|---|---|---|---|",
            *verdicts,
            "\n"
            + _paragraph(
                "Area over random: area under the deletion curve in multiples of that of random "
                "keys (1 is chance), mean ± spread over the points where the layer matters. Beside "
                "the map of the point: the keys nearest to it, the map of another point tested in "
                "its place, and the map in the same network with random weights, whose layer is "
                "made as strong."
            )
            + "\n",
            "| layer | area over random | beats chance | nearest keys | another point's map "
            "| random weights |\n|---|---|---|---|---|---|",
            *areas,
            "\nRank correlation of attention with other maps of these points (mean):\n",
            "| layer | value-weighted | gradient | knock-out |\n|---|---|---|---|",
            *pairs,
            "",
            _paragraph(minutes) + "\n",
            _code(figures["command"]),
        ]
    )


_PAIRS = ("attention, value-weighted", "attention, gradient", "attention, knock-out")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _spread(figure: Mapping[str, float | None]) -> str:
    return f"{_number(figure['mean'])} ± {_number(figure['spread'])}"


def _effect(row: Mapping[str, Any]) -> str:
    if row["unit"] == "logit":
        return f"{row['layer_effect']:.3f} of the logit"
    return f"{255 * row['layer_effect']:.1f} of 255 grey levels"


def _quality(metrics: Mapping[str, Any], folder: Path) -> str:
    figures = metrics.get("figures")
    if not figures:
        return ""
    spent = f"{metrics['seconds'] / 60:.0f} minutes on {metrics['hardware']}."
    parts = ["## Quality", _paragraph(f"{metrics['protocol']} {spent}"), _figures(figures)]
    if "per_class" in metrics:
        parts.append(_classes(metrics["per_class"]))
    if (folder / NEIGHBOURS).is_file():
        parts.append(
            _paragraph(
                "In each row a sample and the training images nearest to it in pixels; above the "
                "sample that is closest of all to one, below the farthest, evenly between in rank."
            )
        )
        parts.append(f"![Samples and their nearest training images]({NEIGHBOURS})")
    if metrics["left_out"]:
        parts.append(_paragraph(f"Left out: {'; '.join(metrics['left_out'])}."))
    return "\n\n".join([*parts, _code(metrics["command"])])


def _figures(figures: Mapping[str, Any]) -> str:
    text = _paragraph(
        "GAN-test and GAN-train: Shmelkov et al. 2018; real images in their place give "
        "real-to-real. Precision and recall: Kynkäänniemi et al. 2019, k = 3. Density and "
        "coverage: Naeem et al. 2020, k = 5. Kernel distance: as KID's, (x.y / D + 1)^3. Closer: "
        "the chance that a sample is closer to a training image than a real image is. As close as "
        "copies: no farther from one than 1% of real images are. N are the numbers of samples, of "
        "real images in their place, and of the real images that both are compared with."
    )
    head = f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}"
    lines = [f"| {title} | {' | '.join(cells)} |" for title, cells in figure_rows(figures)]
    return "\n".join([text + "\n", head, *lines])


def _classes(per_class: Mapping[str, Mapping[str, float | None]]) -> str:
    shown = {**ACCURACIES, "frechet_distance": "Fréchet distance"}
    known = [key for key in shown if all(key in row for row in per_class.values())]
    lines = []
    for name, row in per_class.items():
        texts = [
            "-"
            if (value := row[key]) is None
            else f"{value:.1%}"
            if key in ACCURACIES
            else f"{value:.4g}"
            for key in known
        ]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    head = f"| class | {' | '.join(shown[key] for key in known)} |\n|---|{'---|' * len(known)}"
    return "\n".join([head, *lines])


def _claims(claims: Mapping[str, Any]) -> str:
    if not claims:
        return ""
    conditions = "; ".join(f"{name}: {text}" for name, text in claims["conditions"].items())
    text = _paragraph(
        f"Does attention at `{claims['layer']}` tie together what belongs together? Preference is "
        "the attention on such a place against that on cells of other colours (white apart) at "
        "the same distance, same / (same + other): 0.5 where only distance counts. Mean over "
        "samples with its 95% interval, and the share of samples above 0.5. What training gave is "
        "what the model's own maps have beyond the redrawn ones. "
        f"{conditions}. {claims['seconds'] / 60:.0f} minutes on {claims['hardware']}."
    )
    names = list(claims["conditions"])
    lines = [
        f"| {trial['title']} | {trial['used']} of {trial['tried']} | "
        + " | ".join(_preference(trial["conditions"].get(name)) for name in names)
        + " |"
        for trial in claims["claims"].values()
    ]
    head = f"| claim | samples | {' | '.join(names)} |\n{'|---' * (len(names) + 2)}|"
    picture = "![First samples of each claim, and all preferences](claims.png)"
    parts = ["## What it ties together\n", text + "\n", head, *lines, "", picture + "\n"]
    return "\n".join([*parts, _code(claims["command"])])


def _preference(row: Mapping[str, float] | None) -> str:
    if row is None:
        return "-"
    return f"{row['mean']:.3f} ± {row['interval']:.3f}, {row['above_half']:.0%}"


def _snapshots(checkpoint: Checkpoint) -> str:
    images = checkpoint.snapshots()
    if not images:
        return ""
    listed = ", ".join(f"{count:,}" for count in images)
    text = _paragraph(
        f"`snapshots/` holds the averaged generator, its weights in 16 bits, after {listed} images."
    )
    return f"## Snapshots\n\n{text}"
