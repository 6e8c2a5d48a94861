"""Which part of its input an operation reads for a part of its output, and how to compute that.

`local_rule` answers for attention and for what convolutional networks are made of: pointwise
operations, convolutions and transposed convolutions with any padding and stride, nearest
upsampling, pooling, batch norm in eval mode, and joining or cutting channels. It returns None for
all others, and for settings it does not know; those have to be computed whole.

A part is a `Region`, (rows, columns) as half-open spans of the last two of four dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from .attention import Attend

Span: TypeAlias = tuple[int, int]
Region: TypeAlias = tuple[Span, Span]


@dataclass(frozen=True)
class Ref:
    """Stands in a recorded call for a value that an earlier call made."""

    index: int


@dataclass(frozen=True, eq=False)
class Call:
    """One recorded operation.

    Attributes:
        op: functional: an overload of `torch.ops.aten`, or an `Attend`.
        args, kwargs: as recorded, with a `Ref` for each value that depends on the source.
        outputs: index of each tensor it returns; None for those that are empty.
        shapes: of its outputs.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int | None, ...]
    shapes: tuple[torch.Size, ...]

    def refs(self) -> list[Ref]:
        """Every `Ref` among its arguments."""
        found: list[Ref] = []
        tree_map(
            lambda leaf: found.append(leaf) if isinstance(leaf, Ref) else None,
            (self.args, self.kwargs),
        )
        return found


@dataclass(frozen=True)
class LocalRule:
    """How one call works on a part.

    Attributes:
        reads: (an input, its shape, region of the output) -> the region of the input it needs.
        spreads: (an input, its shape, region of it that changed) -> the region of the output that
            may have changed.
        compute: (arguments with those regions in place of refs, their keywords, region of the
            output) -> exactly that region of the output.
    """

    reads: Callable[[Ref, Sequence[int], Region], Region]
    spreads: Callable[[Ref, Sequence[int], Region], Region]
    compute: Callable[[tuple[Any, ...], dict[str, Any], Region], Tensor]


def whole(shape: Sequence[int]) -> Region:
    """The region that is all of a (B, C, H, W) tensor."""
    return (0, shape[-2]), (0, shape[-1])


def union(first: Region, second: Region) -> Region:
    """The smallest region that holds both."""
    (a, b), (c, d) = (
        (min(one[0], two[0]), max(one[1], two[1])) for one, two in zip(first, second, strict=True)
    )
    return (a, b), (c, d)


def overlap(first: Region, second: Region) -> Region | None:
    """The region that both share, or None."""
    rows, cols = (
        (max(one[0], two[0]), min(one[1], two[1])) for one, two in zip(first, second, strict=True)
    )
    return (rows, cols) if rows[0] < rows[1] and cols[0] < cols[1] else None


def paste(base: Tensor, region: Region, part: Tensor, place: Region) -> Tensor:
    """`base`, which holds `region`, with `part` at `place` inside it."""
    rows, cols = (
        (inner[0] - outer[0], inner[1] - outer[0])
        for inner, outer in zip(place, region, strict=True)
    )
    middle = base[..., rows[0] : rows[1], :]
    middle = torch.cat([middle[..., : cols[0]], part, middle[..., cols[1] :]], -1)
    return torch.cat([base[..., : rows[0], :], middle, base[..., rows[1] :, :]], -2)


def cut(tensor: Tensor, region: Region, origin: Region | None = None) -> Tensor:
    """`region` of a (B, C, H, W) value of which `tensor` holds the part `origin` (all of it)."""
    (top, bottom), (left, right) = region
    up, start = (origin[0][0], origin[1][0]) if origin else (0, 0)
    return tensor[..., top - up : bottom - up, left - start : right - start]


def local_rule(call: Call, input_shapes: Sequence[torch.Size]) -> LocalRule | None:
    """The rule of a call, or None where it has to be computed whole.

    Args:
        input_shapes: shape of every ref of `call.refs()`.
    """
    if len(call.shapes[0]) != 4:
        return None
    if isinstance(call.op, Attend):
        return _attention(call)
    if torch.Tag.pointwise in call.op.tags or _name(call) in _UNCHANGED:
        return _pointwise(call)
    make = _RULES.get(_name(call))
    # All rules below have one dependent input, the first argument (for cat: a list of them).
    if make is None or any(len(shape) != 4 for shape in input_shapes):
        return None
    if _name(call) != "aten::cat" and (len(input_shapes) != 1 or not isinstance(call.args[0], Ref)):
        return None
    return make(call, input_shapes[0])


def _name(call: Call) -> str:
    return call.op._schema.name


# ---- a cell reads the same cell

_UNCHANGED = {"aten::alias", "aten::detach", "aten::_to_copy", "aten::_prelu_kernel"}


def _pointwise(call: Call) -> LocalRule:
    full = call.shapes[0]

    def reads(_: Ref, shape: Sequence[int], region: Region) -> Region:
        rows, cols = (
            span if size > 1 else (0, 1) for size, span in zip(shape[-2:], region, strict=True)
        )
        return rows, cols

    def spreads(_: Ref, shape: Sequence[int], region: Region) -> Region:
        if len(shape) != 4:
            return whole(full)
        rows, cols = (
            span if size == total else (0, total)
            for size, total, span in zip(shape[-2:], full[-2:], region, strict=True)
        )
        return rows, cols

    def at(tensor: Any, region: Region) -> Any:
        """The part of an argument, which may be broadcast, or be cut already."""
        if not isinstance(tensor, Tensor) or tensor.dim() == 0:
            return tensor
        for dimension, span in zip((-1, -2), reversed(region), strict=True):
            if -dimension <= tensor.dim() and tensor.shape[dimension] == full[dimension] > 1:
                tensor = tensor.narrow(dimension, span[0], span[1] - span[0])
        return tensor

    def compute(args: tuple[Any, ...], kwargs: dict[str, Any], region: Region) -> Tensor:
        wanted = tuple(span[1] - span[0] for span in region)

        def part(recorded: Any, given: Any) -> Any:
            done = isinstance(recorded, Ref) and given.dim() == 4
            return given if done else at(given, region)

        given = [
            part(recorded, value) if not isinstance(recorded, (list, tuple)) else value
            for recorded, value in zip(call.args, args, strict=True)
        ]
        result: Tensor = call.op(*given, **kwargs)
        assert result.shape[-2:] == wanted, (call.op, result.shape, region)
        return result

    return LocalRule(reads, spreads, compute)


def _same(_: Ref, __: Sequence[int], region: Region) -> Region:
    return region


def _batch_norm(call: Call, _: torch.Size) -> LocalRule | None:
    weight, bias, mean, var, training = call.args[1:6]
    if training or mean is None:
        return None
    eps = call.args[7]

    def compute(args: tuple[Any, ...], _: dict[str, Any], __: Region) -> Tensor:
        return F.batch_norm(args[0], mean, var, weight, bias, False, 0.0, eps)

    return LocalRule(_same, _same, compute)


def _channels(call: Call, _: torch.Size) -> LocalRule | None:
    """Joining or cutting along the channels, which are dimension 1."""
    if (call.args[1] if len(call.args) > 1 else 0) not in (1, -3):
        return None

    def compute(args: tuple[Any, ...], kwargs: dict[str, Any], region: Region) -> Tensor:
        first = args[0]
        if isinstance(first, (list, tuple)):
            recorded = call.args[0]
            first = [
                value if isinstance(leaf, Ref) else cut(value, region)
                for leaf, value in zip(recorded, first, strict=True)
            ]
        result: Tensor = call.op(first, *args[1:], **kwargs)
        return result

    return LocalRule(_same, _same, compute)


# ---- a cell reads its query and all keys


def _attention(call: Call) -> LocalRule | None:
    query, *rest = call.args
    if query in [leaf for leaf in rest if isinstance(leaf, Ref)]:
        return None

    def reads(ref: Ref, shape: Sequence[int], region: Region) -> Region:
        return region if ref == query else whole(shape)

    def spreads(ref: Ref, _: Sequence[int], region: Region) -> Region:
        return region if ref == query else whole(call.shapes[0])

    def compute(args: tuple[Any, ...], _: dict[str, Any], region: Region) -> Tensor:
        queries = args[0] if isinstance(query, Ref) else cut(args[0], region)
        result: Tensor = call.op(queries, *args[1:])
        return result

    return LocalRule(reads, spreads, compute)


# ---- a cell reads a window


@dataclass(frozen=True)
class _Window:
    """One dimension of a convolution or pooling."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int = 1

    @property
    def reach(self) -> int:
        return self.dilation * (self.kernel - 1)

    def sees(self, span: Span, total: int) -> Span:
        """The cells, of `total`, that the windows of a span see."""
        start, stop = self._unclipped(span)
        return max(0, start), min(total, stop)

    def seen_by(self, span: Span, total: int) -> Span:
        """The windows, of `total`, that see a span of cells."""
        start = math.ceil((span[0] + self.padding - self.reach) / self.stride)
        return max(0, start), min(total, (span[1] - 1 + self.padding) // self.stride + 1)

    def padding_of(self, span: Span) -> Span:
        """How many zeros of the padding a span's windows see before and after the input."""
        start, stop = self._unclipped(span)
        return max(0, -start), max(0, stop - self.size)

    def _unclipped(self, span: Span) -> Span:
        first = span[0] * self.stride - self.padding
        return first, (span[1] - 1) * self.stride - self.padding + self.reach + 1

    def transposed_offset(self, span: Span) -> int:
        """Where the span begins in the transposed convolution, unpadded, of what it reads."""
        return span[0] + self.padding - self.stride * self.seen_by(span, self.size)[0]


def _pair(value: Any) -> tuple[int, int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return (numbers[0], numbers[-1])


def _windows(shape: torch.Size, *settings: Any) -> tuple[_Window, _Window]:
    columns = [_pair(value) for value in settings]
    rows, cols = (
        _Window(shape[axis - 2], *(column[axis] for column in columns)) for axis in (0, 1)
    )
    return rows, cols


def _window_rule(
    windows: tuple[_Window, _Window],
    output: torch.Size,
    compute: Callable[[tuple[Any, ...], dict[str, Any], Region], Tensor],
    transposed: bool = False,
) -> LocalRule:
    """What a window reads, a transposed one writes, and the other way round."""

    def reads(_: Ref, __: Sequence[int], region: Region) -> Region:
        rows, cols = (
            (window.seen_by if transposed else window.sees)(span, window.size)
            for window, span in zip(windows, region, strict=True)
        )
        return rows, cols

    def spreads(_: Ref, __: Sequence[int], region: Region) -> Region:
        rows, cols = (
            (window.sees if transposed else window.seen_by)(span, total)
            for window, span, total in zip(windows, region, output[-2:], strict=True)
        )
        return rows, cols

    return LocalRule(reads, spreads, compute)


def _convolution(call: Call, shape: torch.Size) -> LocalRule | None:
    _, weight, bias, stride, padding, dilation, transposed, output_padding, groups = call.args
    windows = _windows(shape, weight.shape[2:], stride, padding, dilation)
    if transposed:
        return _transposed_convolution(call, windows)

    def compute(args: tuple[Any, ...], _: dict[str, Any], region: Region) -> Tensor:
        (top, bottom), (left, right) = (
            window.padding_of(span) for window, span in zip(windows, region, strict=True)
        )
        padded = F.pad(args[0], (left, right, top, bottom))
        return torch.convolution(
            padded, weight, bias, stride, [0, 0], dilation, False, output_padding, groups
        )

    return _window_rule(windows, call.shapes[0], compute)


def _transposed_convolution(call: Call, windows: tuple[_Window, _Window]) -> LocalRule | None:
    _, weight, bias, stride, _, dilation, _, output_padding, groups = call.args
    # With gaps between the windows some cells read nothing at all.
    if any(window.reach + 1 < window.stride for window in windows):
        return None

    def compute(args: tuple[Any, ...], _: dict[str, Any], region: Region) -> Tensor:
        result = torch.convolution(
            args[0], weight, bias, stride, [0, 0], dilation, True, output_padding, groups
        )
        for axis, (window, span) in enumerate(zip(windows, region, strict=True)):
            begin = window.transposed_offset(span)
            result = result.narrow(axis - 2, begin, span[1] - span[0])
        return result

    return _window_rule(windows, call.shapes[0], compute, transposed=True)


def _pooling(call: Call, shape: torch.Size) -> LocalRule | None:
    names = [argument.name for argument in call.op._schema.arguments]
    given = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    kernel, stride = given["kernel_size"], given.get("stride") or given["kernel_size"]
    paddings, dilations = (_pair(given.get(name, least)) for name, least in _PLAIN_POOLING.items())
    if paddings != (0, 0) or dilations != (1, 1):
        return None
    if given.get("ceil_mode") or given.get("divisor_override"):
        return None
    windows = _windows(shape, kernel, stride, 0)
    pool = F.avg_pool2d if _name(call) == "aten::avg_pool2d" else F.max_pool2d

    def compute(args: tuple[Any, ...], _: dict[str, Any], __: Region) -> Tensor:
        return pool(args[0], kernel, stride)

    return _window_rule(windows, call.shapes[0], compute)


_PLAIN_POOLING = {"padding": 0, "dilation": 1}


def _nearest(call: Call, shape: torch.Size) -> LocalRule | None:
    full = call.shapes[0]
    if any(full[axis] % shape[axis] for axis in (-1, -2)):
        return None
    factors = (full[-2] // shape[-2], full[-1] // shape[-1])

    def reads(_: Ref, __: Sequence[int], region: Region) -> Region:
        rows, cols = (
            (span[0] // factor, (span[1] - 1) // factor + 1)
            for span, factor in zip(region, factors, strict=True)
        )
        return rows, cols

    def spreads(_: Ref, __: Sequence[int], region: Region) -> Region:
        rows, cols = (
            (span[0] * factor, span[1] * factor)
            for span, factor in zip(region, factors, strict=True)
        )
        return rows, cols

    def compute(args: tuple[Any, ...], _: dict[str, Any], region: Region) -> Tensor:
        result = F.interpolate(args[0], scale_factor=factors, mode="nearest")
        for axis, (span, factor) in enumerate(zip(region, factors, strict=True)):
            result = result.narrow(axis - 2, span[0] % factor, span[1] - span[0])
        return result

    return LocalRule(reads, spreads, compute)


_RULES: dict[str, Callable[[Call, torch.Size], LocalRule | None]] = {
    "aten::convolution": _convolution,
    "aten::upsample_nearest2d": _nearest,
    "aten::_upsample_nearest_exact2d": _nearest,
    "aten::avg_pool2d": _pooling,
    "aten::max_pool2d_with_indices": _pooling,
    "aten::native_batch_norm": _batch_norm,
    "aten::cudnn_batch_norm": _batch_norm,
    "aten::miopen_batch_norm": _batch_norm,
    "aten::cat": _channels,
    "aten::slice": _channels,
}
