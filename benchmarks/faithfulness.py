"""How long one point's examination takes at 64x64 pixels, and what the crop saves.

    python benchmarks/faithfulness.py [--threads N]

Networks of the default width with random weights, as time does not depend on what was learnt.
Seconds are given on the wall and on the processor, which a busy machine does not change much.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from sagan_core import Discriminator, Generator, SAGANConfig, generate
from sagan_core.attention import attention_layers
from sagan_core.attribution import Probe, prepare, probe_image, probe_sample
from sagan_core.device import hardware
from sagan_core.receptive_field import cut

CONFIGS = {
    "as released": SAGANConfig(resolution=64),
    "attention at 16, 32": SAGANConfig(resolution=64, attention=(16, 32)),
    "the same, unpooled": SAGANConfig(resolution=64, attention=(16, 32), pool_keys=False),
}
MASKS = 64


def seconds(work: Callable[[], object]) -> str:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return f"{time.perf_counter() - wall:6.2f} ({time.process_time() - processor:5.2f})"


def time_masks(probe: Probe, pin: tuple[int, int]) -> None:
    """64 variants of the layer's result, on the crop that a pin's patch sees and on the whole."""
    tail = probe.tail
    crop = tail.crop(probe.patch_region(pin))
    variants = tail.attended.expand(MASKS, -1, -1, -1)
    everything = replace(tail, reason="for comparison").crop()
    with torch.no_grad():
        cropped = seconds(lambda: crop.run(cut(variants, crop.source)))
        whole = seconds(lambda: everything.run(variants))
    print(f"    {MASKS} masks: crop {cropped} s, whole network {whole} s")


def time_layer(name: str, make: Callable[[], Probe], compare: bool) -> None:
    probes: list[Probe] = []
    print(f"  {name}: probe {seconds(lambda: probes.append(make()))} s", end="")
    pin = tuple(size // 2 for size in probes[0].query_grid)
    for queries in ("pin", "all"):
        print(f", {queries} {seconds(lambda q=queries: probes[0].examine(pin, q))} s", end="")
    print(flush=True)
    if compare:
        time_masks(probes[0], pin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{hardware(torch.device('cpu'))}, {options.threads} threads; wall (processor)")
    prepare()
    for title, config in CONFIGS.items():
        print(title)
        torch.manual_seed(0)
        generator, discriminator = Generator(config), Discriminator(config)
        for network in (generator, discriminator):
            for layer in attention_layers(network).values():
                torch.nn.init.ones_(layer.gamma)
        sample = generate(generator, 0)
        generator.eval()
        discriminator.eval()
        for layer in attention_layers(generator):
            time_layer(f"G {layer}", partial(probe_sample, generator, sample, layer), True)
    for layer in attention_layers(discriminator):
        make = partial(probe_image, discriminator, sample.image, None, layer)
        time_layer(f"D {layer}", make, False)


if __name__ == "__main__":
    main()
