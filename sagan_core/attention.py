"""Self-attention over the positions of a feature map, and how to watch and change it.

Names. The paper's f, g, h, v are this file's key, query, value, out; the released TensorFlow code
calls them phi, theta, g and attn (the output convolution). The paper's beta_{j,i}, how much query
position j attends to key position i, is `AttentionField.weights[:, j, i]`; its gamma is `gamma`.
A `(row, col)` is a cell of a grid, sizes are `(height, width)`.

Source: Zhang et al. 2018, *Self-Attention Generative Adversarial Networks*, section 3.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]


class Grid(NamedTuple):
    """The cells of a feature map, row by row."""

    height: int
    width: int

    def cell_index(self, row: int, col: int, kind: str = "cell") -> int:
        """Position of a cell in row-major order. Raises IndexError outside the grid."""
        if not (0 <= row < self.height and 0 <= col < self.width):
            raise IndexError(
                f"{kind} ({row}, {col}) is outside the {self.height}x{self.width} grid"
            )
        return row * self.width + col


class Attend(nn.Module):
    """softmax(query^T key) value, over positions: the one place where attention is computed.

    It has no parameters. It is the hook point for recording (its inputs), for interventions
    (`edits`, set by `edit_attention`) and for tests.
    """

    def __init__(self) -> None:
        super().__init__()
        self.edits: tuple[Edit, ...] = ()

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, C, H, W), (B, C, H', W'), (B, D, H', W') -> (B, D, H, W). There is no 1/sqrt(C)."""
        height, width = query.shape[2:]
        if self.edits:
            weights = attention_weights(_rows(query), _rows(key))  # (B, N_query, N_key), float32
            for edit in self.edits:
                weights = _same_shape(edit(weights), weights)
            attended = weights.to(value.dtype) @ _rows(value)
        else:
            # Fused kernels want equal widths and channels last; added zeros change no product.
            channels = max(query.shape[1], value.shape[1])
            q, k, v = (
                F.pad(_rows(tensor), (0, channels - tensor.shape[1])).contiguous().unsqueeze(1)
                for tensor in (query, key, value)
            )
            attended = F.scaled_dot_product_attention(q, k, v, scale=1.0).squeeze(1)
            attended = attended[:, :, : value.shape[1]]  # (B, N_query, D)
        return attended.transpose(1, 2).unflatten(2, (height, width))


def _rows(tensor: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C)."""
    return tensor.flatten(2).transpose(1, 2)


def _same_shape(edited: Tensor, weights: Tensor) -> Tensor:
    if edited.shape != weights.shape:
        raise ValueError(
            f"an attention edit must return weights of shape {tuple(weights.shape)} "
            f"(batch, queries, keys), not {tuple(edited.shape)}"
        )
    return edited


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """Rows of attention in float32: (B, N_query, C), (B, N_key, C) -> (B, N_query, N_key)."""
    with without_autocast(query.device):
        return torch.softmax(query.float() @ key.float().transpose(1, 2), dim=-1)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast switched off for `device`, which may be one that knows no autocast (meta)."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class SelfAttention(nn.Module):
    """x + gamma * out(attend(query(x), key(x), value(x))), with gamma learnt from 0.

    All four maps are 1x1 convolutions without bias. The released code gives queries and keys
    channels/8 and values channels/2 channels and max-pools keys and values 2x2; the paper's text
    has channels/8 everywhere and no pooling.

    Args:
        channels: C of the feature map.
        query_channels: width of queries and keys.
        value_channels: width of values.
        pool: max-pool keys and values 2x2, so that there are a quarter as many keys as queries.
        centre: subtract from the queries their mean over positions. What the logits have in
            common at all query positions is then gone, and only how a query differs from the
            others says where it looks (Yin et al. 2020, *Disentangled Non-Local Neural Networks*).
        scale: of the queries and so of the logits, which spectral norm keeps small where the
            feature map is narrow.
    """

    def __init__(
        self,
        channels: int,
        query_channels: int,
        value_channels: int,
        pool: bool = True,
        centre: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, query_channels, 1, bias=False)
        self.key = nn.Conv2d(channels, query_channels, 1, bias=False)
        self.value = nn.Conv2d(channels, value_channels, 1, bias=False)
        self.out = nn.Conv2d(value_channels, channels, 1, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.attend = Attend()
        self.gamma = nn.Parameter(torch.zeros(()))
        self.centre, self.scale = centre, scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        query = self.query(x)
        if self.centre:
            query = query - query.mean((2, 3), keepdim=True)
        if self.scale != 1:
            query = query * self.scale
        attended = self.attend(query, self.pool(self.key(x)), self.pool(self.value(x)))
        return x + self.gamma * self.out(attended)


@dataclass(frozen=True, eq=False)
class AttentionField:
    """What one attention layer did in one forward pass.

    Holds queries and keys, from which any row, column or summary follows exactly; the full
    matrix is made only when `weights` is asked for. All tensors are detached and float32.

    Attributes:
        query, key: (B, C, H, W) and (B, C, H', W').
        x, out: the layer's input and its output convolution's result, (B, C_x, H, W) each:
            the layer returned x + gamma * out.
        gamma: the layer's learnt scale.
    """

    query: Tensor
    key: Tensor
    x: Tensor
    out: Tensor
    gamma: float

    @property
    def query_grid(self) -> Grid:
        return Grid(*self.query.shape[2:])

    @property
    def key_grid(self) -> Grid:
        return Grid(*self.key.shape[2:])

    @property
    def weights(self) -> Tensor:
        """(B, N_query, N_key): every row a distribution over keys. Made anew at each call."""
        return attention_weights(_rows(self.query), _rows(self.key))

    def attended_by(self, row: int, col: int) -> Tensor:
        """(B, H', W'): where query cell (row, col) looked. Sums to 1 per image.

        Raises IndexError outside the query grid."""
        index = self.query_grid.cell_index(row, col, "query cell")
        query = _rows(self.query)[:, index : index + 1]
        return attention_weights(query, _rows(self.key)).unflatten(2, self.key_grid)[:, 0]

    def received_by(self, row: int, col: int) -> Tensor:
        """(B, H, W): how much every query attended to key cell (row, col).

        Raises IndexError outside the key grid."""
        index = self.key_grid.cell_index(row, col, "key cell")
        column = torch.cat([rows[:, :, index] for rows in self._row_blocks()], dim=1)
        return column.unflatten(1, self.query_grid)

    def entropy(self) -> Tensor:
        """(B, H, W): entropy of each query's row in nats, from 0 to log N_key."""
        entropies = torch.cat([_entropy(rows) for rows in self._row_blocks()], dim=1)
        return entropies.unflatten(1, self.query_grid)

    @cached_property
    def _mean_row(self) -> Tensor:
        total = sum((rows.sum(1) for rows in self._row_blocks()), torch.zeros(()))
        return total / math.prod(self.query_grid)  # (B, N_key)

    def mean_row(self) -> Tensor:
        """(B, H', W'): the average point's row, which is also how much each key receives."""
        return self._mean_row.unflatten(1, self.key_grid)

    def dependence(self) -> Tensor:
        """(B,): does the map depend on the point? Nats, from 0 (never) to log N_key.

        The mutual information between query and key position for a uniform query: the mean
        over queries of KL(row || mean row).
        """
        # A key at which next to nobody looks must not make the logarithm infinite.
        mean_row = self._mean_row.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
        total = torch.zeros(len(self.query), dtype=torch.float64)
        for rows in self._row_blocks():
            divergence = torch.xlogy(rows, rows) - torch.xlogy(rows, mean_row)
            total += divergence.sum((1, 2), dtype=torch.float64).cpu()
        return (total / math.prod(self.query_grid)).clamp_min(0).float()

    def update_share(self) -> Tensor:
        """(B, H, W): ||gamma * out|| / ||x|| at each position, norms over channels.

        0 where the layer leaves the signal as it was; infinite where x is 0 and the update is not.
        """
        update = abs(self.gamma) * self.out.norm(dim=1)
        return torch.where(update == 0, update, update / self.x.norm(dim=1))

    def pairwise_share(self) -> Tensor:
        """(B,): the part of the logits that depends on the query, from 0 to 1.

        Logits, less their mean over keys, are a sum: (query - mean query) (key - mean key), the
        pairwise part, and mean query (key - mean key), which all queries share. Over all queries
        and keys their squares add up; this is the first one's share. 0 where both are 0.

        Source: Yin et al. 2020, *Disentangled Non-Local Neural Networks*, section 3.1.
        """
        query, key = _rows(self.query).double(), _rows(self.key).double()
        shared = query.mean(1, keepdim=True)
        queries, keys = query - shared, key - key.mean(1, keepdim=True)
        spread = keys.transpose(1, 2) @ keys / keys.shape[1]  # (B, C, C)
        # The mean square of all products, from (C, C) tables instead of the (N, N) matrix.
        pairwise = ((queries.transpose(1, 2) @ queries) * spread).sum((1, 2)) / queries.shape[1]
        unary = (shared @ spread @ shared.transpose(1, 2)).flatten()
        return (pairwise / (pairwise + unary).clamp_min(1e-300)).float()

    def query_cell(self, x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
        """(row, col) of the query whose region holds pixel (x, y) of an image of (height, width).

        Raises IndexError outside the image.
        """
        height, width = size
        if not (0 <= x < width and 0 <= y < height):
            raise IndexError(f"pixel ({x}, {y}) is outside the image of {height}x{width} pixels")
        grid = self.query_grid
        return int(y * grid.height // height), int(x * grid.width // width)

    def to(self, device: torch.device | str) -> AttentionField:
        """The same field with its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("query", "key", "x", "out")}
        return replace(self, **moved)

    def _row_blocks(self, cells: int = 1 << 22) -> Iterator[Tensor]:
        """Rows (B, n, N_key), a block at a time, each block of about `cells` numbers at most."""
        query, key = _rows(self.query), _rows(self.key)
        for block in query.split(max(1, cells // (len(key) * key.shape[1])), dim=1):
            yield attention_weights(block, key)


def _entropy(rows: Tensor) -> Tensor:
    return -torch.xlogy(rows, rows).sum(-1)


def attention_layers(model: nn.Module) -> dict[str, SelfAttention]:
    """The model's attention layers by module path, in definition order."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, SelfAttention)
    }


def _hookable_layers(model: nn.Module) -> dict[str, SelfAttention]:
    """The model's attention layers. Raises where hooks on them would never run."""
    if isinstance(model, torch.jit.ScriptModule):
        raise RuntimeError(
            "a TorchScript model runs no Python hooks, so its attention cannot be watched or "
            "changed; use the eager model it was made from"
        )
    # Where nothing was compiled torch._dynamo is not loaded, and loading it takes seconds.
    dynamo = sys.modules.get("torch._dynamo")
    for name, module in model.named_modules():
        compiled = dynamo is not None and isinstance(module, dynamo.OptimizedModule)
        if compiled or module._compiled_call_impl is not None:
            raise RuntimeError(
                f"{name or type(model).__name__} is compiled, and a compiled module skips hooks, "
                "so its attention cannot be watched or changed; use the eager model, for instance "
                "the one given to torch.compile"
            )
    layers = attention_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no SelfAttention layer")
    return layers


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, AttentionField]]:
    """Watch every attention layer of `model` while the block runs.

    Yields a dict that fills, in forward order, with an `AttentionField` per layer, by module
    path; a second forward pass in the block replaces the first one's fields. Outputs are not
    changed by a bit. Under `edit_attention` the fields hold what the layer computed before the
    edit.

    Raises ValueError for a model without attention layers, RuntimeError for a compiled one, and
    RuntimeError at the end of a block in which no forward pass reached an attention layer.
    """
    fields: dict[str, AttentionField] = {}
    with ExitStack() as hooks:
        for name, layer in _hookable_layers(model).items():
            for handle in _record_layer(fields, name, layer):
                hooks.callback(handle.remove)
        yield fields
    if not fields:
        raise RuntimeError(
            "nothing was recorded: no forward pass of this model reached an attention layer "
            "inside the block (a torch.compile wrapper of it skips hooks; call the model itself)"
        )


def _record_layer(
    fields: dict[str, AttentionField], name: str, layer: SelfAttention
) -> Iterator[torch.utils.hooks.RemovableHandle]:
    seen: dict[str, Tensor] = {}

    def on_attend(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.update(query=inputs[0], key=inputs[1])

    def on_out(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
        seen.update(out=out)

    def on_layer(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        tensors = {key: tensor.detach().float() for key, tensor in seen.items()}
        seen.clear()
        fields.pop(name, None)
        fields[name] = AttentionField(
            **tensors, x=inputs[0].detach().float(), gamma=layer.gamma.item()
        )

    yield layer.attend.register_forward_pre_hook(on_attend)
    yield layer.out.register_forward_hook(on_out)
    yield layer.register_forward_hook(on_layer)


@contextmanager
def edit_attention(model: nn.Module, layer: str, edit: Edit) -> Iterator[None]:
    """Replace one layer's attention by `edit(weights)` while the block runs.

    `edit` gets weights (B, N_query, N_key) in float32, rows summing to 1, and returns the same
    shape; what it returns is used as it is, without renormalising. Edits of the same layer
    nest: the inner one gets what the outer one returned. Gradients flow through.

    Raises KeyError for a layer that the model does not have, ValueError when `edit` returns
    another shape, and what `record_attention` raises for models that cannot be hooked.
    """
    layers = _hookable_layers(model)
    if layer not in layers:
        raise KeyError(f"no attention layer {layer!r}; this model has {', '.join(layers)}")
    attend = layers[layer].attend
    before = attend.edits
    attend.edits = (*before, edit)
    try:
        yield
    finally:
        attend.edits = before
