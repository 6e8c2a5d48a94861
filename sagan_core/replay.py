"""A recorded operation, run again on the part that is needed of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from .attention import Attend
from .receptive_field import Call, LocalRule, Ref, Region, cut, overlap, paste, whole

# What was computed of a value, and which region that is; None where it has no regions.
Value = tuple[Tensor, Region | None]


def fetch(
    recorded: Sequence[Tensor], values: Mapping[int, Value], index: int, region: Region | None
) -> Tensor:
    """A region of a value, as computed where it was, else as recorded."""
    if index not in values:
        return recorded[index] if region is None else cut(recorded[index], region)
    value, held = values[index]
    if region is None or held is None:
        return value
    shared = overlap(region, held)
    if shared == region:
        return cut(value, region, held)
    base = cut(recorded[index], region)
    return base if shared is None else paste(base, region, cut(value, shared, held), shared)


@dataclass(frozen=True, eq=False)
class Step:
    """One operation as a crop runs it.

    Attributes:
        region: of its first output, by `rule`; None where it is computed whole.
        size: numbers that it reads and makes.
        recorded: every value as it was in the recorded pass.
    """

    call: Call
    rule: LocalRule | None
    region: Region | None
    size: int
    recorded: Sequence[Tensor]

    @property
    def cost(self) -> int:
        """Multiplications of convolutions and attention; the rest is small beside them."""
        shape = self.call.shapes[0]
        cells = math.prod(shape[2:])
        if self.region is not None:
            cells = math.prod(stop - start for start, stop in self.region)
        if isinstance(self.call.op, Attend):
            _, key, value = (
                self.recorded[leaf.index] if isinstance(leaf, Ref) else leaf
                for leaf in self.call.args
            )
            return cells * (key.numel() + value.numel())
        if self.call.op is not torch.ops.aten.convolution.default:
            return 0
        weight, stride, transposed = self.call.args[1], self.call.args[3], self.call.args[6]
        return cells * weight.numel() // (math.prod(stride) if transposed else 1)

    def run(self, values: dict[int, Value]) -> None:
        """Add its outputs to `values`."""

        def piece(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            shape = self.recorded[leaf.index].shape
            region = None
            if len(shape) == 4:
                region = whole(shape)
                if self.rule is not None and self.region is not None:
                    region = self.rule.reads(leaf, shape, self.region)
            return fetch(self.recorded, values, leaf.index, region)

        args, kwargs = tree_map(piece, (self.call.args, self.call.kwargs))
        if self.rule is not None and self.region is not None:
            index = self.call.outputs[0]
            assert index is not None
            values[index] = self.rule.compute(args, kwargs, self.region), self.region
            return
        made = tree_flatten(self.call.op(*args, **kwargs))[0]
        results = [leaf for leaf in made if isinstance(leaf, Tensor)]
        for index, result in zip(self.call.outputs, results, strict=True):
            if index is not None:
                shape = self.recorded[index].shape
                values[index] = result, whole(shape) if len(shape) == 4 else None
