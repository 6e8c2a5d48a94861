"""The networks against the released code's shapes, counted by hand."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sagan_core import Discriminator, Generator, SAGANConfig
from sagan_core.attention import attention_layers
from sagan_core.model import ResidualBlock, pooled_conv, upsampled_conv

TINY = SAGANConfig(
    resolution=32,
    classes=3,
    latent_size=8,
    width=8,
    attention=(16,),
    discriminator_attention=(8,),
)


def trainable(network):
    """Parameters under their plain names, spectral norm's wrapping taken off."""
    return {
        name.replace("parametrizations.", "").replace(".original", ""): tuple(p.shape)
        for name, p in network.named_parameters()
    }


def conv(name, inputs, outputs, size):
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def attention_block(name, channels):
    return {
        f"{name}.query.weight": (channels // 8, channels, 1, 1),
        f"{name}.key.weight": (channels // 8, channels, 1, 1),
        f"{name}.value.weight": (channels // 2, channels, 1, 1),
        f"{name}.out.weight": (channels, channels // 2, 1, 1),
        f"{name}.gamma": (),
    }


def test_paper_generator_tensor_by_tensor():
    with torch.device("meta"):
        found = trainable(Generator(SAGANConfig.paper()))
    expected = {"project.weight": (16384, 128), "project.bias": (16384,)}
    widths = [1024, 1024, 512, 256, 128, 64]
    for block, (inputs, outputs) in enumerate(pairwise(widths)):
        name = f"blocks.{block}"
        for norm, channels in (("norm1", inputs), ("norm2", outputs)):
            expected[f"{name}.{norm}.gain"] = (1000, channels)
            expected[f"{name}.{norm}.bias"] = (1000, channels)
        expected |= conv(f"{name}.conv1", inputs, outputs, 3)
        expected |= conv(f"{name}.conv2", outputs, outputs, 3)
        expected |= conv(f"{name}.shortcut", inputs, outputs, 1)
    expected |= attention_block("blocks.2.attention", 256)
    expected |= {"norm.weight": (64,), "norm.bias": (64,)} | conv("to_image", 64, 3, 3)
    assert found == expected


def test_paper_discriminator_tensor_by_tensor():
    with torch.device("meta"):
        found = trainable(Discriminator(SAGANConfig.paper()))
    expected = {}
    widths = [3, 64, 128, 256, 512, 1024, 1024]
    for block, (inputs, outputs) in enumerate(pairwise(widths)):
        name = f"blocks.{block}"
        expected |= conv(f"{name}.conv1", inputs, outputs, 3)
        expected |= conv(f"{name}.conv2", outputs, outputs, 3)
        if block < 5:
            expected |= conv(f"{name}.shortcut", inputs, outputs, 1)
    expected |= attention_block("blocks.1.attention", 128)
    expected |= {"to_logit.weight": (1, 1024), "to_logit.bias": (1,)}
    expected |= {"embedding.weight": (1000, 1024)}
    assert found == expected


@pytest.mark.parametrize(
    ("network", "block", "count"), [(Generator, 2, 81_921), (Discriminator, 1, 20_481)]
)
def test_paper_attention_blocks(network, block, count):
    with torch.device("meta"):
        attention = network(SAGANConfig.paper()).blocks[block].attention
    assert sum(p.numel() for p in attention.parameters()) == count


def test_paper_text_block_has_neither_pooling_nor_wide_values():
    with torch.device("meta"):
        attention = Generator(SAGANConfig.paper_text()).blocks[2].attention
    assert isinstance(attention.pool, nn.Identity)
    assert attention.value.weight.shape == (32, 256, 1, 1)
    assert attention.out.weight.shape == (256, 32, 1, 1)


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
@pytest.mark.parametrize(("image_channels", "classes"), [(1, 0), (3, 5)])
def test_every_size_gives_images_and_logits(resolution, image_channels, classes):
    config = SAGANConfig(
        resolution=resolution,
        image_channels=image_channels,
        classes=classes,
        latent_size=4,
        width=8,
        attention=(8, resolution) if resolution < 64 else (8, 16),
        discriminator_attention=(4, resolution // 2) if resolution < 64 else (),
    )
    labels = torch.tensor([0, classes - 1]) if classes else None
    images = Generator(config)(torch.randn(2, 4), labels)
    assert images.shape == (2, image_channels, resolution, resolution)
    assert images.abs().max() <= 1
    assert Discriminator(config)(images, labels).shape == (2,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resolution": 48}, "resolution is 48; it must be one of"),
        ({"resolution": 64.0}, "resolution is 64.0"),
        ({"image_channels": 2}, "image_channels is 2; it must be 1 or 3"),
        ({"classes": -1}, "classes is -1; it must be a whole number from 0"),
        ({"width": 0}, "width is 0; it must be a whole number from 1"),
        ({"width": 2.5}, "width is 2.5"),
        ({"attention": (24,)}, r"attention is \(24,\); .*\(8, 16, 32, 64, 128\)"),
        ({"attention": 32}, "attention is 32"),
        ({"attention": (16, 16)}, "different resolutions"),
        ({"discriminator_attention": (128,)}, r"\(64, 32, 16, 8, 4\)"),
        ({"width": 2}, "large enough for attention at 32x32: that block has 4 channels"),
        ({"pool_keys": 1}, "pool_keys is 1; it must be true or false"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        SAGANConfig(**values)


def test_a_conditional_model_asks_for_labels():
    with pytest.raises(ValueError, match="this model has 3 classes: give labels"):
        Generator(TINY)(torch.zeros(1, 8))


def test_every_weight_but_conditional_batch_norm_is_spectrally_normalised():
    for network in (Generator(TINY), Discriminator(TINY)):
        plain = {n for n, p in network.named_parameters() if p.ndim > 1 and "original" not in n}
        norms = {n for n in plain if ".norm" in n}
        assert plain == norms
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                for _ in range(200):
                    module.weight  # noqa: B018 - each access in training mode is one power step
                norm = torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)
                assert norm.item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_a_residual_block_in_attentions_place_has_as_many_parameters(network):
    config = replace(SAGANConfig.paper(), width=8)
    residual = network(replace(config, residual_instead=True))
    counts = [sum(p.numel() for p in n.parameters()) for n in (network(config), residual)]
    assert counts[0] == counts[1]
    block = residual.blocks[2 if network is Generator else 1].attention
    assert isinstance(block, ResidualBlock)
    assert not attention_layers(residual)


def test_a_residual_block_is_its_docstring_and_starts_as_the_identity():
    block, x = ResidualBlock(8, 3), torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    with torch.no_grad():
        block.gamma.fill_(0.5)
    hidden = F.conv2d(x.clamp(min=0), block.conv1.weight, padding=1).clamp(min=0)
    expected = x + 0.5 * torch.einsum("bihw,oi->bohw", hidden, block.conv2.weight[:, :, 0, 0])
    torch.testing.assert_close(block(x), expected)


def test_spectral_norm_in_the_discriminator_alone():
    config = replace(TINY, generator_spectral_norm=False)
    assert not any("parametrizations" in name for name in Generator(config).state_dict())
    assert any("parametrizations" in name for name in Discriminator(config).state_dict())


def test_power_iteration_runs_once_per_training_forward_and_never_in_eval():
    discriminator, images, labels = Discriminator(TINY), torch.randn(2, 3, 32, 32), torch.arange(2)
    norm = discriminator.blocks[0].conv1.parametrizations.weight[0]
    weight = discriminator.blocks[0].conv1.parametrizations.weight.original.detach()
    discriminator.train()
    u, v = norm._u.clone(), norm._v.clone()
    matrix = weight.flatten(1)
    u = F.normalize(matrix @ v, dim=0, eps=norm.eps)
    v = F.normalize(matrix.T @ u, dim=0, eps=norm.eps)
    discriminator(images, labels)
    torch.testing.assert_close(norm._u, u)
    torch.testing.assert_close(norm._v, v)
    before = copy.deepcopy(discriminator.state_dict())
    discriminator.eval()(images, labels)
    after = discriminator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_spectral_norm_stays_float32_under_autocast():
    layer = Generator(TINY).project.eval()
    with torch.autocast("cpu", torch.bfloat16):
        under = layer.weight
    assert under.dtype == torch.float32
    assert torch.equal(under, layer.weight)


def enlarged(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


@pytest.mark.parametrize(
    ("size", "joined", "plain"),
    [
        (3, pooled_conv, lambda x, c: F.avg_pool2d(c(x), 2)),
        (3, upsampled_conv, lambda x, c: c(enlarged(x))),
        (1, lambda x, c: c(F.avg_pool2d(x, 2)), lambda x, c: F.avg_pool2d(c(x), 2)),
        (1, lambda x, c: enlarged(c(x)), lambda x, c: c(enlarged(x))),
    ],
)
def test_rewritten_convolutions_equal_the_plain_ones_forward_and_backward(size, joined, plain):
    layer = nn.Conv2d(5, 7, size, padding=size // 2).double()
    results = []
    for form in (joined, plain):
        x = torch.linspace(-1, 1, 2 * 5 * 6 * 8).double().view(2, 5, 6, 8).sin().requires_grad_()
        layer.zero_grad()
        y = form(x, layer)
        (y * torch.arange(y.numel()).view_as(y).cos()).sum().backward()
        results.append([y.detach(), x.grad, layer.weight.grad.clone(), layer.bias.grad.clone()])
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference)


def test_blocks_are_the_released_codes_written_out():
    """The up- and down-block against their equations with plain resampling before or after."""
    torch.manual_seed(1)
    up = Generator(TINY).blocks[0].eval()
    x, labels = torch.randn(2, 32, 4, 4), torch.tensor([0, 2])
    h = F.relu(up.norm1(x, labels))
    h = up.conv1(F.interpolate(h, scale_factor=2.0))
    h = up.conv2(F.relu(up.norm2(h, labels)))
    expected = h + up.shortcut(F.interpolate(x, scale_factor=2.0))
    torch.testing.assert_close(up(x, labels), expected, atol=1e-5, rtol=1e-4)

    network = Discriminator(TINY).eval()
    first, second, last = network.blocks[0], network.blocks[2], network.blocks[3]
    image = torch.randn(2, 3, 32, 32)
    expected = F.avg_pool2d(first.conv2(F.relu(first.conv1(image))), 2)
    expected = expected + first.shortcut(F.avg_pool2d(image, 2))
    torch.testing.assert_close(first(image), expected, atol=1e-5, rtol=1e-4)
    x = torch.randn(2, 16, 8, 8)
    expected = second.conv2(F.relu(second.conv1(F.relu(x)))) + second.shortcut(x)
    torch.testing.assert_close(second(x), F.avg_pool2d(expected, 2), atol=1e-5, rtol=1e-4)
    x = torch.randn(2, 32, 4, 4)
    expected = x + last.conv2(F.relu(last.conv1(F.relu(x))))
    torch.testing.assert_close(last(x), expected, atol=1e-5, rtol=1e-4)


def test_one_pass_over_real_and_fake_is_two_passes_forward_and_backward():
    network = Discriminator(TINY).double().eval()
    images, labels = torch.randn(6, 3, 32, 32, dtype=torch.double), torch.tensor([0, 1, 2] * 2)
    results = []
    for parts in ([slice(0, 6)], [slice(0, 2), slice(2, 6)]):
        network.zero_grad()
        logits = torch.cat([network(images[part], labels[part]) for part in parts])
        (logits * torch.arange(6)).sum().backward()
        results.append([logits.detach(), *(p.grad.clone() for p in network.parameters())])
    for together, apart in zip(*results, strict=True):
        torch.testing.assert_close(together, apart)
