"""Self-attention over the positions of a feature map, and how to watch and change it.

Names. The paper's f, g, h, v are this file's key, query, value, out; the released TensorFlow code
calls them phi, theta, g and attn (the output convolution). The paper's beta_{j,i}, how much query
position j attends to key position i, is `AttentionField.weights[:, j, i]`; its gamma is `gamma`.
A `(row, col)` is a cell of a grid, sizes are `(height, width)`.

Source: Zhang et al. 2018, *Self-Attention Generative Adversarial Networks*, section 3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .field import AttentionField as AttentionField
from .field import Grid as Grid
from .field import attention_weights as attention_weights
from .field import rows_of
from .field import without_autocast as without_autocast

Edit = Callable[[Tensor], Tensor]
# (module, its input) -> query, key, value (B, C, H, W), (B, C, H', W'), (B, D, H', W')
Adapter = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor, Tensor]]


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
            weights = attention_weights(rows_of(query), rows_of(key))  # (B, N_query, N_key)
            for edit in self.edits:
                weights = _same_shape(edit(weights), weights)
            attended = weights.to(value.dtype) @ rows_of(value)
        else:
            # Fused kernels want equal widths and channels last; added zeros change no product.
            channels = max(query.shape[1], value.shape[1])
            q, k, v = (
                F.pad(rows_of(tensor), (0, channels - tensor.shape[1])).contiguous().unsqueeze(1)
                for tensor in (query, key, value)
            )
            attended = F.scaled_dot_product_attention(q, k, v, scale=1.0).squeeze(1)
            attended = attended[:, :, : value.shape[1]]  # (B, N_query, D)
        return attended.transpose(1, 2).unflatten(2, (height, width))


def _same_shape(edited: Tensor, weights: Tensor) -> Tensor:
    if edited.shape != weights.shape:
        raise ValueError(
            f"an attention edit must return weights of shape {tuple(weights.shape)} "
            f"(batch, queries, keys), not {tuple(edited.shape)}"
        )
    return edited


def mask_keys(weights: Tensor, mask: Tensor) -> Tensor:
    """Attention that may look only at the keys in `mask`; (..., N_query, N_key), rows sum to 1.

    The weights of the other keys become 0 and every row is scaled to sum to 1 again, which is the
    softmax over the keys that are left. A row that has nothing left becomes 0: there the layer
    returns its input. As an edit: `lambda weights: mask_keys(weights, mask)`.

    Args:
        weights: rows of attention.
        mask: broadcast against `weights`; 1 or True where a key may be looked at, else 0.
    """
    kept = weights * mask
    total = kept.sum(-1, keepdim=True)
    return kept / torch.where(total > 0, total, 1)


class SelfAttention(nn.Module):
    """x + gamma * out(attend(query(x), key(x), value(x))), with gamma learnt from 0.

    All four maps are 1x1 convolutions. The released code gives queries and keys channels/8 and
    values channels/2 channels, no biases, and max-pools keys and values 2x2; the paper's text has
    channels/8 everywhere and no pooling. Other code bases have biases, or no map `out`.

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
        bias: give all maps a bias.
        project: have `out`; without it values need as many channels as x.
    """

    def __init__(
        self,
        channels: int,
        query_channels: int,
        value_channels: int,
        pool: bool = True,
        centre: bool = False,
        scale: float = 1.0,
        bias: bool = False,
        project: bool = True,
    ) -> None:
        super().__init__()
        if not project and value_channels != channels:
            raise ValueError(
                f"values of {value_channels} channels, without a map out, cannot be added to "
                f"{channels} channels"
            )
        self.query = nn.Conv2d(channels, query_channels, 1, bias=bias)
        self.key = nn.Conv2d(channels, query_channels, 1, bias=bias)
        self.value = nn.Conv2d(channels, value_channels, 1, bias=bias)
        self.out: nn.Module = nn.Identity()
        if project:
            self.out = nn.Conv2d(value_channels, channels, 1, bias=bias)
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


def attention_layers(model: nn.Module) -> dict[str, SelfAttention]:
    """The model's attention layers by module path, in definition order."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, SelfAttention)
    }


def _hookable_layers(model: nn.Module, required: bool = True) -> dict[str, SelfAttention]:
    """The model's attention layers. Raises where hooks would never run, or there are none."""
    if isinstance(model, torch.jit.ScriptModule):
        raise RuntimeError(
            "a TorchScript model runs no Python hooks, so its attention cannot be watched or "
            "changed; use the eager model it was made from"
        )
    # Where nothing was compiled torch._dynamo is not loaded, and loading it takes seconds.
    # While another thread loads it, it is there without its class, and nothing is compiled yet.
    optimized = getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", ())
    for name, module in model.named_modules():
        compiled = isinstance(module, optimized)
        if compiled or module._compiled_call_impl is not None:
            raise RuntimeError(
                f"{name or type(model).__name__} is compiled, and a compiled module skips hooks, "
                "so its attention cannot be watched or changed; use the eager model, for instance "
                "the one given to torch.compile"
            )
    layers = attention_layers(model)
    if required and not layers:
        raise ValueError(
            f"{type(model).__name__} has no SelfAttention layer; for another model's attention "
            "give record_attention an adapter by module path"
        )
    return layers


def hookable_layer(model: nn.Module, name: str) -> SelfAttention:
    """The attention layer at a module path. Raises KeyError for a layer that the model does not
    have, and what `record_attention` raises for models that cannot be hooked."""
    layers = _hookable_layers(model)
    if name not in layers:
        raise KeyError(f"no attention layer {name!r}; this model has {', '.join(layers)}")
    return layers[name]


@contextmanager
def record_attention(
    model: nn.Module, adapters: Mapping[str, Adapter] | None = None
) -> Iterator[dict[str, AttentionField]]:
    """Watch every attention layer of `model` while the block runs.

    Args:
        adapters: for a model that is not ours: by module path, how to get query, key and value of
            that module from it and its input, (B, C, H, W). A scale such as 1/sqrt(C) belongs into
            the query. The module must return a map of its input's shape; what it adds to its input
            becomes the field's `out`, with gamma 1.

    Yields a dict that fills, in forward order, with an `AttentionField` per layer, by module
    path; a second forward pass in the block replaces the first one's fields. Outputs are not
    changed by a bit. Under `edit_attention` the fields hold what the layer computed before the
    edit.

    Raises ValueError for a model without attention layers, RuntimeError for a compiled one, and
    RuntimeError at the end of a block in which no forward pass reached an attention layer. An
    adapter raises AttributeError for a path that the model does not have, and ValueError where its
    tensors' shapes do not fit one another.
    """
    fields: dict[str, AttentionField] = {}
    with ExitStack() as hooks:
        for name, layer in _hookable_layers(model, required=not adapters).items():
            for handle in _record_layer(fields, name, layer):
                hooks.callback(handle.remove)
        for name, adapter in (adapters or {}).items():
            handle = _record_adapted(fields, name, model.get_submodule(name), adapter)
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
        seen.update(query=inputs[0], key=inputs[1], value=inputs[2])

    def on_out(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
        seen.update(out=out)

    def on_layer(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        tensors = {key: tensor.detach().float() for key, tensor in seen.items()}
        tensors["added"] = mapped_out(layer.out, tensors["value"])
        seen.clear()
        fields.pop(name, None)
        fields[name] = AttentionField(
            **tensors, x=inputs[0].detach().float(), gamma=layer.gamma.item()
        )

    yield layer.attend.register_forward_pre_hook(on_attend)
    yield layer.out.register_forward_hook(on_out)
    yield layer.register_forward_hook(on_layer)


@torch.no_grad()
def mapped_out(out: nn.Module, value: Tensor) -> Tensor:
    """`out`, without its bias, of each value: (B, D, H', W') -> (B, C_x, H', W'), float32."""
    if not isinstance(out, nn.Conv2d):  # nn.Identity, in layers without that map
        return value
    training = out.training
    out.eval()  # reading a spectrally normalised weight in training mode iterates once more
    try:
        with without_autocast(value.device):
            return F.conv2d(value, out.weight.float())
    finally:
        out.train(training)


def _record_adapted(
    fields: dict[str, AttentionField], name: str, module: nn.Module, adapter: Adapter
) -> torch.utils.hooks.RemovableHandle:
    def on_module(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].detach()
        with torch.no_grad():
            query, key, value = adapter(module, x)
        _check_adapted(name, x, output, query, key, value)
        fields.pop(name, None)
        update = output.detach().float() - x.float()
        fields[name] = AttentionField(query.float(), key.float(), x.float(), update, 1.0)

    return module.register_forward_hook(on_module)


def _check_adapted(name: str, x: Tensor, output: Any, *parts: Tensor) -> None:
    query, key, value = parts
    shapes = ", ".join(str(tuple(part.shape)) for part in parts)
    if any(part.dim() != 4 for part in parts) or query.shape[:2] != key.shape[:2]:
        raise ValueError(
            f"the adapter of {name} returned query, key, value of shapes {shapes}; it must return "
            "maps (batch, channels, height, width), query and key with as many channels"
        )
    if key.shape[2:] != value.shape[2:]:
        raise ValueError(f"the adapter of {name} returned keys and values of two grids: {shapes}")
    if not isinstance(output, Tensor) or output.shape != x.shape:
        raise ValueError(f"{name} does not return a map of its input's shape {tuple(x.shape)}")


@contextmanager
def edit_attention(model: nn.Module, layer: str, edit: Edit) -> Iterator[None]:
    """Replace one layer's attention by `edit(weights)` while the block runs.

    `edit` gets weights (B, N_query, N_key) in float32, rows summing to 1, and returns the same
    shape; what it returns is used as it is, without renormalising. Edits of the same layer
    nest: the inner one gets what the outer one returned. Gradients flow through.

    Raises KeyError for a layer that the model does not have, ValueError when `edit` returns
    another shape, and what `record_attention` raises for models that cannot be hooked.
    """
    attend = hookable_layer(model, layer).attend
    before = attend.edits
    attend.edits = (*before, edit)
    try:
        yield
    finally:
        attend.edits = before
