"""Networks that no golden case covers, against their code bases' equations on the raw tensors."""

import published
import pytest
import torch
import torch.nn.functional as F

from sagan_core import open_checkpoint, open_discriminator


class Raw:
    """A state dict's layers, spectral norms by the longhand of each rule."""

    def __init__(self, shapes):
        self.tensors = published.random_tensors(shapes, seed=3)

    def __getitem__(self, name):
        return self.tensors[name]

    def weight(self, layer):
        if f"{layer}.u0" in self.tensors:
            return self._stepped(self[f"{layer}.weight"], self[f"{layer}.u0"][0])
        if f"{layer}.weight_v" in self.tensors:
            weight = self[f"{layer}.weight_orig"]
            u, v = self[f"{layer}.weight_u"], self[f"{layer}.weight_v"]
            return weight / torch.einsum("i,ij,j", u, weight.reshape(len(u), -1), v)
        if f"{layer}.weight_u" in self.tensors:
            return self._stepped(self[f"{layer}.weight_orig"], self[f"{layer}.weight_u"])
        return self[f"{layer}.weight"]

    @staticmethod
    def _stepped(weight, u):
        matrix = weight.reshape(len(u), -1)
        v = u @ matrix / (u @ matrix).norm()
        u = matrix @ v / (matrix @ v).norm()
        return weight / (u @ matrix @ v)

    def conv(self, x, layer):
        weight, bias = self.weight(layer), self.tensors.get(f"{layer}.bias")
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def linear(self, x, layer):
        return F.linear(x, self.weight(layer), self.tensors.get(f"{layer}.bias"))

    def pooled_attention(self, x, layer, names, gamma):
        query, key, value, out = (f"{layer}.{name}" for name in names.split())
        q = self.conv(x, query).flatten(2)
        k = F.max_pool2d(self.conv(x, key), 2).flatten(2)
        v = F.max_pool2d(self.conv(x, value), 2).flatten(2)
        weights = torch.softmax(q.mT @ k, dim=-1)
        attended = (v @ weights.mT).unflatten(2, x.shape[2:])
        return self[f"{layer}.{gamma}"] * self.conv(attended, out) + x


def projected(raw, x, labels, linear, embedding):
    features = F.relu(x).sum((2, 3))
    projection = (raw.weight(embedding)[labels] * features).sum(1)
    return raw.linear(features, linear)[:, 0] + projection


def biggan_judge(raw, x, labels):
    """64x64: the last block does not halve, and has a shortcut convolution."""
    for index in range(5):
        block = f"blocks.{index}.0"
        h = raw.conv(F.relu(x) if index else x, f"{block}.conv1")
        h, skip = raw.conv(F.relu(h), f"{block}.conv2"), raw.conv(x, f"{block}.conv_sc")
        x = F.avg_pool2d(h, 2) + F.avg_pool2d(skip, 2) if index < 4 else h + skip
        if index in (1, 3):
            x = raw.pooled_attention(x, f"blocks.{index}.1", "theta phi g o", "gamma")
    return projected(raw, x, labels, "linear", "embed")


def voletiv_judge(raw, x, labels):
    """The in-place ReLU changes every shortcut; the last block's convolution is not used."""
    h = raw.conv(F.relu(raw.conv(x, "opt_block1.snconv2d1")), "opt_block1.snconv2d2")
    x = F.avg_pool2d(h, 2) + raw.conv(F.avg_pool2d(x, 2), "opt_block1.snconv2d0")
    for number in range(1, 6):
        block = f"block{number}"
        x = F.relu(x)
        h = raw.conv(F.relu(raw.conv(x, f"{block}.snconv2d1")), f"{block}.snconv2d2")
        if number < 5:
            x = F.avg_pool2d(h, 2) + F.avg_pool2d(raw.conv(x, f"{block}.snconv2d0"), 2)
        else:
            x = h + x
        if number == 1:
            names = "snconv1x1_theta snconv1x1_phi snconv1x1_g snconv1x1_attn"
            x = raw.pooled_attention(x, "self_attn", names, "sigma")
    return projected(raw, x, labels, "snlinear1", "sn_embedding1")


def rosinality_judge(raw, x, labels):
    """The softmax is over the query's axis; the second block does not halve."""
    h = raw.conv(F.relu(raw.conv(x, "pre_conv.0")), "pre_conv.2")
    x = F.avg_pool2d(h, 2) + raw.conv(F.avg_pool2d(x, 2), "pre_skip")
    for index in (0, 1, 2, 3, 4, 5):
        layer = f"conv.{index}"
        if index == 2:
            flat = x.flatten(2)
            q, k, v = (
                F.conv1d(flat, raw.weight(f"{layer}.{name}"), raw[f"{layer}.{name}.bias"])
                for name in ("query", "key", "value")
            )
            attended = v @ torch.softmax(q.mT @ k, dim=1)
            x = raw[f"{layer}.gamma"] * attended.view_as(x) + x
            continue
        h = raw.conv(F.relu(raw.conv(F.relu(x), f"{layer}.conv1")), f"{layer}.conv2")
        skip = raw.conv(x, f"{layer}.conv_skip")
        x = h + skip if index == 1 else F.avg_pool2d(h, 2) + F.avg_pool2d(skip, 2)
    return projected(raw, x, labels, "linear", "embed")


JUDGES = {
    "BigGAN-PyTorch": (published.biggan_discriminator(8, 64, 3, [1, 3]), 64, biggan_judge),
    "voletiv": (published.voletiv_discriminator(8, 3), 128, voletiv_judge),
    "rosinality": (published.rosinality_residual_discriminator(8, 3), 128, rosinality_judge),
}


@pytest.mark.parametrize("name", JUDGES)
def test_discriminators(name, tmp_path):
    shapes, size, judge = JUDGES[name]
    raw, labels = Raw(shapes), torch.tensor([2, 0])
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    torch.save(raw.tensors, tmp_path / "1_D.pth")
    with torch.no_grad():
        expected = judge(raw, images, labels)
        found = open_discriminator(tmp_path / "1_D.pth")(images, labels)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_generator_with_two_attention_layers_and_chunks_of_z(tmp_path):
    raw, chunk = Raw(published.biggan_generator(4, 64, 7, 15, [8, 32], 5)), 3
    z = torch.randn(2, 15, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([6, 1])

    def norm(x, layer, condition):
        mean, var = raw[f"{layer}.stored_mean"], raw[f"{layer}.stored_var"]
        x = (x - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
        gain, bias = (raw.linear(condition, f"{layer}.{part}") for part in ("gain", "bias"))
        return (1 + gain)[:, :, None, None] * x + bias[:, :, None, None]

    x = raw.linear(z[:, :chunk], "linear").unflatten(1, (-1, 4, 4))
    for index in range(4):
        block, start = f"blocks.{index}.0", chunk * (index + 1)
        condition = torch.cat([raw["shared.weight"][labels], z[:, start : start + chunk]], 1)
        h = F.interpolate(F.relu(norm(x, f"{block}.bn1", condition)), scale_factor=2)
        h = F.relu(norm(raw.conv(h, f"{block}.conv1"), f"{block}.bn2", condition))
        skip = raw.conv(F.interpolate(x, scale_factor=2), f"{block}.conv_sc")
        x = raw.conv(h, f"{block}.conv2") + skip
        if index in (0, 2):
            x = raw.pooled_attention(x, f"blocks.{index}.1", "theta phi g o", "gamma")
    last = "output_layer.0"
    x = (x - raw[f"{last}.stored_mean"][:, None, None]) / (raw[f"{last}.stored_var"] + 1e-5).sqrt()[
        :, None, None
    ]
    x = raw[f"{last}.gain"][:, None, None] * x + raw[f"{last}.bias"][:, None, None]
    expected = torch.tanh(raw.conv(F.relu(x), "output_layer.2"))
    torch.save(raw.tensors, tmp_path / "G_ema.pth")
    checkpoint = open_checkpoint(tmp_path / "G_ema.pth")
    assert checkpoint.config.attention == (8, 32)
    with torch.no_grad():
        found = checkpoint.generator(z, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
