"""Is an attention map true? Four maps of one point, and what happens when keys are taken away.

    probe = probe_sample(generator, sample, "blocks.2.attention")  # one image and layer, once
    evidence = probe.examine((row, col))                           # one pin
    evidence.maps, evidence.correlations, evidence.curve, evidence.verdict

What a point's map claims is that the layer, at this point, drew on these keys. So by default keys
are taken away from the pin's own query alone and everything else stays: whatever changes in the
pin's patch then went through the row that the map shows. `queries="all"` takes them away from
every query, which asks what the layer may not look at at all; neighbours of the pin, whose
results reach the patch through the convolutions after the layer, then answer as well.

Taking a key away is `attention.mask_keys` everywhere: its weight becomes 0 and the row sums to 1
again; a row without keys is 0, and the layer returns its input there.

This is the only module that imports captum, and it does so late.

Sources: Jain and Wallace 2019, *Attention is not explanation*; Kobayashi et al. 2020, *Attention
is not only a weight*; Sundararajan et al. 2017 (integrated gradients); Adebayo et al. 2018,
*Sanity checks for saliency maps* (the controls).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .attention import Grid, SelfAttention, attention_layers, mapped_out
from .controls import randomised
from .deletion import (
    DeletionCurve,
    Unit,
    Verdict,
    deletion_sizes,
    judge,
    masks_without,
    nearest_order,
    order_by,
    random_orders,
    rank_correlation,
)
from .engine import AnyDiscriminator, AnyGenerator, DescribedGenerator
from .field import value_weighted
from .patch import Patch, distances, layer_effect, unit_of
from .receptive_field import Region
from .sample import Sample, latents
from .tail import Input, Tail, record_tail

MAPS = ("attention", "value-weighted", "gradient", "knock-out")
PAIRS = tuple(combinations(MAPS, 2))


Pin = tuple[int, int]
Queries = Literal["pin", "all"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the tests say about the map of one pin. Immutable.

    Attributes:
        layer, pin: whose map; pin is None for the average point.
        queries: "pin" or "all", whose keys were taken away.
        maps: by the names of `MAPS`, (H', W') float32 on the key grid, not negative, summing to 1
            as attention does; all 0 where nothing had any effect.
        correlations: Spearman's for each pair of maps; NaN where a map is constant.
        curve: what deletion changes; `curve.top` has one curve per map.
        verdict: on the attention map.
        unit: of the effects: "pixels" is the root mean square over the patch's pixels and
            channels on a scale from 0 (black) to 1 (white), "logit" the absolute difference.
        layer_effect: the change of the patch without the layer.
        queries_effect: the change when the tested queries lose all their keys.
        block: side of the blocks of keys that were knocked out at first; 1 for single keys.
        shuffled_from: the query cell whose map was tested in place of the pin's; None otherwise.
        region: the patch in pixels, ((top, bottom), (left, right)); None for a logit.
        whole_network: why the network ran whole, and slowly, for every test; empty otherwise.
        seconds: what the examination took.
    """

    layer: str
    pin: Pin | None
    queries: Queries
    maps: Mapping[str, np.ndarray]
    correlations: Mapping[tuple[str, str], float]
    curve: DeletionCurve
    verdict: Verdict
    unit: Unit
    layer_effect: float
    queries_effect: float
    block: int
    shuffled_from: Pin | None
    region: Region | None
    whole_network: str
    seconds: float


def probe_sample(
    generator: AnyGenerator, sample: Sample, layer: str, z: Tensor | None = None
) -> Probe:
    """A generated image and one of the generator's attention layers, ready to be examined.

    Args:
        z: (1, latent_size), where the sample was made from it in place of its seed's.

    Raises what `record_tail` raises.
    """
    device = next(generator.parameters()).device
    z = (latents(generator, sample.seed, 1, sample.truncation) if z is None else z).to(device)
    label = None if sample.label is None else torch.tensor([sample.label], device=device)
    # Some of these keep statistics by truncation, as `images_from` knows.
    more = (sample.truncation,) if isinstance(generator, DescribedGenerator) else ()
    return probe_layer(generator, layer, z, label, *more)


def probe_image(
    discriminator: AnyDiscriminator, image: np.ndarray, label: int | None, layer: str
) -> Probe:
    """An image, real or generated, and one of the discriminator's attention layers.

    Args:
        image: (H, W, C) uint8, as `Sample.image`.
        label: class index; None for an unconditional model.

    Raises what `record_tail` raises.
    """
    device = next(discriminator.parameters()).device
    pixels = torch.tensor(image, device=device).permute(2, 0, 1)[None]
    labels = None if label is None else torch.tensor([label], device=device)
    return probe_layer(discriminator, layer, pixels.float() / 127.5 - 1, labels)


def probe_layer(network: nn.Module, layer: str, *inputs: Input) -> Probe:
    """Any network that gives an image in [-1, 1] or a logit, at one of its attention layers."""
    tail = record_tail(network, layer, *inputs)
    return Probe(tail, _lengths(network, tail))


def prepare() -> None:
    """Examine something tiny: a process's first examination imports for seconds, captum not least.

    A page can have this behind it before somebody asks.
    """
    # Without a draw from the random state, which others may be using at the same time.
    with torch.device("meta"):
        tiny = nn.Sequential(SelfAttention(8, 1, 4), nn.Conv2d(8, 1, 3, padding=1)).eval()
    tiny.to_empty(device="cpu")
    for parameter in tiny.parameters():
        nn.init.ones_(parameter)
    probe_layer(tiny, "0", torch.ones(1, 8, 4, 4)).examine((0, 0))


def _lengths(network: nn.Module, tail: Tail) -> Tensor:
    """(N_key,): ||out(v_k)||, the length of what each key's value adds after the output conv."""
    out = attention_layers(network)[tail.layer].out
    return mapped_out(out, tail.value[None].float())[0].norm(dim=0).flatten()


@dataclass(frozen=True, eq=False)
class Probe:
    """One image and one attention layer: made once, asked for every pin.

    Attributes:
        tail: the forward pass, and what comes after the layer.
        lengths: (N_key,) of what each key's value adds, after the output convolution.
    """

    tail: Tail
    lengths: Tensor

    @property
    def query_grid(self) -> Grid:
        return Grid(*self.tail.attended.shape[1:])

    @property
    def key_grid(self) -> Grid:
        return Grid(*self.tail.value.shape[1:])

    @property
    def unit(self) -> Unit:
        return unit_of(self.tail)

    def attention(self, pin: Pin | None) -> Tensor:
        """(N_key,): the pin's row, or that of the average point. Raises IndexError."""
        if pin is None:
            return self.tail.weights.mean(0)
        return self.tail.weights[self.query_grid.cell_index(*pin, "query cell")]

    def patch_region(self, pin: Pin | None) -> Region | None:
        """The pixels of a query cell; the whole image without a pin; None for a logit."""
        if self.unit == "logit":
            return None
        sizes = self.tail.output.shape[1:]
        cells = pin or (0, 0)
        grid = (1, 1) if pin is None else self.query_grid
        top, left = (
            (cell * size // count, -(-(cell + 1) * size // count))
            for cell, size, count in zip(cells, sizes, grid, strict=True)
        )
        return top, left

    def examine(
        self,
        pin: Pin | None,
        queries: Queries = "pin",
        shuffled: bool = False,
        seed: int = 0,
    ) -> Evidence:
        """Test the map of one pin, or without a pin that of the average point.

        Args:
            pin: (row, col) on the query grid. Without it keys are taken from all queries and
                the patch is the whole image.
            queries: whose keys are taken away: the pin's own, or those of all queries.
            shuffled: a control: test the map of another position, drawn by `seed`, as if it were
                the pin's. It should do worse where maps depend on the point.
            seed: of the random deletions and of that position.

        Raises IndexError for a pin outside the grid, ValueError for queries or a control that
        make no sense.
        """
        began = time.monotonic()
        if queries not in ("pin", "all"):
            raise ValueError(f"queries is {queries!r}; it must be 'pin' or 'all'")
        if pin is None:
            queries = "all"
        else:
            self.query_grid.cell_index(*pin, "query cell")
        shown = self._other_position(pin, seed) if shuffled else pin
        with torch.inference_mode(False), torch.no_grad():
            region = self.patch_region(pin)
            patch = Patch.of(self.tail, region, _cell(pin) if queries == "pin" else None)
            maps, block = self._maps(patch, shown)
            curve = _deletion_curve(patch, self, pin, maps, seed)
            effect = layer_effect(self.tail, region)
        return Evidence(
            layer=self.tail.layer,
            pin=pin,
            queries=queries,
            maps=MappingProxyType(maps),
            correlations=MappingProxyType(
                {pair: rank_correlation(*(maps[name] for name in pair)) for pair in PAIRS}
            ),
            curve=curve,
            verdict=judge(curve, "attention", effect, self.unit),
            unit=self.unit,
            layer_effect=effect,
            queries_effect=float(curve.random[0, -1]),
            block=block,
            shuffled_from=shown if shuffled else None,
            region=region,
            whole_network=self.tail.reason,
            seconds=time.monotonic() - began,
        )

    def with_random_weights(self, seed: int = 0) -> Probe:
        """A control: the same inputs and layer in `randomised(network)`."""
        tail = self.tail
        twin = randomised(tail.network, *tail.inputs, seed=seed)
        return probe_layer(twin, tail.layer, *tail.inputs)

    def _maps(self, patch: Patch, shown: Pin | None) -> tuple[dict[str, np.ndarray], int]:
        """The four maps, those of attention of the point `shown`, and the side of the blocks."""
        knocked_out, block = knock_out(patch, self.key_grid)
        raw = {
            "attention": self.attention(shown),
            "value-weighted": value_weighted(self.attention(shown), self.lengths),
            "gradient": gradient_shares(patch).abs(),
            "knock-out": knocked_out,
        }
        return {name: _as_map(raw[name], self.key_grid) for name in MAPS}, block

    def _other_position(self, pin: Pin | None, seed: int) -> Pin:
        height, width = self.query_grid
        if pin is None or height * width < 2:
            raise ValueError("shuffled queries need a pin and another position")
        index = self.query_grid.cell_index(*pin, "query cell")
        drawn = int(np.random.default_rng(seed).integers(height * width - 1))
        other = drawn + (drawn >= index)
        return other // width, other % width


def _cell(pin: Pin | None) -> Region | None:
    return None if pin is None else ((pin[0], pin[0] + 1), (pin[1], pin[1] + 1))


def _as_map(values: Tensor, grid: Grid) -> np.ndarray:
    """(N_key,) not negative -> (H', W') summing to 1, read-only; zeros stay zeros."""
    array = values.double().cpu().numpy().reshape(grid)
    total = array.sum()
    scaled = (array / total if total > 0 else array).astype(np.float32)
    scaled.flags.writeable = False
    return scaled


# ---- captum


def gradient_shares(patch: Patch) -> Tensor:
    """(N_key,): each key's share in what the tested queries do to the patch, by captum.

    Integrated gradients from the queries getting nothing to what they got, over a mask that
    scales what each key contributes, of the patch along the direction in which all of it
    together changes it. They may be negative, and sum to that change. The rows are not scaled to
    sum to 1 on this path: along it a row that is stays the same, and the path would be empty.
    """
    from captum.attr import IntegratedGradients

    ones = patch.weights.new_ones(1, patch.keys)
    full, nothing = patch.faded(ones), patch.faded(torch.zeros_like(ones))
    change, size = full - nothing, distances(full, nothing)
    if size == 0:
        return torch.zeros_like(ones[0])
    direction = change / (size * change.numel())

    def along(masks: Tensor) -> Tensor:
        return (patch.faded(masks) * direction).sum(1)

    with torch.enable_grad():
        shares = IntegratedGradients(along).attribute(
            ones, torch.zeros_like(ones), n_steps=patch.effort.steps
        )
    return shares[0].detach()


def knock_out(patch: Patch, grid: Grid) -> tuple[Tensor, int]:
    """(N_key,): how much the patch changes without each key, by captum, and the side of blocks.

    A block's effect is shared evenly among its keys, until the keys of the blocks that matter
    most are knocked out one by one.
    """
    block = 1
    while math.prod(-(-size // block) for size in grid) > patch.effort.knockouts:
        block += 1
    rows, cols = (torch.arange(size) // block for size in grid)
    blocks = (rows[:, None] * (int(cols[-1]) + 1) + cols).flatten().to(patch.value.device)
    effects = _ablate(patch, blocks)
    if block > 1:
        effects = effects / blocks.bincount()[blocks]
        first = effects.argsort(descending=True, stable=True)
        chosen = first[: patch.effort.refined]
        rest = torch.full_like(blocks, len(chosen))
        rest[chosen] = torch.arange(len(chosen), device=rest.device)
        effects[chosen] = _ablate(patch, rest)[chosen]
    return effects, block


def _ablate(patch: Patch, features: Tensor) -> Tensor:
    """(N_key,): the change without the feature, one of 0, 1, ..., that each key belongs to."""
    from captum.attr import FeatureAblation

    ones = patch.weights.new_ones(1, patch.keys)
    loss: Tensor = FeatureAblation(patch.effect).attribute(
        ones,
        baselines=0,
        feature_mask=features[None],
        perturbations_per_eval=int(features.max()) + 1,
    )
    return loss[0].abs()


# ---- deletion


def _deletion_curve(
    patch: Patch, probe: Probe, pin: Pin | None, maps: Mapping[str, np.ndarray], seed: int
) -> DeletionCurve:
    """Every order's curve, in one go."""
    sizes = deletion_sizes(patch.keys, patch.effort.factor)
    orders = {name: order_by(values, seed) for name, values in maps.items() if np.ptp(values) > 0}
    if pin is not None:
        orders["nearest"] = nearest_order(pin, probe.query_grid, probe.key_grid)
    stacked = [*orders.values(), *random_orders(patch.keys, seed)]
    masks = np.concatenate([masks_without(order, sizes) for order in stacked])
    effects = patch.effect(torch.from_numpy(masks).to(patch.weights))
    curves = effects.double().cpu().numpy().reshape(len(stacked), len(sizes))
    curves.flags.writeable = False
    named = dict(zip(orders, curves, strict=False))
    nearest = named.pop("nearest", None)
    return DeletionCurve(sizes, MappingProxyType(named), curves[len(orders) :], nearest)
