"""Writing down, below any module, the operations of a forward pass that depend on one value."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from .attention import Attend, attention_layers
from .receptive_field import Call, Ref


class Recorder(TorchDispatchMode):
    """Writes down every operation that depends on a source, set by `start`, while it is entered.

    Attributes:
        calls: in the order in which they ran.
        values: what the source was, and every value that a call gave, by index.
        trouble: why the calls cannot be run again; empty where they can.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.values: list[Tensor] = []
        self._index: dict[int, int] = {}
        self._alive: list[Tensor] = []  # an id is a tensor's only while the tensor lives
        self._paused = False  # in our own code, and in what is written down as one call
        self.trouble = ""

    def start(self, source: Tensor) -> None:
        """From here on write down what depends on `source`, value 0."""
        self._add(source)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write nothing down while the block runs."""
        self._paused = True
        yield
        self._paused = False

    def index_of(self, tensor: Any) -> int | None:
        """Which value a tensor is; None for what does not depend on the source."""
        return self._index.get(id(tensor)) if isinstance(tensor, Tensor) else None

    def _add(self, tensor: Tensor) -> int:
        self._index[id(tensor)] = len(self.values)
        self._alive.append(tensor)
        self.values.append(tensor.detach())
        return len(self.values) - 1

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if op._schema.is_mutable:
            self._keep(args)
        result = op(*args, **kwargs)
        if not self._paused:
            outputs = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
            self._note(op, args, kwargs, outputs)
        return result

    def _keep(self, args: tuple[Any, ...]) -> None:
        """Copy the values that an operation is about to write into."""
        for leaf in args:
            index = self.index_of(leaf)
            if index is not None:
                self.values[index] = leaf.detach().clone()

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

        thread = threading.get_ident()

        def enter(*_: Any) -> None:
            self._paused = self._paused or threading.get_ident() == thread

        def leave(attend: nn.Module, inputs: tuple[Tensor, ...], attended: Tensor) -> None:
            if threading.get_ident() == thread:
                self._note(attend, inputs, {}, [attended])
                self._paused = False

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
