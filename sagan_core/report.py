"""Figures as text: the printed table, and the cells that the model card shows too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

ACCURACIES = {"real": "real-to-real", "gan_test": "GAN-test", "gan_train": "GAN-train"}

Direction = Literal["lower", "higher", "as real"]
TITLES: dict[str, tuple[str, Direction]] = {
    "gan_test": ("GAN-test", "higher"),
    "gan_train": ("GAN-train", "higher"),
    "frechet_distance": ("Fréchet distance", "lower"),
    "class_frechet_distance": ("Fréchet distance within classes", "lower"),
    "kernel_distance": ("kernel distance", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "density": ("density", "higher"),
    "coverage": ("coverage", "higher"),
    "fid": ("FID", "lower"),
    "kid": ("KID", "lower"),
    "inception_score": ("Inception score", "higher"),
    "intra_fid": ("intra-FID", "lower"),
    "closer_pixels": ("closer to training images", "as real"),
    "copies_pixels": ("as close as copies", "as real"),
    "closer_features": ("closer to training images", "as real"),
    "copies_features": ("as close as copies", "as real"),
}

COLUMNS = ("samples", "real images", "better", "N samples", "N real", "N reference", "features")
COUNTS = ("samples", "real_samples", "reference")
SHARES = ("gan_", "precision", "recall", "coverage", "closer_", "copies_")


def figure_rows(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Title and cells under `COLUMNS` of every figure in `metrics.json`, in the order of TITLES."""
    rows = []
    for key, (title, better) in TITLES.items():
        if key in figures:
            row = figures[key]
            value = _number(key, row["value"])
            if row["spread"] is not None:
                value += f" ± {_number(key, row['spread'])}"
            counts = [f"{row[name]:,}" for name in COUNTS]
            cells = [value, _number(key, row["real"]), better, *counts, row["features"]]
            rows.append((title, cells))
    return rows


def _number(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if key.startswith(SHARES) else f"{value:.4g}"


def table(metrics: Mapping[str, Any]) -> str:
    """The metrics as lines of text."""
    parts = []
    if metrics["figures"]:
        parts.append(_columns(COLUMNS, figure_rows(metrics["figures"])))
    if "accuracy" in metrics:
        parts.append(_accuracy_table(metrics["accuracy"], metrics["per_class"]))
    if metrics["attention"]:
        parts.append(_attention_table(metrics["attention"]))
    parts.append(metrics["protocol"])
    if metrics["left_out"]:
        parts.append("\n".join(["Left out:", *(f"- {line}" for line in metrics["left_out"])]))
    return "\n\n".join(parts)


def _accuracy_table(
    accuracy: Mapping[str, float], per_class: Mapping[str, Mapping[str, float | None]]
) -> str:
    rows: dict[str, Mapping[str, float | None]] = {**per_class, "mean over classes": accuracy}
    if accuracy["real"]:
        shares = {key: accuracy[key] / accuracy["real"] for key in ("gan_test", "gan_train")}
        rows["of real-to-real"] = {"real": None, **shares}
    texts = [
        (name, ["-" if (value := row[key]) is None else f"{value:.1%}" for key in ACCURACIES])
        for name, row in rows.items()
    ]
    return _columns(list(ACCURACIES.values()), texts)


def _attention_table(layers: Mapping[str, Mapping[str, float]]) -> str:
    texts = [
        (
            name,
            [
                f"{row['gamma']:+.3f}",
                f"{row['update']:.1%}",
                f"{row['entropy']:.2f} nats",
                f"{row['dependence']:.2f} nats",
                f"{row['effective_keys']:.1f} of {row['keys']:.0f}",
                f"{row['distance']:.2f}",
                f"{row['pairwise']:.0%}",
                f"{row['image_change']:.1f}" if "image_change" in row else "-",
            ],
        )
        for name, row in layers.items()
    ]
    titles = "gamma,update,entropy,dependence,effective keys,distance,pairwise,image change"
    return _columns(titles.split(","), texts)


def _columns(titles: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    first = max(len(name) for name, _ in rows)
    cells = [titles, *(row for _, row in rows)]
    widths = [2 + max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        f"{name:<{first}}"
        + "".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for name, row in [("", titles), *rows]
    )
