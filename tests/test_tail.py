"""What comes after an attention layer, cropped, against the whole network."""

import math
import threading
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sagan_core import Discriminator, Generator, SAGANConfig, SelfAttention, edit_attention
from sagan_core.attention import attention_layers
from sagan_core.state import calibrate
from sagan_core.tail import record_tail


def config_of(**settings):
    return SAGANConfig(
        **{"resolution": 32, "width": 8, "discriminator_attention": (8,), **settings}
    )


CONFIGS = {
    "one layer": config_of(attention=(16,)),
    "classes": config_of(classes=3, attention=(8,), pool_keys=False),
    "several layers": config_of(attention=(8, 16, 32)),
    "64 pixels": config_of(resolution=64, width=4, attention=(8, 32), query_divisor=4),
}


def generator_of(config, gamma=0.8):
    """A generator in double precision whose attention and batch statistics do something."""
    torch.manual_seed(0)
    generator = Generator(config)
    with torch.no_grad():
        for layer in attention_layers(generator).values():
            layer.gamma.fill_(gamma)
        for name, tensor in generator.named_parameters():
            if name.endswith("gain"):
                tensor.uniform_(0.5, 1.5)
    calibrate(generator, 8, 2)
    return generator.double().eval()


def inputs_of(config):
    z = torch.randn(1, config.latent_size, dtype=torch.double)
    return z, torch.tensor([1]) if config.classes else None


def variants_of(tail, count=3):
    noise = torch.randn(count, *tail.attended.shape, dtype=tail.attended.dtype)
    return tail.attended + noise


def regions_of(height, width, cells):
    """The pixels of the corner, edge and centre cells of a cells x cells grid."""
    step = height // cells
    for row, col in [(0, 0), (0, cells - 1), (cells - 1, cells // 2), (cells // 2, cells // 3)]:
        yield (row * step, row * step + step), (col * step, col * step + step)
    yield (3, height - 5), (1, width)


def whole_network(tail, variants):
    return replace(tail, reason="for comparison").crop().run(variants)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_crop_is_the_whole(name):
    generator, inputs = generator_of(CONFIGS[name]), inputs_of(CONFIGS[name])
    for layer in attention_layers(generator):
        tail = record_tail(generator, layer, *inputs)
        assert not tail.reason
        variants = variants_of(tail)
        expected = whole_network(tail, variants)
        size = expected.shape[-1]
        for rows, cols in regions_of(size, size, tail.attended.shape[-1]):
            crop = tail.crop((rows, cols))
            source = variants[..., slice(*crop.source[0]), slice(*crop.source[1])]
            part = expected[..., slice(*rows), slice(*cols)]
            # Double precision: what is left is rounding, so a wrong cell at a border would show.
            torch.testing.assert_close(crop.run(source), part, atol=1e-10, rtol=0)


def cells_of(grid):
    yield (0, 1), (0, 1)
    yield (grid - 1, grid), (grid // 2, grid // 2 + 1)
    yield (grid // 2, grid // 2 + 1), (grid // 3, grid // 3 + 2)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_change_of_few_cells_is_followed_exactly(name):
    generator, inputs = generator_of(CONFIGS[name]), inputs_of(CONFIGS[name])
    for layer in attention_layers(generator):
        tail = record_tail(generator, layer, *inputs)
        grid = tail.attended.shape[-1]
        size = tail.output.shape[-1]
        for cell in cells_of(grid):
            rows, cols = (slice(*span) for span in cell)
            variants = tail.attended.repeat(2, 1, 1, 1)
            variants[..., rows, cols] = torch.randn_like(variants[..., rows, cols])
            expected = whole_network(tail, variants)
            assert tail.crop(changed=cell).source == cell
            for pixels in [((0, size), (0, size)), ((1, 6), (size // 2, size))]:
                crop = tail.crop(pixels, changed=cell)
                given = variants[..., slice(*crop.source[0]), slice(*crop.source[1])]
                part = expected[..., slice(*pixels[0]), slice(*pixels[1])]
                torch.testing.assert_close(crop.run(given), part, atol=1e-10, rtol=0)


@torch.no_grad()
def test_in_single_precision_the_crop_is_within_rounding():
    config = CONFIGS["one layer"]
    generator = generator_of(config).float()
    z, _ = inputs_of(config)
    tail = record_tail(generator, "blocks.1.attention", z.float())
    crop = tail.crop(((8, 10), (14, 16)))
    source = tail.attended[None, :, slice(*crop.source[0]), slice(*crop.source[1])]
    torch.testing.assert_close(crop.run(source)[0], tail.output[:, 8:10, 14:16], atol=2e-6, rtol=0)
    torch.testing.assert_close(tail.output, generator(z.float())[0], atol=2e-6, rtol=0)


def test_a_crop_reads_no_more_than_it_needs():
    config = CONFIGS["one layer"]
    tail = record_tail(generator_of(config), "blocks.1.attention", *inputs_of(config))
    # To the 2x2 pixels of cell (8, 8) lead three 3x3 convolutions, the first on the upsampled map.
    attended = tail.attended.clone().requires_grad_()
    patch = tail.crop().run(attended[None])[0, :, 16:18, 16:18]
    (gradient,) = torch.autograd.grad(patch.square().sum(), attended)
    rows = gradient.abs().sum((0, 2)).nonzero().flatten()
    cols = gradient.abs().sum((0, 1)).nonzero().flatten()
    crop = tail.crop(((16, 18), (16, 18)))
    assert crop.source == ((rows.min(), rows.max() + 1), (cols.min(), cols.max() + 1))


def test_gradients_flow_through_a_crop():
    config = CONFIGS["one layer"]
    tail = record_tail(generator_of(config), "blocks.1.attention", *inputs_of(config))
    crop = tail.crop(((0, 2), (30, 32)))
    source = tail.attended[None, :, slice(*crop.source[0]), slice(*crop.source[1])].clone()
    assert torch.autograd.gradcheck(crop.run, source.requires_grad_(), fast_mode=True)


@torch.no_grad()
def test_the_tail_of_a_discriminator_is_its_logit():
    config = config_of(classes=3, attention=(8,), discriminator_attention=(16, 8))
    torch.manual_seed(0)
    discriminator = Discriminator(config).double().eval()
    for layer in attention_layers(discriminator).values():
        layer.gamma.fill_(0.7)
    image = torch.randn(1, 3, 32, 32, dtype=torch.double)
    for layer in attention_layers(discriminator):
        tail = record_tail(discriminator, layer, image, torch.tensor([2]))
        assert not tail.reason
        variants = variants_of(tail)
        torch.testing.assert_close(tail.crop().run(variants), whole_network(tail, variants))
        cell = ((3, 4), (7, 8))
        one = tail.attended.repeat(3, 1, 1, 1)
        one[..., 3:4, 7:8] = variants[..., 3:4, 7:8]
        part = tail.crop(changed=cell).run(variants[..., 3:4, 7:8])
        torch.testing.assert_close(part, whole_network(tail, one))
        with pytest.raises(IndexError, match="logit"):
            tail.crop(((0, 1), (0, 1)))


class Foreign(nn.Module):
    """Built unlike ours: in-place ReLUs, pooling and odd strides, gates, joined channels."""

    def __init__(self, noisy=False, aliased=False):
        super().__init__()
        self.noisy, self.aliased = noisy, aliased
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.attention = SelfAttention(8, 2, 4)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 6, 5, stride=3, padding=1, output_padding=1)
        self.down = nn.Conv2d(6, 6, 3, stride=2, padding=2, dilation=2, groups=2)
        self.pool = nn.Sequential(nn.MaxPool2d(3, 2), nn.Upsample(scale_factor=2), nn.PReLU(6))
        self.last = nn.Conv2d(4, 3, 3, padding=1)
        nn.init.constant_(self.attention.gamma, 0.5)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        h = self.norm(self.attention(self.stem(x)))
        if self.aliased:
            flat = h.flatten(2)
            h.relu_()
            h = h - 3 * flat.unflatten(2, h.shape[2:])
        h = F.leaky_relu(self.up(F.relu(h, inplace=True)), 0.1, inplace=True)
        h = self.pool(self.down(h))
        h = torch.cat([h[:, :2], h[:, 4:] * h.mean((2, 3), keepdim=True).sigmoid()[:, 4:]], 1)
        if self.noisy:
            h = h + torch.rand_like(h)
        return F.avg_pool2d(torch.tanh(self.last(h)), 2)


def foreign(**options):
    torch.manual_seed(0)
    return Foreign(**options).double().eval(), torch.randn(1, 2, 12, 14, dtype=torch.double)


@torch.no_grad()
def test_a_network_of_another_build_needs_no_code_of_its_own():
    network, image = foreign()
    tail = record_tail(network, "attention", image)
    assert not tail.reason
    variants = variants_of(tail)
    expected = whole_network(tail, variants)
    for rows, cols in [((0, 1), (0, 1)), ((2, 4), (3, 5)), ((6, 7), (8, 9)), ((0, 7), (2, 3))]:
        crop = tail.crop((rows, cols))
        source = variants[..., slice(*crop.source[0]), slice(*crop.source[1])]
        torch.testing.assert_close(
            crop.run(source), expected[..., slice(*rows), slice(*cols)], atol=1e-10, rtol=0
        )
    # Through a gate that averages over all cells, one cell reaches every pixel.
    changed = tail.attended.clone()
    changed[:, :2, :3] = 3
    crop = tail.crop(((5, 7), (6, 9)), changed=((0, 2), (0, 3)))
    torch.testing.assert_close(
        crop.run(changed[None, :, :2, :3]), whole_network(tail, changed[None])[..., 5:7, 6:9]
    )


@torch.no_grad()
def test_what_cannot_be_replayed_runs_whole_and_says_so():
    network, image = foreign(aliased=True)
    tail = record_tail(network, "attention", image)
    assert "differs" in tail.reason
    crop = tail.crop(((0, 2), (0, 2)))
    assert crop.cost == math.inf
    expected = network(image)[..., :2, :2]
    torch.testing.assert_close(crop.run(tail.attended[None]), expected)
    noisy, image = foreign(noisy=True)
    assert "random" in record_tail(noisy, "attention", image).reason


@torch.no_grad()
def test_an_edit_of_a_later_layer_is_part_of_the_tail():
    config = CONFIGS["several layers"]
    generator, inputs = generator_of(config), inputs_of(config)
    with edit_attention(generator, "blocks.1.attention", lambda weights: weights.flip(2)):
        tail = record_tail(generator, "blocks.0.attention", *inputs)
        variants = variants_of(tail)
        expected = whole_network(tail, variants)[..., :4, :4]
    crop = tail.crop(((0, 4), (0, 4)))
    (top, bottom), (left, right) = crop.source
    torch.testing.assert_close(crop.run(variants[..., top:bottom, left:right]), expected)


@torch.no_grad()
def test_a_region_that_cannot_see_the_change_is_as_recorded():
    config = CONFIGS["one layer"]
    tail = record_tail(generator_of(config), "blocks.1.attention", *inputs_of(config))
    crop = tail.crop(((28, 32), (28, 32)), changed=((0, 1), (0, 1)))
    (top, bottom), (left, right) = crop.source
    given = torch.randn(2, len(tail.attended), bottom - top, right - left, dtype=torch.double)
    expected = tail.output[:, 28:, 28:].expand(2, -1, -1, -1)
    torch.testing.assert_close(crop.run(given), expected)


@torch.no_grad()
def test_a_forward_pass_of_another_thread_is_left_alone():
    config = CONFIGS["several layers"]
    generator, inputs = generator_of(config), inputs_of(config)
    others = []

    def interrupt(*_):
        """Run the network elsewhere, as a page does for another visitor, in mid-recording."""
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: others.append(elsewhere()))
            thread.start()
            thread.join()

    def elsewhere():
        with torch.no_grad():
            return generator(*inputs)

    expected = generator(*inputs)
    with generator.blocks[1].register_forward_pre_hook(interrupt):
        tail = record_tail(generator, "blocks.0.attention", *inputs)
    assert not tail.reason
    assert others
    for image in others:
        torch.testing.assert_close(image, expected)
    torch.testing.assert_close(tail.output, expected[0])


def test_an_edit_of_the_layer_itself_is_what_the_rows_are():
    config = CONFIGS["one layer"]
    generator, inputs = generator_of(config), inputs_of(config)
    with edit_attention(generator, "blocks.1.attention", lambda weights: weights.roll(1, 2)):
        edited = record_tail(generator, "blocks.1.attention", *inputs)
    plain = record_tail(generator, "blocks.1.attention", *inputs)
    torch.testing.assert_close(edited.weights, plain.weights.roll(1, 1))


def test_wrong_calls_are_refused():
    config = CONFIGS["one layer"]
    generator, (z, _) = generator_of(config), inputs_of(config)
    with pytest.raises(KeyError, match="no attention layer"):
        record_tail(generator, "blocks.7.attention", z)
    with pytest.raises(ValueError, match="one image"):
        record_tail(generator, "blocks.1.attention", z.repeat(2, 1))
    tail = record_tail(generator, "blocks.1.attention", z)
    with pytest.raises(IndexError, match="32x32"):
        tail.crop(((0, 33), (0, 2)))
    with pytest.raises(ValueError, match="training mode"):
        record_tail(generator.train(), "blocks.1.attention", z)
