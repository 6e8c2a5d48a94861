"""Batch norm, per class or plain, with statistics of one process's images or of all.

Source: Ioffe and Szegedy 2015; Dumoulin et al. 2017 for a gain and bias per class.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm

from .attention import without_autocast


class BatchNorm(nn.BatchNorm2d):
    """torch's batch norm; with `shared`, over the images of all processes.

    Every process must then hold as many images. Statistics are float32 whatever the input is.
    """

    shared = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape and dtype."""
        if not (self.training and self.shared and dist.is_initialized()):
            return super().forward(x)
        if x.device.type == "cuda":
            return self._shared_on_cuda(x)
        with without_autocast(x.device):
            variance, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)  # (C,) each
            means, variances = gather(torch.stack([mean, variance])).unbind(1)  # (processes, C)
            mean = means.mean(0)
            variance = (variances + (means - mean).square()).mean(0)
            self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1] * len(means))
            scale = (variance + self.eps).rsqrt()
            if self.affine:
                scale, shift = scale * self.weight, self.bias - mean * scale * self.weight
            else:
                shift = -mean * scale
            shape = (1, -1, 1, 1)
            return torch.addcmul(shift.view(shape), x.float(), scale.view(shape)).to(x.dtype)

    def _shared_on_cuda(self, x: Tensor) -> Tensor:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / self.num_batches_tracked.item()
        given: tuple[Any, ...] = (self.weight, self.bias, self.running_mean, self.running_var)
        group = dist.group.WORLD
        result: Tensor = SyncBatchNorm.apply(
            x, *given, self.eps, momentum, group, dist.get_world_size()
        )
        return result

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics; torch keeps the unbiased variance."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        everyone = own.new_zeros(dist.get_world_size(), *own.shape)
        everyone[dist.get_rank()] = own
        dist.all_reduce(everyone)
        return everyone

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        # Each process's loss depends on everyone's statistics: their gradients add up.
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def gather(own: Tensor) -> Tensor:
    """Every process's tensor, (...) -> (processes, ...), with gradients to where it came from."""
    everyone: Tensor = _Gather.apply(own)
    return everyone


def share_statistics(network: nn.Module, shared: bool) -> None:
    """Set whether the network's batch norms see the images of all processes or of their own."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.shared = shared


class ConditionalBatchNorm(nn.Module):
    """Batch norm with one gain (from 1) and bias (from 0) per class; plain when classes is 0."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        # The released code keeps 0.999 of its moving averages at each step.
        self.norm = BatchNorm(channels, eps=1e-5, momentum=0.001, affine=False)
        self.gain = nn.Parameter(torch.ones(max(1, classes), channels))
        self.bias = nn.Parameter(torch.zeros(max(1, classes), channels))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, C, H, W), of x's dtype."""
        normed = self.norm(x)
        gain, bias = (rows[labels].to(normed.dtype) for rows in (self.gain, self.bias))  # (B, C)
        return torch.addcmul(bias[:, :, None, None], normed, gain[:, :, None, None])
