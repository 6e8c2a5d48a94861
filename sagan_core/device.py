"""The device that networks run on: choosing it, naming it, and bringing tensors to it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch
from torch import Tensor


def resolve_device(name: str) -> torch.device:
    """The device asked for. Raises ValueError when it is not there; never falls back."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"device {name!r} cannot be used here: {reason}") from error
    return torch.device(name)


def bf16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is native: any recent GPU, or a CPU with AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def hardware(device: torch.device) -> str:
    """The device in words, with torch's version."""
    name = platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().split("\n")
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = f"{models[0] if models else name}, {os.cpu_count()} cores"
    return f"{name}, torch {torch.__version__}"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on `device`. To a GPU from pinned memory, so that nothing waits for the copy."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
