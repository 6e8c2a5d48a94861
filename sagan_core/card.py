"""The model card: a checkpoint's README.md, written from what the folder itself holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .checkpoint import HISTORY, Checkpoint, load_checkpoint, read_history, write_whole

METRICS = "metrics.json"


def write_card(folder: Path) -> None:
    """Write README.md from config.json, history.jsonl and, where it exists, metrics.json."""
    checkpoint = load_checkpoint(folder)
    metrics_file = folder / METRICS
    metrics = json.loads(metrics_file.read_text()) if metrics_file.is_file() else {}
    parts = [_head(checkpoint), _training(checkpoint), _layers(folder, metrics), _quality(metrics)]
    write_whole(folder / "README.md", ("\n\n".join(filter(None, parts)) + "\n").encode())


def _head(checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    colour = "grey" if config.image_channels == 1 else "colour"
    kind = f"class-conditional, {config.classes} classes" if config.classes else "unconditional"
    places = ", ".join(f"{size}x{size}" for size in config.attention) or "nowhere"
    in_d = ", ".join(f"{size}x{size}" for size in config.discriminator_attention) or "nowhere"
    counts = {
        "generator": checkpoint.generator,
        "discriminator": checkpoint.discriminator,
    }
    sizes = ", ".join(
        f"{name} {sum(p.numel() for p in network.parameters()):,}"
        for name, network in counts.items()
        if network is not None
    )
    keys = "max-pooled 2x2" if config.pool_keys else "not pooled"
    return f"""# {checkpoint.name}

A SAGAN for {config.resolution}x{config.resolution} {colour} images, {kind}. Attention in the
generator at {places}, in the discriminator at {in_d}; keys {keys}, queries and keys
1/{config.query_divisor} and values 1/{config.value_divisor} of the channels. Parameters: {sizes}.

![Samples with fixed latents, a row per class](samples.png)"""


def _training(checkpoint: Checkpoint) -> str:
    about: dict[str, Any] = dict(checkpoint.training)
    if not about:
        return ""
    rate = about["images"] / max(1, about["seconds"])
    return f"""## Training

Trained on {about["data"]} ({about["data_images"]:,} images): {about["images"]:,} images shown in
{about["steps"]:,} steps and {about["seconds"] / 3600:.1f} hours ({rate:.0f} images/s) on
{about["hardware"]}.

```
{about["command"]}
```"""


def _layers(folder: Path, metrics: dict[str, Any]) -> str:
    rows, source = metrics.get("attention"), "over samples of the averaged generator"
    if rows is None:
        logged = read_history(folder / HISTORY)
        rows, source = (logged[-1]["attention"] if logged else None), "in the last logged step"
    if not rows:
        return ""
    lines = [
        f"| `{name}` | {row['gamma']:+.3f} | {row['update']:.1%} | {row['dependence']:.2f} "
        f"| {row['effective_keys']:.0f} of {row['keys']:.0f} |"
        for name, row in rows.items()
    ]
    return "\n".join(
        [
            "## Attention",
            "",
            f"Measured {source}. Update: median of |gamma out| / |x|. Dependence: mutual "
            "information",
            "of query and key position in nats, 0 where every point has the same map.",
            "",
            "| layer | gamma | update | dependence | effective keys |",
            "|---|---|---|---|---|",
            *lines,
        ]
    )


def _quality(metrics: dict[str, Any]) -> str:
    accuracy = metrics.get("accuracy")
    if not accuracy:
        return ""
    real = accuracy["real"]
    return f"""## Quality

| | accuracy | of real-to-real |
|---|---|---|
| real-to-real: classifier trained and tested on real images | {real:.1%} | |
| GAN-test: trained on real images, tested on samples | {accuracy["gan_test"]:.1%} \
| {accuracy["gan_test"] / real:.1%} |
| GAN-train: trained on samples, tested on real images | {accuracy["gan_train"]:.1%} \
| {accuracy["gan_train"] / real:.1%} |

Shmelkov et al. 2018, *How good is my GAN?* {metrics["protocol"]}

```
{metrics["command"]}
```"""
