"""What watching attention costs: a forward pass with and without `record_attention`.

    python benchmarks/recording.py [CHECKPOINT]

Passes with and without recording take turns in one process, so that a busy machine slows both
alike; the ratio of the medians is what counts. Below it, the cost of asking a field for one row.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from sagan_core import load_checkpoint, record_attention
from sagan_core.device import hardware

SHIPPED = Path(__file__).parent.parent / "checkpoints" / "fashion-mnist-32"


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", default=SHIPPED, metavar="CHECKPOINT")
    parser.add_argument("--passes", type=int, default=300, help="of each kind (300)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = load_checkpoint(options.checkpoint).generator
    config = generator.config
    print(f"{options.checkpoint.name}, {hardware(torch.device('cpu'))}, {options.threads} threads")
    print(f"{'batch':>5} {'plain ms':>9} {'recorded ms':>12} {'ratio':>6}")
    for batch in (1, 16):
        z = torch.randn(batch, config.latent_size)
        labels = torch.zeros(batch, dtype=torch.long)

        def plain(z: torch.Tensor = z, labels: torch.Tensor = labels) -> None:
            generator(z, labels)

        def recorded(z: torch.Tensor = z, labels: torch.Tensor = labels) -> None:
            with record_attention(generator):
                generator(z, labels)

        with torch.inference_mode():
            for work in 3 * (plain, recorded):
                work()
            turns = range(options.passes // batch)
            times = [(milliseconds(plain), milliseconds(recorded)) for _ in turns]
            with record_attention(generator) as fields:
                plain()
        without, with_it = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{batch:>5} {without:>9.2f} {with_it:>12.2f} {with_it / without:>6.3f}")
    for name, field in fields.items():
        row = [milliseconds(lambda field=field: field.attended_by(3, 3)) for _ in range(50)]
        height, width = field.query_grid
        print(f"one row of {name} ({height}x{width} queries): {statistics.median(row):.3f} ms")


if __name__ == "__main__":
    main()
