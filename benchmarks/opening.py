"""How long another code base's full-size model takes to open, and how long an image of it.

    python benchmarks/opening.py FILE_OR_FOLDER [--threads 2] [--images 3]

Prints seconds and the process's largest memory. Random weights of the published shapes do: make
them with `tests/published.py`.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from sagan_core import generate, open_checkpoint


def main() -> None:
    """Open, then make images with their attention."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="file or folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    checkpoint = open_checkpoint(options.checkpoint)
    print(f"{checkpoint.recognised.family}: opened in {time.perf_counter() - start:.1f} s")
    for seed in range(options.images):
        start = time.perf_counter()
        sample = generate(checkpoint.generator, seed, truncation=0.5)
        size = "x".join(map(str, sample.image.shape[:2]))
        print(f"image {seed} of {size} with attention: {time.perf_counter() - start:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"largest memory {peak:.2f} GiB, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
