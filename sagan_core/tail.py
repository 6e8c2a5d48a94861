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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from .attention import Attend, attention_layers, edit_attention
from .receptive_field import Call, LocalRule, Ref, Region, cut, local_rule, union, whole

# A replay in other sizes takes other kernels, which round differently; a wrong one is far off.
TOLERANCE = 1e-4
# Numbers in all intermediate values of one batch of variants together: 128 MB.
MOST_NUMBERS = 1 << 25
MOST_VARIANTS = 64


class _Recorder(TorchDispatchMode):
    """Writes down every operation that depends on a source, set by `start`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.shapes: list[torch.Size] = []
        self._index: dict[int, int] = {}
        self._alive: list[Tensor] = []  # an id is a tensor's only while the tensor lives
        self._inside = False  # an attention layer that is written down as one call
        self.trouble = ""

    def start(self, source: Tensor) -> None:
        self._add(source)

    def index_of(self, tensor: Any) -> int | None:
        return self._index.get(id(tensor)) if isinstance(tensor, Tensor) else None

    def _add(self, tensor: Tensor) -> int:
        self._index[id(tensor)] = len(self.shapes)
        self._alive.append(tensor)
        self.shapes.append(tensor.shape)
        return len(self.shapes) - 1

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = op(*args, **kwargs)
        if not self._inside:
            outputs = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
            self._note(op, args, kwargs, outputs)
        return result

    def _note(
        self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Sequence[Tensor]
    ) -> None:
        """Write a call down if it depends on the source."""

        def noted(leaf: Any) -> Any:
            index = self.index_of(leaf)
            if index is not None:
                return Ref(index)
            return leaf.detach() if isinstance(leaf, Tensor) else leaf

        if all(self.index_of(leaf) is None for leaf in tree_flatten((args, kwargs))[0]):
            return
        functional = _functional(op)
        if functional is None:
            self.trouble = f"{op} writes into its argument"
            return
        noted_args, noted_kwargs = tree_map(noted, (args, kwargs))
        indices = tuple(self._add(output) if output.numel() else None for output in outputs)
        shapes = tuple(output.shape for output in outputs)
        self.calls.append(Call(functional, noted_args, noted_kwargs, indices, shapes))

    @contextmanager
    def attention_as_one(self, network: nn.Module, but: Attend) -> Iterator[None]:
        """Write the other attention layers' `Attend` down as one call each while the block runs.

        Only as one call does attention have a rule: each query needs itself and all keys.
        """

        def enter(*_: Any) -> None:
            self._inside = True

        def leave(attend: nn.Module, inputs: tuple[Tensor, ...], attended: Tensor) -> None:
            self._inside = False
            self._note(attend, inputs, {}, [attended])

        with ExitStack() as hooks:
            for layer in attention_layers(network).values():
                attend = layer.attend
                # An edit expects the rows of all queries, and a subclass may mix them.
                if attend is not but and type(attend) is Attend and not attend.edits:
                    hooks.callback(attend.register_forward_pre_hook(enter).remove)
                    hooks.callback(attend.register_forward_hook(leave).remove)
            yield


def _functional(op: Any) -> Any:
    """The same operation without writing into its argument, which variants may share, or None."""
    if isinstance(op, Attend) or not op._schema.is_mutable:
        return op
    packet = getattr(torch.ops.aten, op._schema.name.removeprefix("aten::").removesuffix("_"), None)
    overload = getattr(packet, op._overloadname, None)
    return None if overload is None or overload._schema.is_mutable else overload


@contextmanager
def _replaced(network: nn.Module, layer: str, attended: Tensor) -> Iterator[None]:
    """The layer's attention gives `attended`, whatever it looked at, while the block runs."""
    attend = attention_layers(network)[layer].attend
    handle = attend.register_forward_hook(lambda *_: attended)
    try:
        yield
    finally:
        handle.remove()


def record_tail(network: nn.Module, layer: str, *inputs: Tensor | None) -> Tail:
    """Run a network in eval mode on one image's inputs and write down what follows `layer`.

    Args:
        layer: module path of a `SelfAttention`.
        inputs: what the network takes, tensors with a batch of one: z and label, image and label.

    Raises KeyError for a layer that the network does not have, ValueError for a network in
    training mode, a batch that is not one or a layer that runs not exactly once, and what
    `edit_attention` raises for networks that cannot be hooked.
    """
    if network.training:
        raise ValueError("the network is in training mode; call its eval() first")
    for tensor in inputs:
        if tensor is not None and (tensor.dim() == 0 or len(tensor) != 1):
            raise ValueError(f"inputs hold one image's each; got shape {tuple(tensor.shape)}")
    weights: list[Tensor] = []
    passes: list[tuple[Tensor, Tensor]] = []
    recorder = _Recorder()

    def on_weights(given: Tensor) -> Tensor:
        weights.append(given[0].detach())
        return given

    def on_attend(_: nn.Module, given: tuple[Tensor, ...], attended: Tensor) -> Tensor:
        source = attended.detach().clone()
        passes.append((given[2][0].detach(), source))
        recorder.start(source)
        return source

    # The plain kernel: fused ones differ by device and cannot be run for many variants at once.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        edit_attention(network, layer, on_weights),
    ):
        attend = attention_layers(network)[layer].attend
        handle = attend.register_forward_hook(on_attend)
        try:
            with recorder.attention_as_one(network, but=attend), recorder:
                output = network(*inputs)
        finally:
            handle.remove()
    if len(passes) != 1:
        raise ValueError(f"{layer} ran {len(passes)} times in one forward pass; it must run once")
    (value, attended), end = passes[0], recorder.index_of(output)
    reason = recorder.trouble or ("" if end else "its output was made in a way that cannot be seen")
    tail = Tail(
        network,
        layer,
        inputs,
        weights[0],
        value,
        attended[0],
        output[0],
        reason,
        tuple(recorder.calls),
        tuple(recorder.shapes),
        end or 0,
    )
    return tail if reason else replace(tail, reason=_difference(tail))


def _difference(tail: Tail) -> str:
    """Why a recording is not the network: whether it gives the same with the layer and without."""
    variants = torch.stack([tail.attended, torch.zeros_like(tail.attended)])
    with torch.inference_mode(False), torch.no_grad():
        with _replaced(tail.network, tail.layer, variants[1:]):
            without = tail.network(*tail.inputs)
        try:
            replayed = tail.crop().run(variants)
        except RuntimeError as failure:
            first = (str(failure).splitlines() or [type(failure).__name__])[0]
            return f"its recording does not run for several images: {first}"
    expected = torch.stack([tail.output, without[0]])
    error = (replayed - expected).abs().max()
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
    inputs: tuple[Tensor | None, ...]
    weights: Tensor
    value: Tensor
    attended: Tensor
    output: Tensor
    reason: str
    _calls: tuple[Call, ...]
    _shapes: tuple[torch.Size, ...]
    _end: int

    @property
    def _size(self) -> int:
        """Numbers in all values of the recording."""
        return sum(math.prod(shape) for shape in self._shapes)

    @cached_property
    def _rules(self) -> dict[int, LocalRule | None]:
        rules = {}
        for number, call in enumerate(self._calls):
            rules[number] = local_rule(call, [self._shapes[ref.index] for ref in call.refs()])
        return rules

    def crop(self, region: Region | None = None) -> Crop:
        """What `region` of the output needs; None for all of it. Raises IndexError outside it."""
        if region is not None:
            _check_region(region, self.output)
        everything = whole(self.attended.shape)
        if self.reason:
            return Crop(everything, self._size, self._run_whole(region), True)
        end = self._shapes[self._end]
        needs: dict[int, Region | None] = {
            self._end: (region or whole(end)) if len(end) == 4 else None
        }
        steps: list[_Step] = []
        for number, call in reversed(list(enumerate(self._calls))):
            step = self._step(call, self._rules[number], needs)
            if step is not None:
                steps.append(step)
        source = needs.get(0) or everything
        steps.reverse()
        last = needs[self._end]

        def run(attended: Tensor) -> Tensor:
            values: dict[int, _Value] = {0: (attended.unsqueeze(0), source)}
            for step in steps:
                step.run(values)
            result, held = values[self._end]
            return (result if last is None else cut(result, last, held)).squeeze(0)

        size = sum(math.prod(step.size) for step in steps)
        return Crop(source, size, torch.vmap(run), False)

    def _step(
        self, call: Call, rule: LocalRule | None, needs: dict[int, Region | None]
    ) -> _Step | None:
        """One operation on what is needed of it; notes in `needs` what it needs in turn."""
        wanted = [index for index in call.outputs if index is not None and index in needs]
        if not wanted:
            return None
        region = needs[wanted[0]]
        # A rule computes the first output; the indices of a max-pool, say, need the whole.
        if rule is None or wanted != [call.outputs[0]] or region is None:
            rule, region = None, None
        for ref in call.refs():
            shape = self._shapes[ref.index]
            need = None
            if len(shape) == 4:
                need = (
                    whole(shape)
                    if rule is None or region is None
                    else rule.reads(ref, shape, region)
                )
                before = needs.get(ref.index)
                need = need if before is None else union(need, before)
            needs[ref.index] = need
        size = call.shapes[0] if region is None else _region_shape(call.shapes[0], region)
        return _Step(call, rule, region, size, self._shapes)

    def _run_whole(self, region: Region | None) -> Callable[[Tensor], Tensor]:
        """The whole network with the layer's result replaced, as often as there are variants."""

        def run(attended: Tensor) -> Tensor:
            inputs = [
                None if tensor is None else tensor.expand(len(attended), *tensor.shape[1:])
                for tensor in self.inputs
            ]
            with _replaced(self.network, self.layer, attended):
                output = self.network(*inputs)
            return output if region is None else cut(output, region)

        return run


_Value = tuple[Tensor, Region | None]


@dataclass(frozen=True, eq=False)
class _Step:
    """One operation as a crop runs it. `region` is None where it is computed whole."""

    call: Call
    rule: LocalRule | None
    region: Region | None
    size: Sequence[int]
    shapes: Sequence[torch.Size]

    def run(self, values: dict[int, _Value]) -> None:
        def piece(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            value, held = values[leaf.index]
            if held is None:
                return value
            shape = self.shapes[leaf.index]
            if self.rule is None or self.region is None:
                return cut(value, whole(shape), held)
            return cut(value, self.rule.reads(leaf, shape, self.region), held)

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
                shape = self.shapes[index]
                values[index] = result, whole(shape) if len(shape) == 4 else None


def _region_shape(shape: Sequence[int], region: Region) -> tuple[int, ...]:
    return (*shape[:-2], *(span[1] - span[0] for span in region))


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
        source: the cells of the layer that the region can see, (rows, columns).
        is_whole: the whole network runs for every variant.
    """

    source: Region
    _size: int
    _run: Callable[[Tensor], Tensor]
    is_whole: bool

    def run(self, attended: Tensor) -> Tensor:
        """(M, D, h, w), M variants of the layer's result on `source` -> (M, C, h', w') or (M,).

        Gradients flow through. Runs in batches of bounded memory.
        """
        size = max(1, min(MOST_VARIANTS, MOST_NUMBERS // max(1, self._size)))
        with sdpa_kernel(SDPBackend.MATH):
            return torch.cat([self._run(part) for part in attended.split(size)])
