"""How fast a training step is, and where its time goes, beside the same step done the plain way.

    python benchmarks/throughput.py --config probe --threads 2 --json out.json
    python benchmarks/throughput.py --config paper --device cuda --steps 30

Every kind of step (see KINDS) runs in a process of its own, which builds its networks on the same
config. On a CPU the processes take turns, step by step, so that a busy machine slows all alike; on
a GPU they follow each other, so that each has the whole memory. A step is a batch of real images
brought to the device, one optimiser step of the discriminator, one of the generator, and one of
the average. Times are medians.

Columns: images/s by the clock; times the first kind's; milliseconds a step, in all and by part;
processor seconds a step (what other programs slow least); peak memory per image of a batch, the
networks' own included; floating point operations per image that are really done, by torch's
counter; and what share of the rate of a large matrix product, measured here, they are done at.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import platform
import statistics
import sys
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.plain_step import PlainStep
from sagan_core.device import hardware
from sagan_core.feed import Feed
from sagan_core.image_set import ImageSet
from sagan_core.model import SAGANConfig
from sagan_core.parallel import Processes
from sagan_core.state import Recipe, TrainState
from sagan_core.train import Trainer

KINDS = {  # bf16, compiled; the plain ones are of plain_step.py
    "plain": (False, False),
    "plain bf16": (True, False),
    "ours": (False, False),
    "ours bf16": (True, False),
    "ours compiled": (False, True),
    "ours bf16 compiled": (True, True),
}
CONFIGS = {  # batch size
    "probe": (SAGANConfig(resolution=128, classes=10, width=16), 16),
    "paper": (SAGANConfig.paper(), 256),
    "small": (
        SAGANConfig(
            resolution=32, classes=10, width=16, attention=(16,), discriminator_attention=(16,)
        ),
        64,
    ),
}
PARTS = ("data", "discriminator", "generator", "average")


class OurStep:
    """This repository's step, part by part."""

    def __init__(
        self, config: SAGANConfig, recipe: Recipe, device: torch.device, compiled: bool
    ) -> None:
        self.state = TrainState.start(config, recipe, device)
        self.trainer = Trainer(self.state, compiled)
        self.feed = Feed(pictures(config, recipe.batch_size), recipe, Processes(device=device))

    def data(self) -> None:
        self.parts = self.feed.batch(self.state.images)

    def discriminator(self) -> None:
        self.trainer.discriminate(self.parts)

    def generator(self) -> None:
        self.trainer.generate()

    def average(self) -> None:
        self.trainer.update_average()
        self.state.step += 1


class PlainParts:
    """The plain step, part by part; its images are made floats on the CPU, as loaders do."""

    def __init__(self, config: SAGANConfig, recipe: Recipe, device: torch.device) -> None:
        self.step, self.recipe, self.device = PlainStep(config, recipe, device), recipe, device
        self.set, self.count = pictures(config, recipe.batch_size), 0

    def data(self) -> None:
        start = self.count % len(self.set)
        self.count += self.recipe.batch_size
        rows = torch.arange(start, start + self.recipe.batch_size)
        self.images, self.labels = (tensor.to(self.device) for tensor in self.set.batch(rows))

    def discriminator(self) -> None:
        self.step.discriminate(self.images, self.labels)

    def generator(self) -> None:
        self.step.generate()

    def average(self) -> None:
        self.step.update_average()


def pictures(config: SAGANConfig, batch_size: int, batches: int = 4) -> ImageSet:
    """Noise in memory: what is in the images changes no time."""
    rng = np.random.default_rng(0)
    shape = (batches * batch_size, config.image_channels, config.resolution, config.resolution)
    labels = np.arange(len(range(shape[0]))) % max(1, config.classes)
    names = tuple(map(str, range(config.classes)))
    return ImageSet(rng.integers(0, 256, shape, np.uint8), labels.astype(np.int64), names, "noise")


def peak_bytes(device: torch.device) -> int:
    """The most memory that was in use so far: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    scale = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def one_step(step: OurStep | PlainParts, device: torch.device) -> dict[str, float]:
    """Seconds of every part, by the clock, and of all by the processor."""
    seconds, busy = {}, time.process_time()
    for part in PARTS:
        began = time.perf_counter()
        getattr(step, part)()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds[part] = time.perf_counter() - began
    return {**seconds, "busy": time.process_time() - busy}


def work(pipe: Connection, kind: str, options: argparse.Namespace) -> None:
    """One kind's process: a step for every message, until there is an empty one."""
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    config, _ = CONFIGS[options.config]
    bf16, compiled = KINDS[kind]
    recipe = Recipe(batch_size=options.batch_size, accumulate=options.accumulate, bf16=bf16)
    before = peak_bytes(device)
    if kind.startswith("plain"):
        step: OurStep | PlainParts = PlainParts(config, recipe, device)
    else:
        step = OurStep(config, recipe, device, compiled)
    for _ in range(options.warm_up):
        one_step(step, device)
    memory = peak_bytes(device) - before
    pipe.send({"memory": memory})
    while pipe.recv():
        pipe.send(one_step(step, device))
    flops = 0
    if not compiled:  # the counter sees the eager step alone, whose operations are the same
        with FlopCounterMode(display=False) as counter:
            one_step(step, device)
        flops = counter.get_total_flops()
    pipe.send({"flops": flops})


def measure(kinds: list[str], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Of every kind the times of its steps, its memory and its operations."""
    found: dict[str, dict[str, Any]] = {}
    together = [kinds] if options.device == "cpu" else [[kind] for kind in kinds]
    for group in together:
        pipes = {}
        for kind in group:
            ours, theirs = mp.Pipe()
            process = mp.get_context("spawn").Process(
                target=work, args=(theirs, kind, options), daemon=True
            )
            process.start()
            theirs.close()
            pipes[kind] = ours
            found[kind] = {**ours.recv(), "steps": []}
            print(f"{kind}: ready", file=sys.stderr)
        for _ in range(options.steps):
            for kind, pipe in pipes.items():
                pipe.send(True)
                found[kind]["steps"].append(pipe.recv())
        for kind, pipe in pipes.items():
            pipe.send(False)
            found[kind].update(pipe.recv())
    for kind, one in found.items():
        eager = kind.removesuffix(" compiled")
        one["flops"] = one["flops"] or found.get(eager, one)["flops"]
    return found


def matrix_rate(device: torch.device, kind: torch.dtype) -> float:
    """Operations a second of a large matrix product: the best of ten.

    On a GPU of float32 ones in TF32, which is what convolutions use there.
    """
    torch.set_float32_matmul_precision("high")
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def summary(
    kinds: list[str], found: dict[str, dict[str, Any]], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """The table's numbers by kind and column."""
    device, rows = torch.device(options.device), {}
    torch.set_num_threads(options.threads)
    rates = {dtype: matrix_rate(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    for kind in kinds:
        steps, batch = found[kind]["steps"], options.batch_size
        whole = statistics.median(sum(step[part] for part in PARTS) for step in steps)
        rate = rates[torch.bfloat16 if KINDS[kind][0] else torch.float32]
        flops = found[kind]["flops"] / batch
        rows[kind] = {
            "images/s": batch / whole,
            "step ms": 1e3 * whole,
            **{
                f"{part} ms": 1e3 * statistics.median(step[part] for step in steps)
                for part in PARTS
            },
            "processor s": statistics.median(step["busy"] for step in steps),
            "MB/image": found[kind]["memory"] / batch / 1e6,
            "GFLOP/image": flops / 1e9,
            "of peak": flops * batch / whole / rate,
        }
    first = rows[kinds[0]]
    for row in rows.values():
        row["times"] = row["images/s"] / first["images/s"]
        row["times by processor"] = first["processor s"] / row["processor s"]
        row["memory"] = row["MB/image"] / first["MB/image"]
    return rows


def table(rows: dict[str, dict[str, float]]) -> str:
    """The numbers as a Markdown table."""
    columns = {
        "images/s": "{:.1f}",
        "times": "{:.2f}x",
        "step ms": "{:.0f}",
        **{f"{part} ms": "{:.0f}" for part in PARTS},
        "processor s": "{:.2f}",
        "times by processor": "{:.2f}x",
        "MB/image": "{:.1f}",
        "memory": "{:.2f}x",
        "GFLOP/image": "{:.2f}",
        "of peak": "{:.0%}",
    }
    lines = ["| step | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for kind, row in rows.items():
        cells = [form.format(row[name]) for name, form in columns.items()]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", choices=CONFIGS, default="probe", help="(probe)")
    parser.add_argument("--batch-size", type=int, help="(the config's)")
    parser.add_argument("--accumulate", type=int, default=1, help="parts of our batches (1)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="(all but compiled, on a CPU)")
    parser.add_argument("--steps", type=int, default=10, help="of each kind (10)")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them (2)")
    parser.add_argument("--device", default="cpu", help="(cpu)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--json", type=Path, help="file for all times")
    options = parser.parse_args()
    config, batch_size = CONFIGS[options.config]
    options.batch_size = options.batch_size or batch_size
    on_gpu = torch.device(options.device).type == "cuda"
    kinds = options.kinds or [kind for kind in KINDS if on_gpu or "compiled" not in kind]
    found = measure(kinds, options)
    rows = summary(kinds, found, options)
    machine = hardware(torch.device(options.device))
    print(
        f"{options.config}: {config.resolution}x{config.resolution}, width {config.width}, batch "
        f"{options.batch_size}, {options.steps} steps; {machine}, {options.threads} threads\n"
    )
    print(table(rows))
    if options.json:
        about = {"machine": machine, "threads": options.threads, "config": asdict(config)}
        about |= {"batch_size": options.batch_size, "rows": rows, "times": found}
        options.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
