"""The control of an explanation: the same network, had it learnt nothing.

Source: Adebayo et al. 2018, *Sanity checks for saliency maps*.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .attention import attention_layers, record_attention
from .tail import Input

SETTLING_BATCH, SETTLING_STEPS = 4, 8


def randomised(network: nn.Module, *inputs: Input, seed: int = 0) -> nn.Module:
    """A copy of a network that has learnt nothing: each tensor's numbers, shuffled.

    So every tensor keeps the distribution of its numbers. Batch and spectral norms are measured
    anew on random latents (of the shape of the first input, with the other inputs as given), and
    every gamma is scaled until the layer changes its input by the same median share as in the
    network itself, on these inputs: with random weights the learnt gamma does next to nothing,
    and a layer that does nothing would make no control. A gamma of 0 stays 0.
    """
    twin = copy.deepcopy(network)
    rng = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad():
        for parameter in twin.parameters():
            order = torch.randperm(parameter.numel(), generator=rng).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
        _settle(twin, inputs, rng)
        for name, learnt in _update_shares(network, inputs).items():
            share = _update_shares(twin, inputs)[name]
            if share > 0:
                attention_layers(twin)[name].gamma.mul_(learnt / share)
    return twin


def _update_shares(network: nn.Module, inputs: tuple[Input, ...]) -> dict[str, float]:
    """Median of |gamma out| / |x| over positions, per layer in forward order."""
    with record_attention(network) as fields:
        network(*inputs)
    return {name: float(field.update_share().median()) for name, field in fields.items()}


def _settle(network: nn.Module, inputs: tuple[Input, ...], rng: torch.Generator) -> None:
    """Measure batch and spectral norms on random latents; the network ends in eval mode."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    first, *others = (
        one.expand(SETTLING_BATCH, *one.shape[1:]) if isinstance(one, Tensor) else one
        for one in inputs
    )
    assert isinstance(first, Tensor)
    network.train()
    for _ in range(SETTLING_STEPS):
        network(torch.randn(first.shape, generator=rng).to(first), *others)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
