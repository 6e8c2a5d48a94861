"""A state dict of another code base, read once: every tensor has a place or is an error.

Spectral norms are resolved here, each by the rule that its tensors' names give away. The stored
vectors have not converged (an average of weights keeps the last step's), so the largest singular
value itself would give other images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..checkpoint import CheckpointError, all_finite

# Kept by their sources for logging or training, and not read in eval.
UNUSED = re.compile(r"(.*\.)?(num_batches_tracked|accumulation_counter|sv\d+|u[1-9]\d*)")


class LayoutError(CheckpointError):
    """Tensors whose names or shapes do not make up a network of the family they look like."""


class SourceTensors:
    """The tensors of one network by their native names, without wrappers and prefixes.

    Attributes:
        sigmas: what each spectrally normalised weight was divided by, by native layer.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._storages = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
        self._taken: set[str] = set()
        self.sigmas: dict[str, float] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> Iterable[str]:
        """All names, read or not, in the file's order."""
        return self._tensors.keys()

    def take(self, name: str) -> Tensor:
        """A tensor in float32. Raises LayoutError where it is missing or not finite."""
        if name not in self._tensors:
            raise LayoutError(f"it lacks the tensor {name}")
        self._taken.add(name)
        tensor = self._tensors[name].detach().to(torch.float32)
        if not tensor.is_meta and not all_finite(tensor):
            raise LayoutError(f"{name} holds numbers that are not finite")
        return tensor.contiguous()

    def ignore(self, *names: str) -> None:
        """Mark tensors that the source keeps but does not use."""
        self._taken.update(names)

    def shape(self, layer: str) -> torch.Size | None:
        """Shape of a layer's weight, normalised or not; None where there is no such layer."""
        for name in (f"{layer}.weight_orig", f"{layer}.module.weight_bar", f"{layer}.weight"):
            if name in self:
                return self._tensors[name].shape
        return None

    def has_weight(self, layer: str) -> bool:
        """Whether there is a layer of that name with a weight."""
        return self.shape(layer) is not None

    def width(self, layer: str, axis: int = 0) -> int:
        """One size of a layer's weight. Raises LayoutError where there is no such layer."""
        shape = self.shape(layer)
        if shape is None or len(shape) <= axis:
            raise LayoutError(f"it lacks the tensor {layer}.weight")
        return shape[axis]

    def weight(self, layer: str) -> Tensor:
        """A layer's weight as its source uses it in eval, spectral norm resolved.

        Raises LayoutError where there is none.
        """
        if f"{layer}.module.weight_bar" in self:  # heykeetae: refreshes v before it reads it
            inner = f"{layer}.module"
            self.ignore(f"{inner}.weight_v")
            weight, u = self.take(f"{inner}.weight_bar"), self.take(f"{inner}.weight_u")
            return self._normalised(layer, weight, _one_step(weight, u))
        if f"{layer}.weight_orig" in self:
            weight, u = self.take(f"{layer}.weight_orig"), self.take(f"{layer}.weight_u")
            if f"{layer}.weight_v" in self:  # torch.nn.utils.spectral_norm: both as they are
                v = self.take(f"{layer}.weight_v")
                return self._normalised(layer, weight, _stored(weight, u, v))
            self.ignore(f"{layer}.weight")  # rosinality: the last forward's copy
            return self._normalised(layer, weight, _one_step(weight, u))
        weight = self.take(f"{layer}.weight")
        if f"{layer}.u0" in self:  # BigGAN-PyTorch: a step that eval takes and does not keep
            return self._normalised(layer, weight, _one_step(weight, self.take(f"{layer}.u0")))
        return weight

    def bias(self, layer: str, channels: int) -> Tensor:
        """A layer's bias, or zeros where the source's layer has none."""
        for name in (f"{layer}.bias", f"{layer}.module.bias"):
            if name in self:
                return self.take(name)
        return torch.zeros(channels)

    def detached(self, tensor: Tensor) -> Tensor:
        """The tensor, copied where it still is a view of the file."""
        if tensor.is_meta or tensor.untyped_storage().data_ptr() not in self._storages:
            return tensor
        return tensor.clone()

    def left_over(self) -> list[str]:
        """Names that nothing has asked for and that mean something."""
        return [
            name for name in self._tensors if name not in self._taken and not UNUSED.fullmatch(name)
        ]

    def _normalised(self, layer: str, weight: Tensor, sigma: Tensor) -> Tensor:
        if weight.is_meta:
            return weight
        self.sigmas[layer] = float(sigma)
        if not sigma.isfinite() or sigma == 0:
            raise LayoutError(f"{layer}'s spectral norm comes out as {float(sigma)}")
        return weight / sigma


def _stored(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """u W v, the vectors as they are: what torch's hook computes in eval."""
    matrix = _matrix(weight, u)
    if v.numel() != matrix.shape[1]:
        raise LayoutError(f"a vector of {v.numel()} numbers for a matrix {tuple(matrix.shape)}")
    return torch.dot(u.flatten(), matrix @ v.flatten())


def _one_step(weight: Tensor, u: Tensor) -> Tensor:
    """u' W v' after one power step from u; the length of u does not matter."""
    matrix = _matrix(weight, u)
    v = torch.nn.functional.normalize(matrix.t() @ u.flatten(), dim=0)
    u = torch.nn.functional.normalize(matrix @ v, dim=0)
    return torch.dot(u, matrix @ v)


def _matrix(weight: Tensor, u: Tensor) -> Tensor:
    matrix = weight.flatten(1) if weight.dim() > 1 else weight.reshape(-1, 1)
    if u.numel() != matrix.shape[0]:
        raise LayoutError(f"a vector of {u.numel()} numbers for a matrix {tuple(matrix.shape)}")
    return matrix
