"""Whether each exact rewrite of a convolution pays, layer by layer: forward and backward.

    python benchmarks/rewrites.py --config probe --threads 1
    python benchmarks/rewrites.py --config paper --device cuda

For every block of a config the joined 4x4 convolution against the 3x3 one beside its resampling,
and the 1x1 shortcut on the small side against the large one. Best of several runs, on a CPU in
processor seconds, which other programs slow least.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.throughput import CONFIGS
from sagan_core.device import hardware
from sagan_core.model import (
    Discriminator,
    DownBlock,
    Generator,
    UpBlock,
    pooled_conv,
    upsampled_conv,
)

Form = Callable[[Tensor, nn.Conv2d], Tensor]


def enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def pairs(
    network: Generator | Discriminator, batch: int
) -> Iterator[tuple[str, tuple[int, ...], nn.Conv2d, Form, Form]]:
    """Name, input's shape, layer, our form and the plain one, of all that is rewritten."""
    size = 4 if isinstance(network, Generator) else network.config.resolution
    for block in network.blocks:
        if isinstance(block, UpBlock):
            channels = block.conv1.in_channels
            shape = (batch, channels, size, size)
            name = f"G {size}->{2 * size}, {channels}->{block.conv1.out_channels}"
            yield f"{name}, 3x3", shape, block.conv1, upsampled_conv, lambda x, c: c(enlarged(x))
            yield (
                f"{name}, 1x1",
                shape,
                block.shortcut,
                lambda x, c: enlarged(c(x)),
                lambda x, c: c(enlarged(x)),
            )
            size *= 2
        elif isinstance(block, DownBlock) and block.down:
            channels = block.conv2.in_channels
            name = f"D {size}->{size // 2}"
            shape = (2 * batch, channels, size, size)
            plain: Form = lambda x, c: F.avg_pool2d(c(x), 2)  # noqa: E731
            yield f"{name}, {channels}->{channels}, 3x3", shape, block.conv2, pooled_conv, plain
            channels = block.shortcut.in_channels
            yield (
                f"{name}, {channels}->{block.shortcut.out_channels}, 1x1",
                (2 * batch, channels, size, size),
                block.shortcut,
                lambda x, c: c(F.avg_pool2d(x, 2)),
                plain,
            )
            size //= 2


def milliseconds(form: Form, x: Tensor, layer: nn.Conv2d, bf16: bool, runs: int) -> float:
    """Forward and backward, the best of `runs`."""
    best, clock = float("inf"), time.perf_counter if x.is_cuda else time.process_time
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        gradient = torch.randn_like(form(x, layer))
    for _ in range(runs):
        if x.is_cuda:
            torch.cuda.synchronize()
        began = clock()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            y = form(x, layer)
        torch.autograd.grad(y, [x, *layer.parameters()], gradient)
        if x.is_cuda:
            torch.cuda.synchronize()
        best = min(best, clock() - began)
    return 1e3 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", choices=CONFIGS, default="probe", help="(probe)")
    parser.add_argument("--device", default="cpu", help="(cpu)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--runs", type=int, default=8, help="of each form (8)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    device, (config, batch) = torch.device(options.device), CONFIGS[options.config]
    print(f"{options.config}, batch {batch}; {hardware(device)}, {options.threads} threads\n")
    print("| layer | plain, ours ms, fp32 | faster | plain, ours ms, bf16 | faster |")
    print("|---|---|---|---|---|")
    for network in (Generator(config), Discriminator(config)):
        network.to(device).to(memory_format=torch.channels_last)
        for name, shape, layer, ours, plain in pairs(network, batch):
            x = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
            cells = []
            for bf16 in (False, True):
                kind = torch.bfloat16 if bf16 else torch.float32
                here = x.to(kind).requires_grad_()
                times = [
                    milliseconds(form, here, layer, bf16, options.runs) for form in (plain, ours)
                ]
                cells += [f"{times[0]:.1f}, {times[1]:.1f}", f"{times[0] / times[1]:.2f}x"]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
