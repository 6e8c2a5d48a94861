"""What watching attention costs: a forward pass with and without `record_attention`.

    python benchmarks/recording.py [CHECKPOINT]
    python benchmarks/recording.py --sizes 16 32 64 128

Passes with and without recording take turns in one process, so that a busy machine slows both
alike; the ratio of the medians is what counts. Below it, the cost of asking a field for one row.

With --sizes, of untrained generators for 128x128 images that attend at one size each: how the
costs grow with the field, and how much is kept beside what the whole matrix would be.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from sagan_core import Generator, SAGANConfig, load_checkpoint, record_attention
from sagan_core.attention import AttentionField
from sagan_core.device import hardware

SHIPPED = Path(__file__).parent.parent / "checkpoints" / "fashion-mnist-32"


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def compare(
    generator: Generator, batch: int, turns: int
) -> tuple[float, float, dict[str, AttentionField]]:
    """Medians of passes without and with recording, in milliseconds, and the last one's fields."""
    z = torch.randn(batch, generator.config.latent_size)
    labels = torch.zeros(batch, dtype=torch.long)
    fields: dict[str, AttentionField] = {}

    def plain() -> None:
        generator(z, labels)

    def recorded() -> None:
        nonlocal fields
        with record_attention(generator) as fields:
            generator(z, labels)

    with torch.inference_mode():
        for work in 3 * (plain, recorded):
            work()
        times = [(milliseconds(plain), milliseconds(recorded)) for _ in range(turns)]
    without, with_it = (statistics.median(column) for column in zip(*times, strict=True))
    return without, with_it, fields


def row_milliseconds(field: AttentionField) -> float:
    """One click: the map of one point."""
    return statistics.median(milliseconds(lambda: field.attended_by(3, 3)) for _ in range(50))


def of_checkpoint(path: Path, passes: int) -> None:
    generator = load_checkpoint(path).generator
    print(f"{'batch':>5} {'plain ms':>9} {'recorded ms':>12} {'ratio':>6}")
    for batch in (1, 16):
        without, with_it, fields = compare(generator, batch, passes // batch)
        print(f"{batch:>5} {without:>9.2f} {with_it:>12.2f} {with_it / without:>6.3f}")
    for name, field in fields.items():
        height, width = field.query_grid
        print(f"one row of {name} ({height}x{width} queries): {row_milliseconds(field):.3f} ms")


def of_sizes(sizes: list[int], passes: int) -> None:
    print("| queries | keys | plain ms | recorded ms | ratio | one row ms | kept MB | matrix MB |")
    print("|---" * 8 + "|")
    for size in sizes:
        config = SAGANConfig(
            resolution=128, width=16, attention=(size,), discriminator_attention=()
        )
        generator = Generator(config).eval()
        without, with_it, fields = compare(generator, 1, max(5, passes // 10))
        (field,) = fields.values()
        kept = sum(t.numel() * 4 for t in (field.query, field.key, field.x, field.out)) / 1e6
        queries, keys = math.prod(field.query_grid), math.prod(field.key_grid)
        cells = (
            f"{size}x{size}",
            f"{field.key_grid.height}x{field.key_grid.width}",
            f"{without:.1f}",
            f"{with_it:.1f}",
            f"{with_it / without:.3f}",
            f"{row_milliseconds(field):.3f}",
            f"{kept:.2f}",
            f"{4 * queries * keys / 1e6:.1f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", default=SHIPPED, metavar="CHECKPOINT")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="SIZE", help="8, 16, ..., 128")
    parser.add_argument("--passes", type=int, default=300, help="of each kind (300)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = "untrained generators" if options.sizes else options.checkpoint.name
    print(f"{about}, {hardware(torch.device('cpu'))}, {options.threads} threads")
    if options.sizes:
        of_sizes(options.sizes, options.passes)
    else:
        of_checkpoint(options.checkpoint, options.passes)


if __name__ == "__main__":
    main()
