"""Rows of an ablation beside each other: mean and spread over seeds, and whether they differ."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COMPARED = "frechet_distance"
SHOWN = {
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "kernel distance",
    "gan_test": "GAN-test",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
}
SHARES = ("gan_test", "precision", "recall", "coverage")
# Three against three seeds leave four degrees of freedom, where 5% lie beyond 2.8 of them.
STANDARD_ERRORS = 3
# What the paper's experiments set against each other, by the rows' names.
PAIRS = {
    **{
        f"attention at {n}x{n} against a residual block there": (f"attention-{n}", f"residual-{n}")
        for n in (8, 16, 32)
    },
    "SN on both against D alone, both at equal rates": ("both-equal", "alone-equal"),
    "SN on both against D alone, both at 1e-4 and 4e-4": ("none", "alone-ttur"),
    "1e-4 and 4e-4 against equal rates, SN on both": ("none", "both-equal"),
}
PAIRED = ("frechet_distance", "gan_test", "recall")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of N - 1) over seeds; NaN where there are too few."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        count = len(values)
        mean = sum(values) / count if count else math.nan
        squares = sum((value - mean) ** 2 for value in values)
        return cls(mean, math.sqrt(squares / (count - 1)) if count > 1 else math.nan, count)

    def less(self, other: Spread) -> tuple[float, float]:
        """The difference of two means and its standard error."""
        error = math.sqrt(self.deviation**2 / self.count + other.deviation**2 / other.count)
        return self.mean - other.mean, error


def final_values(row: Mapping[str, Any], key: str) -> list[float]:
    """A figure at the end of every run of a row that did not break down."""
    return [run["points"][-1][key] for run in row["runs"].values() if "failed" not in run]


def is_separated(row: Spread, base: Spread) -> bool:
    """Whether two means differ by more than three standard errors; never by single runs."""
    if min(row.count, base.count) < 2:
        return False
    difference, error = row.less(base)
    return abs(difference) > STANDARD_ERRORS * error


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report: what was run, the table, and which rows differ from the first.

    Args:
        results: `results.json` of `ablate.py`.
    """
    rows = results["rows"]
    spreads = {name: Spread.of(final_values(row, COMPARED)) for name, row in rows.items()}
    base = next(iter(rows))
    head = ["", "parameters of G, D", *SHOWN.values(), f"against {rows[base]['title']}"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        sizes = ", ".join(f"{count:,}" for count in row["parameters"])
        cells = [_cell(key, Spread.of(final_values(row, key))) for key in SHOWN]
        against = "" if name == base else _against(spreads[name], spreads[base])
        failed = sum("failed" in run for run in row["runs"].values())
        title = row["title"] + (f" ({failed} of {len(row['runs'])} broke down)" if failed else "")
        lines.append(f"| {title} | {sizes} | {' | '.join(cells)} | {against} |")
    parts = [
        "# The paper's comparison, in small",
        _filled(results["protocol"]),
        "\n".join(lines),
        _filled(verdict(results)),
        *pairs(rows),
        f"```\n{results['command']}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def verdict(results: Mapping[str, Any]) -> str:
    """Which rows this budget separates from the first, in words."""
    rows = results["rows"]
    base, *others = rows
    spreads = {name: Spread.of(final_values(row, COMPARED)) for name, row in rows.items()}
    title = rows[base]["title"]
    told = {
        True: [n for n in others if is_separated(spreads[n], spreads[base])],
        False: [n for n in others if not is_separated(spreads[n], spreads[base])],
    }
    rule = f"more than {STANDARD_ERRORS} standard errors of the difference"
    if not told[True]:
        return f"This budget separates no row from {title}: none differs by {rule}."
    words = [
        f"{rows[n]['title']} ({'lower' if spreads[n].mean < spreads[base].mean else 'higher'})"
        for n in told[True]
    ]
    text = f"The Fréchet distance differs from that of {title} by {rule} for: {'; '.join(words)}."
    if told[False]:
        text += f" Not separated: {'; '.join(rows[n]['title'] for n in told[False])}."
    return text


def pairs(rows: Mapping[str, Any]) -> list[str]:
    """What the paper sets against each other, as paragraphs; none where no pair was run."""
    there = {told: pair for told, pair in PAIRS.items() if all(name in rows for name in pair)}
    if not there:
        return []
    head = ["", *(SHOWN[key] for key in PAIRED)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for told, (name, other) in there.items():
        cells = [_compared(key, rows[name], rows[other]) for key in PAIRED]
        lines.append(f"| {told} | {' | '.join(cells)} |")
    rule = (
        f"The paper's own pairs: the difference of the means and its standard error, in bold where "
        f"it is more than {STANDARD_ERRORS} of them. With three seeds that comes by chance in one "
        "of 25 comparisons."
    )
    return [_filled(rule), "\n".join(lines)]


def _compared(key: str, row: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    mine, theirs = (Spread.of(final_values(each, key)) for each in (row, other))
    text = _against(mine, theirs, key in SHARES)
    return f"**{text}**" if is_separated(mine, theirs) else text


def _cell(key: str, spread: Spread) -> str:
    if not spread.count:
        return "-"
    pattern = "{:.1%}" if key in SHARES else "{:.3g}"
    text = pattern.format(spread.mean)
    return text if spread.count < 2 else f"{text} ± {pattern.format(spread.deviation)}"


def _against(row: Spread, base: Spread, share: bool = False) -> str:
    if not (row.count and base.count):
        return "-"
    difference, error = row.less(base)
    text = f"{difference:+.1%}" if share else f"{difference:+.3g}"
    if math.isnan(error):
        return text
    return f"{text} ± {error:.1%}" if share else f"{text} ± {error:.2g}"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False)
