"""`record_attention` on a plain torch module that is not ours."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from sagan_core import record_attention


class Plain(nn.Module):
    """Attention over pixels as many code bases write it: scaled, over flattened maps."""

    def __init__(self, channels=8):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.seen = None

    def forward(self, x):
        q, k, v = (layer(x).flatten(2) for layer in (self.to_q, self.to_k, self.to_v))
        weights = torch.softmax(q.mT @ k / q.shape[1] ** 0.5, dim=-1)
        self.seen = weights.detach()
        return x + (v @ weights.mT).view_as(x)


def parts(module, x):
    return module.to_q(x) / 8**0.5, module.to_k(x), module.to_v(x)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Plain(), nn.ReLU())


def test_the_maps_are_those_that_the_module_used(model):
    images = torch.randn(2, 3, 5, 7)
    plain = model(images)
    with record_attention(model, {"1": parts}) as fields:
        watched = model(images)
    assert torch.equal(plain, watched)
    field = fields["1"]
    torch.testing.assert_close(field.weights, model[1].seen)
    assert tuple(field.query_grid) == (5, 7)
    row = model[1].seen[:, 2 * 7 + 3].unflatten(1, (5, 7))
    torch.testing.assert_close(field.attended_by(2, 3), row)
    features = model[0](images)
    torch.testing.assert_close(field.x + field.gamma * field.out, model[1](features))
    assert not model[1]._forward_hooks


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (lambda m, x: (m.to_q(x).flatten(2), m.to_k(x), m.to_v(x)), "it must return maps"),
        (lambda m, x: (m.to_q(x)[:, :4], m.to_k(x), m.to_v(x)), "as many channels"),
        (lambda m, x: (m.to_q(x), m.to_k(x), m.to_v(x)[:, :, 1:]), "keys and values of two grids"),
    ],
)
def test_an_adapter_that_does_not_fit_is_told(model, adapter, message):
    with pytest.raises(ValueError, match=message), record_attention(model, {"1": adapter}):
        model(torch.randn(1, 3, 4, 4))
    assert not model[1]._forward_hooks


@pytest.mark.parametrize(
    ("adapters", "error", "message"),
    [
        (None, ValueError, "give record_attention an adapter"),
        ({"nowhere": parts}, AttributeError, "nowhere"),
        ({"0": lambda _, x: (x, x, x)}, ValueError, "its input's shape"),
    ],
)
def test_what_cannot_be_adapted_is_told(model, adapters, error, message):
    with pytest.raises(error, match=message), record_attention(model, adapters):
        model(torch.randn(1, 3, 4, 4))


def test_the_readmes_adapter_runs():
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    model = nn.Sequential()
    model.add_module("mid", nn.Sequential())
    model.mid.add_module("attn", Plain(3))
    names = {
        "model": model,
        "images": torch.randn(1, 3, 6, 6),
        "record_attention": record_attention,
    }
    exec(code, names)
    assert names["fields"]["mid.attn"].weights.shape == (1, 36, 36)
