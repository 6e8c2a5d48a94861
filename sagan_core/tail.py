"""What a network computes after one attention layer, on the part of the picture that is asked for.

`record_tail` runs a network once and writes down, below any module, the operations that depend on
what the layer looked at; `Tail.crop` says which of them, and which part of each, a region of the
output needs; `Crop.run` computes that region for many variants of the layer's result at once. The
crop is exact: it gives the numbers of the whole network up to rounding, at the border too. No
model needs code of its own for it. Operations that mix all positions, another attention layer
for instance, are computed whole, with all that they read.

A network whose recording does not give its own output again (one that draws random numbers, say)
is run whole for every variant instead; `Tail.reason` then says why.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .attention import Attend, hookable_layer
from .field import attention_weights, rows_of
from .receptive_field import (
    Call,
    LocalRule,
    Ref,
    Region,
    cut,
    local_rule,
    overlap,
    paste,
    union,
    whole,
)
from .replay import Step, Value, fetch
from .tape import Recorder

# A replay in other sizes takes other kernels, which round differently; a wrong one is far off.
TOLERANCE = 1e-4
# Numbers in all intermediate values of one batch of variants together: 128 MB.
MOST_NUMBERS = 1 << 25
MOST_VARIANTS = 64

# What a network is given: tensors, and for some families a number, the truncation.
Input = Tensor | float | None

_one_at_a_time = threading.RLock()


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Kernels that give a variant the same numbers whatever it is computed with.

    Fused attention differs by device and cannot be run for many variants at once; the ten bits of
    TF32, which convolutions on a GPU may use, would drown the effect of a single key. Both are
    settings of the whole process, so one thread at a time sets them and puts them back.
    """
    cudnn = torch.backends.cudnn
    with (
        _one_at_a_time,
        sdpa_kernel(SDPBackend.MATH),
        cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False),
    ):
        yield


@contextmanager
def _replaced(network: nn.Module, layer: str, attended: Tensor) -> Iterator[None]:
    """The layer's attention gives `attended`, whatever it looked at, while the block runs."""
    thread = threading.get_ident()

    def replace_it(*_: object) -> Tensor | None:
        return attended if threading.get_ident() == thread else None

    handle = hookable_layer(network, layer).attend.register_forward_hook(replace_it)
    try:
        yield
    finally:
        handle.remove()


def record_tail(network: nn.Module, layer: str, *inputs: Input) -> Tail:
    """Run a network in eval mode on one image's inputs and write down what follows `layer`.

    Args:
        layer: module path of a `SelfAttention`.
        inputs: what the network takes, tensors with a batch of one: z and label, image and label;
            and numbers.

    Raises KeyError for a layer that the network does not have, ValueError for a network in
    training mode, a batch that is not one or a layer that runs not exactly once, and what
    `record_attention` raises for networks that cannot be hooked.
    """
    if network.training:
        raise ValueError("the network is in training mode; call its eval() first")
    for tensor in inputs:
        if isinstance(tensor, Tensor) and (tensor.dim() == 0 or len(tensor) != 1):
            raise ValueError(f"inputs hold one image's each; got shape {tuple(tensor.shape)}")
    recorder, attend = Recorder(), hookable_layer(network, layer).attend
    passes: list[tuple[Tensor, Tensor, Tensor]] = []
    thread = threading.get_ident()

    def on_attend(_: nn.Module, given: tuple[Tensor, ...], attended: Tensor) -> Tensor | None:
        if threading.get_ident() != thread:  # somebody else's forward pass of this network
            return None
        with recorder.paused():
            weights = _rows_of(attend, *given[:2])
            source = attended.detach().clone()
            passes.append((weights[0], given[2][0].detach(), source))
            recorder.start(source)
        return source

    with torch.inference_mode(False), torch.no_grad(), _plain_kernels():
        handle = attend.register_forward_hook(on_attend)
        try:
            with recorder.attention_as_one(network, but=attend), recorder:
                output = network(*inputs)
        finally:
            handle.remove()
    if len(passes) != 1:
        raise ValueError(f"{layer} ran {len(passes)} times in one forward pass; it must run once")
    (weights, value, attended), end = passes[0], recorder.index_of(output)
    _check_rows(layer, weights, value, attended[0])
    reason = recorder.trouble or ("" if end else "its output was made in a way that cannot be seen")
    tail = Tail(
        network,
        layer,
        inputs,
        weights,
        value,
        attended[0],
        output[0],
        reason,
        tuple(recorder.calls),
        tuple(recorder.values),
        end or 0,
    )
    return tail if reason else replace(tail, reason=_difference(tail))


def _rows_of(attend: Attend, query: Tensor, key: Tensor) -> Tensor:
    """(1, N_query, N_key) as `attend` uses them, with its edits."""
    weights = attention_weights(rows_of(query), rows_of(key))
    for edit in attend.edits:
        weights = edit(weights)
    return weights.detach()


def _check_rows(layer: str, weights: Tensor, value: Tensor, attended: Tensor) -> None:
    """Raises ValueError for an `Attend` that computes something else."""
    again = (weights.to(value.dtype) @ value.flatten(1).T).T.view_as(attended)
    if (again - attended).abs().max() > TOLERANCE * attended.abs().max().clamp_min(1):
        raise ValueError(
            f"{layer} does not give softmax(query^T key) value, so its keys cannot be taken away"
        )


def _difference(tail: Tail) -> str:
    """Why a recording is not the network: it is tried without the layer and without one cell."""
    height, width = tail.attended.shape[1:]
    cell = ((height // 2, height // 2 + 1), (width // 2, width // 2 + 1))
    nothing = torch.zeros_like(tail.attended)
    holed = paste(tail.attended, whole(nothing.shape), cut(nothing, cell), cell)
    with torch.inference_mode(False), torch.no_grad(), _plain_kernels():
        expected = tail._run_whole(None)(torch.stack([nothing, holed]))
        try:
            replayed = [
                tail.crop().run(nothing[None]),
                tail.crop(changed=cell).run(cut(nothing, cell)[None]),
            ]
        except RuntimeError as failure:
            first = (str(failure).splitlines() or [type(failure).__name__])[0]
            return f"its recording does not run for several images: {first}"
    error = (torch.cat(replayed) - expected).abs().max()
    if error <= TOLERANCE * expected.abs().max().clamp_min(1):
        return ""
    return f"its recording differs from it by {error:.1e}"


@dataclass(frozen=True, eq=False)
class Tail:
    """One forward pass up to an attention layer, and all that comes after it.

    Attributes:
        network, layer, inputs: what was run; the batch is one.
        weights: (N_query, N_key) as the layer used them.
        value: (D, H', W').
        attended: (D, H, W): weights applied to values, which is what the tail starts from.
        output: (C, H, W) image or () logit.
        reason: why the whole network has to be run for each variant; empty where it need not.
    """

    network: nn.Module
    layer: str
    inputs: tuple[Input, ...]
    weights: Tensor
    value: Tensor
    attended: Tensor
    output: Tensor
    reason: str
    _calls: tuple[Call, ...]
    _values: tuple[Tensor, ...]
    _end: int

    def size(self) -> int:
        """Bytes of everything recorded; the network is not part of it."""
        tensors = (self.weights, self.value, self.attended, *self._values)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @cached_property
    def _rules(self) -> tuple[LocalRule | None, ...]:
        return tuple(
            local_rule(call, [self._values[ref.index].shape for ref in call.refs()])
            for call in self._calls
        )

    def crop(self, region: Region | None = None, changed: Region | None = None) -> Crop:
        """What a region of the output needs.

        Args:
            region: of the image; None for all of it, or for a logit.
            changed: the cells of the layer in which variants differ from the recording; None
                where they may differ anywhere. What they cannot reach is taken as recorded.

        Raises IndexError for a region outside the image.
        """
        if region is not None:
            _check_region(region, self.output)
        source = changed or whole(self.attended.shape)
        if self.reason:
            size = sum(value.numel() for value in self._values)
            return Crop(source, size, math.inf, self._run_whole(region, source))
        reached = self._reached_from(source)
        end = self._values[self._end]
        last = (region or whole(end.shape)) if end.dim() == 4 else None
        needs: dict[int, Region | None] = {self._end: last}
        steps: list[Step] = []
        for call, rule in reversed(list(zip(self._calls, self._rules, strict=True))):
            step = self._step(call, rule, needs, reached)
            if step is not None:
                steps.append(step)
        needed = needs.get(0)
        # What lies outside the region's sight needs not be given.
        source = source if needed is None else overlap(source, needed) or source
        steps.reverse()

        def run(attended: Tensor) -> Tensor:
            values: dict[int, Value] = {0: (attended.unsqueeze(0), source)}
            for step in steps:
                step.run(values)
            return fetch(self._values, values, self._end, last).squeeze(0)

        size, cost = sum(step.size for step in steps), sum(step.cost for step in steps)
        return Crop(source, size, cost, torch.vmap(run))

    def _reached_from(self, source: Region) -> dict[int, Region | None]:
        """Which region of every value may change with `source`; None for all of another shape."""
        reached: dict[int, Region | None] = {0: source}
        for call, rule in zip(self._calls, self._rules, strict=True):
            refs = [ref for ref in call.refs() if ref.index in reached]
            if not refs:
                continue
            for index, shape in zip(call.outputs, call.shapes, strict=True):
                if index is None:
                    continue
                reached[index] = whole(shape) if len(shape) == 4 else None
                if rule is not None and index == call.outputs[0]:
                    self._spread(rule, refs, index, reached)
        return reached

    def _spread(
        self,
        rule: LocalRule,
        refs: Sequence[Ref],
        index: int,
        reached: dict[int, Region | None],
    ) -> None:
        spread: Region | None = None
        everything = whole(self._values[index].shape)
        for ref in refs:
            value, part = self._values[ref.index], reached[ref.index]
            part = rule.spreads(ref, value.shape, part or ((0, 1), (0, 1)))
            part = overlap(part, everything)
            if part is not None:
                spread = part if spread is None else union(spread, part)
        if spread is None:
            del reached[index]
        else:
            reached[index] = spread

    def _step(
        self,
        call: Call,
        rule: LocalRule | None,
        needs: dict[int, Region | None],
        reached: dict[int, Region | None],
    ) -> Step | None:
        """One operation on what is needed of it; notes in `needs` what it needs in turn."""
        wanted = [index for index in call.outputs if index in needs and index in reached]
        if not wanted:
            return None
        first = wanted[0]
        assert first is not None
        region, change = needs[first], reached[first]
        # A rule computes the first output; the indices of a max-pool, say, need the whole.
        if rule is None or wanted != [call.outputs[0]] or region is None or change is None:
            rule, region = None, None
        else:
            region = overlap(region, change)
            if region is None:
                return None
        size = sum(math.prod(shape) for shape in call.shapes)
        if region is not None:
            size = math.prod((*call.shapes[0][:2], *(stop - start for start, stop in region)))
        for ref in call.refs():
            shape = self._values[ref.index].shape
            if len(shape) != 4:
                needs[ref.index] = None
                continue
            need = rule.reads(ref, shape, region) if rule and region else whole(shape)
            size += math.prod((*shape[:2], *(stop - start for start, stop in need)))
            before = needs.get(ref.index)
            needs[ref.index] = need if before is None else union(need, before)
        return Step(call, rule, region, size, self._values)

    def _run_whole(
        self, region: Region | None, source: Region | None = None
    ) -> Callable[[Tensor], Tensor]:
        """The whole network with the layer's result replaced, as often as there are variants."""

        def run(attended: Tensor) -> Tensor:
            count = len(attended)
            if source is not None:
                base = self.attended.expand(count, -1, -1, -1)
                attended = paste(base, whole(base.shape), attended, source)
            inputs = [
                one.expand(count, *one.shape[1:]) if isinstance(one, Tensor) else one
                for one in self.inputs
            ]
            with _replaced(self.network, self.layer, attended):
                output = self.network(*inputs)
            return output if region is None else cut(output, region)

        return run


def _check_region(region: Region, output: Tensor) -> None:
    if output.dim() != 3:
        raise IndexError("this network's output is a logit, which has no regions: pass None")
    for (start, stop), size in zip(region, output.shape[1:], strict=True):
        if not 0 <= start < stop <= size:
            height, width = output.shape[1:]
            raise IndexError(f"region {region} is outside the image of {height}x{width} pixels")


@dataclass(frozen=True, eq=False)
class Crop:
    """A region of a network's output as a function of what the attention layer gave.

    Attributes:
        source: the cells of the layer that `run` is given: those that the region can see, as far
            as they may have changed.
        size: numbers in the intermediate values of one variant.
        cost: multiplications per variant; infinite where the whole network runs.
    """

    source: Region
    size: int
    cost: float
    _run: Callable[[Tensor], Tensor]

    def run(self, attended: Tensor) -> Tensor:
        """(M, D, h, w), M variants of the layer's result on `source` -> (M, C, h', w') or (M,).

        Gradients flow through. Runs in batches of bounded memory.
        """
        size = max(1, min(MOST_VARIANTS, MOST_NUMBERS // max(1, self.size)))
        with _plain_kernels():
            return torch.cat([self._run(part) for part in attended.split(size)])
