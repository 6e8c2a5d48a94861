"""The control of an explanation: the same network, had it learnt nothing.

Source: Adebayo et al. 2018, *Sanity checks for saliency maps*.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .attention import attention_layers, record_attention
from .engine import Norm
from .tail import Input

SETTLING_BATCH, SETTLING_STEPS = 4, 8
STATISTICS_BATCH = 8

Network = TypeVar("Network", bound=nn.Module)


def randomised(network: Network, *inputs: Input, seed: int = 0) -> Network:
    """`shuffled`, and every layer as strong as in the network itself.

    Every gamma is scaled until the layer changes its input by the same median share as in the
    network, on these inputs: with random weights the learnt gamma does next to nothing, and a
    layer that does nothing would make no control. A gamma of 0 stays 0.
    """
    twin = shuffled(network, *inputs, seed=seed)
    with torch.inference_mode(False), torch.no_grad():
        for name, learnt in _update_shares(network, inputs).items():
            share = _update_shares(twin, inputs)[name]
            if share > 0:
                attention_layers(twin)[name].gamma.mul_(learnt / share)
    return twin


def shuffled(network: Network, *inputs: Input, seed: int = 0) -> Network:
    """A copy of a network that has learnt nothing: each tensor's numbers, shuffled.

    So every tensor keeps the distribution of its numbers, and every gamma is as it was learnt.
    Batch and spectral norms are measured anew on random latents: with the statistics of nothing
    features would fade from layer to layer.

    Args:
        inputs: what the network takes, with a batch of one. Of the first the shape counts.
    """
    twin = copy.deepcopy(network)
    rng = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad():
        for parameter in twin.parameters():
            order = torch.randperm(parameter.numel(), generator=rng).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
        _settle(twin, inputs, rng)
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
    network.train()
    for _ in range(SETTLING_STEPS):
        network(*_random_batch(inputs, SETTLING_BATCH, rng))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    stored = [module for module in network.modules() if isinstance(module, Norm)]
    if stored:
        hooks = [norm.register_forward_pre_hook(_take_statistics) for norm in stored]
        network(*_random_batch(inputs, STATISTICS_BATCH, rng))
        for hook in hooks:
            hook.remove()


def _random_batch(inputs: tuple[Input, ...], count: int, rng: torch.Generator) -> list[Input]:
    first, *others = (
        one.expand(count, *one.shape[1:]) if isinstance(one, Tensor) else one for one in inputs
    )
    assert isinstance(first, Tensor)
    return [torch.randn(first.shape, generator=rng).to(first), *others]


def _take_statistics(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
    assert isinstance(norm, Norm)
    norm.mean[:] = inputs[0].mean((0, 2, 3))
    norm.var[:] = inputs[0].var((0, 2, 3), correction=0)
