"""A pin's patch of the image, or a logit, as a function of which keys some queries may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .attention import mask_keys
from .deletion import RANDOM_DRAWS, Unit, deletion_sizes
from .receptive_field import Region, cut
from .tail import Crop, Tail

# From an image in [-1, 1] to 0 (black) to 1 (white).
SCALES: Mapping[Unit, float] = {"pixels": 0.5, "logit": 1.0}
# Multiplications that one examination may take; benchmarks/faithfulness.py times some.
BUDGET = 4e10
# Differences of fewer units in the last place are rounding.
ROUNDING = 4
# Numbers in the masked rows of one batch: 64 MB.
MOST_NUMBERS = 1 << 24
# Deletion curves of an examination: four maps, the nearest keys, random ones.
CURVES = 5 + RANDOM_DRAWS


@dataclass(frozen=True)
class Effort:
    """How finely a pin is examined.

    Attributes:
        knockouts: single keys are knocked out up to here; of more keys blocks, at most so many.
        refined: after blocks so many single keys, those of the blocks that matter most.
        factor: from one size of the deletion curve to the next.
        steps: of integrated gradients.
    """

    knockouts: int
    refined: int
    factor: int
    steps: int

    def runs(self, keys: int) -> int:
        """Forward passes that it takes; a gradient counts as three."""
        knockouts = keys if keys <= self.knockouts else self.knockouts + self.refined
        return knockouts + CURVES * len(deletion_sizes(keys, self.factor)) + 3 * self.steps


EFFORTS = (Effort(1024, 128, 2, 16), Effort(256, 64, 2, 16), Effort(64, 32, 4, 8))


@dataclass(frozen=True, eq=False)
class Patch:
    """The pin's patch when tested queries may look at some keys only.

    Attributes:
        crop: what the patch needs.
        attended: (D, h, w) on `crop.source`, the tested queries, as the layer had it.
        weights: (R, N_key), rows of the h * w queries there.
        value: (N_key, D).
        scale: from the network's output to the unit of the effects.
        effort: the finest that the budget allows.
    """

    crop: Crop
    attended: Tensor
    weights: Tensor
    value: Tensor
    scale: float
    effort: Effort

    @classmethod
    def of(cls, tail: Tail, region: Region | None, tested: Region | None = None) -> Patch:
        """The patch `region` of a tail's image, None for all of it or the logit.

        Args:
            tested: the query cells whose keys go; None for all that the patch can see.
        """
        crop = tail.crop(region, tested)
        height, width = tail.attended.shape[1:]
        numbers = torch.arange(height * width, device=tail.attended.device)
        cells = cut(numbers.view(1, height, width), crop.source).flatten()
        value = tail.value.flatten(1).T
        return cls(
            crop,
            cut(tail.attended, crop.source),
            tail.weights[cells].to(value.dtype),
            value,
            SCALES[unit_of(tail)],
            _effort(crop.cost, len(value)),
        )

    @property
    def keys(self) -> int:
        return len(self.value)

    def effect(self, masks: Tensor) -> Tensor:
        """(M, N_key) of 0 and 1 -> (M,): how much the patch changes when the zeros go."""
        ones = masks.new_ones(1, self.keys)
        size = max(1, MOST_NUMBERS // self.weights.numel())
        patches = [
            self._output(mask_keys(self.weights, part[:, None]) @ self.value)
            for part in torch.cat([ones, masks]).split(size)
        ]
        reference, changed = torch.cat(patches).split([1, len(masks)])
        return distances(changed, reference)

    def faded(self, masks: Tensor) -> Tensor:
        """(M, N_key) from 0 to 1 -> (M, P): the patch when what keys contribute is scaled."""
        return self._output(self.weights @ (masks[:, :, None] * self.value))

    def _output(self, rows: Tensor) -> Tensor:
        """(M, R, D), what the tested queries get -> (M, P), patches in the effects' unit."""
        variants = rows.transpose(1, 2).unflatten(2, self.attended.shape[1:])
        return self.scale * self.crop.run(variants.to(self.attended.dtype)).reshape(len(rows), -1)


def unit_of(tail: Tail) -> Unit:
    """In which unit the effects on a network's output are."""
    return "pixels" if tail.output.dim() == 3 else "logit"


def layer_effect(tail: Tail, region: Region | None) -> float:
    """How much the patch changes when the layer adds nothing anywhere."""
    crop = tail.crop(region)
    attended = cut(tail.attended, crop.source)
    patches = crop.run(torch.stack([attended, torch.zeros_like(attended)])).reshape(2, -1)
    return float(distances(*(SCALES[unit_of(tail)] * patches).split(1)))


def _effort(cost: float, keys: int) -> Effort:
    fitting = (effort for effort in EFFORTS if cost * effort.runs(keys) <= BUDGET)
    return next(fitting, EFFORTS[-1])


def distances(patches: Tensor, reference: Tensor) -> Tensor:
    """(M, P), (1, P) -> (M,): root mean squares; 0 where only rounding differs.

    The same patch in batches of other sizes is computed by other kernels; what these differ by
    would otherwise be an effect, on which a layer with gamma 0 had a ranking of keys.
    """
    distance = (patches - reference).square().mean(1).sqrt()
    rounding = ROUNDING * torch.finfo(reference.dtype).eps * reference.abs().max().clamp_min(1)
    return torch.where(distance > rounding, distance, 0)
