"""Attention against the equation written as loops, and the promises of its hooks."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sagan_core import (
    Attend,
    AttentionField,
    Discriminator,
    Generator,
    SAGANConfig,
    SelfAttention,
    edit_attention,
    record_attention,
)
from sagan_core.attention import mask_keys
from sagan_core.state import calibrate

GRIDS = [((3, 5), (3, 5)), ((4, 6), (2, 3)), ((1, 7), (5, 2))]


def field(query, key, x=None, out=None, gamma=1.0):
    x = torch.ones(len(query), 2, *query.shape[2:]) if x is None else x
    return AttentionField(query, key, x, torch.zeros_like(x) if out is None else out, gamma)


def planted(query_grid=(3, 4), key_grid=(2, 3), channels=5, batch=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, channels, *query_grid, generator=rng),
        torch.randn(batch, channels, *key_grid, generator=rng),
    )


def loop_weights(query, key):
    """beta[b][j][i] = exp(q_j . k_i) / sum_i exp(q_j . k_i), cell by cell."""
    batch, channels, height, width = query.shape
    key_height, key_width = key.shape[2:]
    rows = []
    for b in range(batch):
        for j in range(height * width):
            scores = []
            for i in range(key_height * key_width):
                q = query[b, :, j // width, j % width].tolist()
                k = key[b, :, i // key_width, i % key_width].tolist()
                scores.append(math.exp(sum(q[c] * k[c] for c in range(channels))))
            rows.append([score / sum(scores) for score in scores])
    return torch.tensor(rows).view(batch, height * width, key_height * key_width)


@pytest.mark.parametrize(("query_grid", "key_grid"), GRIDS)
def test_weights_are_the_equation(query_grid, key_grid):
    query, key = planted(query_grid, key_grid)
    torch.testing.assert_close(field(query, key).weights, loop_weights(query, key))


@pytest.mark.parametrize(("query_grid", "key_grid"), GRIDS)
@pytest.mark.parametrize("value_channels", [3, 5, 8])
def test_kernel_applies_the_weights(query_grid, key_grid, value_channels):
    query, key = planted(query_grid, key_grid)
    value = torch.randn(2, value_channels, *key_grid)
    expected = (field(query, key).weights @ value.flatten(2).transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(Attend()(query, key, value).flatten(2), expected)


@pytest.mark.parametrize(("query_grid", "key_grid"), GRIDS)
def test_rows_columns_and_summaries_are_those_of_the_matrix(query_grid, key_grid):
    attention = field(*planted(query_grid, key_grid))
    weights = attention.weights
    for row in range(query_grid[0]):
        for col in range(query_grid[1]):
            expected = weights[:, row * query_grid[1] + col].unflatten(1, key_grid)
            torch.testing.assert_close(attention.attended_by(row, col), expected)
    for row in range(key_grid[0]):
        for col in range(key_grid[1]):
            expected = weights[:, :, row * key_grid[1] + col].unflatten(1, query_grid)
            torch.testing.assert_close(attention.received_by(row, col), expected)
    entropy = -(weights * weights.log()).sum(-1)
    torch.testing.assert_close(attention.entropy().flatten(1), entropy)
    mean_row = weights.mean(1)
    torch.testing.assert_close(attention.mean_row().flatten(1), mean_row)
    divergence = (weights * (weights / mean_row.unsqueeze(1)).log()).sum(-1).mean(1)
    torch.testing.assert_close(attention.dependence(), divergence, atol=1e-6, rtol=1e-5)


def test_large_fields_are_walked_in_blocks():
    attention = field(*planted((48, 48), (48, 48), channels=4, batch=1))
    assert len(list(attention._row_blocks())) > 1
    torch.testing.assert_close(attention.mean_row().flatten(1), attention.weights.mean(1))
    assert attention.received_by(3, 3).shape == (1, 48, 48)


def test_a_key_next_to_nobody_looks_at_keeps_dependence_finite():
    query, key = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    query[..., 0], key[..., 1] = 1, -102.0
    query[..., 1] = 1.1
    assert field(query, key).dependence().isfinite()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("value_channels", [2, 8, 16])
def test_the_kernel_is_fused_in_every_layout(layout, value_channels):
    query, key = (tensor.to(memory_format=layout) for tensor in planted(channels=8))
    value = torch.randn(2, value_channels, 2, 3).to(memory_format=layout)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises where that kernel does not fit
        Attend()(query, key, value)


def test_dependence_is_zero_for_equal_rows_and_log_n_for_a_permutation():
    keys = 50 * torch.eye(6).view(1, 6, 2, 3)
    torch.testing.assert_close(field(keys, keys).dependence(), torch.tensor([math.log(6)]))
    same = torch.ones(1, 6, 2, 3)
    assert field(same, keys).dependence().item() == 0
    assert field(same, torch.zeros(1, 6, 2, 3)).entropy().unique().item() == pytest.approx(
        math.log(6)
    )


def test_value_weighted_rows_are_weights_times_strength():
    query, key = planted((3, 4), (2, 3))
    added = torch.randn(2, 7, 2, 3)
    one = replace(field(query, key), value=added, added=added)
    for row, col in ((0, 0), (2, 3)):
        product = one.attended_by(row, col) * added.norm(dim=1)
        expected = product / product.sum((1, 2), keepdim=True)
        torch.testing.assert_close(one.value_weighted(row, col), expected)
    nothing = replace(one, added=0 * added)
    assert nothing.value_weighted(1, 1).abs().max() == 0
    with pytest.raises(ValueError, match="without its values"):
        field(query, key).strength()


def test_effective_keys_are_as_many_as_are_looked_at_alike():
    key = torch.full((1, 1, 2, 4), -200.0)
    key[..., :3] = 0
    effective = field(torch.ones(1, 1, 3, 3), key).effective_keys()
    torch.testing.assert_close(effective, torch.full((1, 3, 3), 6.0))


def test_masked_keys_get_nothing_and_the_others_share_it():
    query, key = planted((2, 2), (2, 3))
    mask = torch.tensor([1, 0, 1, 1, 0, 1])
    logits = query.flatten(2).transpose(1, 2) @ key.flatten(2)
    expected = torch.softmax(logits.masked_fill(mask == 0, -torch.inf), -1)
    masked = mask_keys(field(query, key).weights, mask)
    torch.testing.assert_close(masked, expected)
    assert mask_keys(masked, torch.zeros(6)).abs().max() == 0


def test_planted_row_is_found():
    query, key = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 3)
    query[0, 0, 2, 1], key[0, 0, 1, 2] = 1, math.log(5)
    attention = field(query, key)
    expected = torch.full((1, 2, 3), 0.1)
    expected[0, 1, 2] = 0.5
    torch.testing.assert_close(attention.attended_by(2, 1), expected)
    torch.testing.assert_close(attention.attended_by(0, 0), torch.full((1, 2, 3), 1 / 6))


def test_update_share_is_the_relative_size_of_the_update():
    x, out = torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, 3)
    x[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    out[0, :, 0, 0] = torch.tensor([0.0, 2.0])
    out[0, 0, 0, 1] = 1
    share = field(torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 3), x, out, gamma=-0.5)
    assert share.update_share().tolist() == [[[pytest.approx(0.2), math.inf, 0.0]]]


def test_a_pixel_belongs_to_the_cell_that_covers_it():
    attention = field(torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 2, 2))
    size = (32, 32)
    assert attention.query_cell(0, 0, size) == (0, 0)
    assert attention.query_cell(31, 31, size) == (3, 7)
    assert attention.query_cell(3.99, 7.99, size) == (0, 0)
    assert attention.query_cell(4, 8, size) == (1, 1)
    for x, y in ((32, 0), (0, 32), (-1, 0)):
        with pytest.raises(IndexError, match="outside the image of 32x32"):
            attention.query_cell(x, y, size)


def test_cells_outside_the_grid_are_named():
    attention = field(*planted((3, 4), (2, 3)))
    with pytest.raises(IndexError, match=r"query cell \(3, 0\) is outside the 3x4 grid"):
        attention.attended_by(3, 0)
    with pytest.raises(IndexError, match=r"key cell \(-1, 0\) is outside the 2x3 grid"):
        attention.received_by(-1, 0)


# ---- hooks

CONFIG = SAGANConfig(
    resolution=32,
    classes=3,
    latent_size=8,
    width=8,
    attention=(8, 32),
    discriminator_attention=(16, 8),
)


@pytest.fixture
def networks():
    torch.manual_seed(0)
    pair = Generator(CONFIG), Discriminator(CONFIG).eval()
    calibrate(pair[0], 8, 2)
    pair[0].eval()
    for network in pair:
        for module in network.modules():
            if isinstance(module, SelfAttention):
                nn.init.constant_(module.gamma, 3.0)
    return pair


@pytest.fixture
def latents():
    return torch.randn(2, 8), torch.tensor([0, 2])


def test_recording_changes_no_bit_and_finds_every_layer(networks, latents):
    generator, discriminator = networks
    z, labels = latents
    plain = generator(z, labels)
    with record_attention(generator) as fields, record_attention(discriminator) as judged:
        images = generator(z, labels)
        logits = discriminator(images, labels)
    assert torch.equal(plain, images)
    assert torch.equal(logits, discriminator(images, labels))
    assert list(fields) == ["blocks.0.attention", "blocks.2.attention"]
    assert list(judged) == ["blocks.0.attention", "blocks.1.attention"]
    assert [tuple(f.query_grid) for f in fields.values()] == [(8, 8), (32, 32)]
    assert [tuple(f.key_grid) for f in judged.values()] == [(8, 8), (4, 4)]
    assert fields["blocks.2.attention"].weights.shape == (2, 32 * 32, 16 * 16)


def test_fields_rebuild_the_layer(networks, latents):
    generator, _ = networks
    layer = generator.blocks[2].attention
    seen = []
    with (
        layer.register_forward_hook(lambda _, __, y: seen.append(y)),
        record_attention(generator) as fields,
    ):
        generator(*latents)
    recorded = fields["blocks.2.attention"]
    torch.testing.assert_close(seen[0], recorded.x + recorded.gamma * recorded.out)
    value = layer.pool(layer.value(recorded.x)).flatten(2).transpose(1, 2)
    attended = (recorded.weights @ value).transpose(1, 2).unflatten(2, (32, 32))
    torch.testing.assert_close(layer.out(attended), recorded.out, atol=1e-5, rtol=1e-4)


def test_what_keys_add_adds_up_to_the_update(networks, latents):
    inputs = latents, (torch.randn(2, 3, 32, 32), latents[1])
    for network, given in zip(networks, inputs, strict=True):
        with record_attention(network) as fields:
            network(*given)
        for one in fields.values():
            added = one.added.flatten(2).transpose(1, 2)  # (B, N_key, C)
            total = (one.weights @ added).transpose(1, 2).unflatten(2, one.query_grid)
            torch.testing.assert_close(total, one.out, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(one.strength(), one.added.square().sum(1).sqrt())
            assert one.to("cpu").added is one.added


@pytest.mark.parametrize("out", [nn.Conv2d(3, 6, 1, bias=True), nn.Identity()])
def test_a_bias_is_not_part_of_what_keys_add_and_a_missing_map_is_the_identity(out):
    torch.manual_seed(0)
    layer = SelfAttention(6, 2, 3 if isinstance(out, nn.Conv2d) else 6)
    layer.out = out
    model = nn.Sequential(layer)
    with record_attention(model) as fields:
        model(torch.randn(1, 6, 4, 4))
    one = fields["0"]
    expected = one.value
    if isinstance(out, nn.Conv2d):
        expected = out(one.value).detach() - out.bias.detach()[:, None, None]
    torch.testing.assert_close(one.added, expected)


def test_recording_in_training_mode_iterates_no_spectral_norm(networks, latents):
    generator = networks[0].train()
    state = copy.deepcopy(generator.state_dict())
    plain = generator(*latents)
    after = copy.deepcopy(generator.state_dict())
    generator.load_state_dict(state)
    with record_attention(generator):
        watched = generator(*latents)
    assert torch.equal(plain, watched)
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, after[name]), name
    assert all(module.training for module in generator.modules())


def test_hooks_are_gone_after_the_block_and_after_an_exception(networks, latents):
    generator, _ = networks
    with record_attention(generator) as fields:
        generator(*latents)
    first = fields["blocks.0.attention"]
    generator(*latents)
    assert fields["blocks.0.attention"] is first
    with pytest.raises(ZeroDivisionError), record_attention(generator):
        raise ZeroDivisionError
    with (
        pytest.raises(ZeroDivisionError),
        edit_attention(generator, "blocks.0.attention", lambda weights: weights),
    ):
        raise ZeroDivisionError
    for module in generator.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not getattr(module, "edits", ())


def test_recordings_nest(networks, latents):
    generator, _ = networks
    with record_attention(generator) as outer:
        generator(*latents)
        with record_attention(generator) as inner:
            generator(latents[0][:1], latents[1][:1])
    assert len(inner["blocks.0.attention"].query) == 1
    assert outer["blocks.0.attention"].query.shape == inner["blocks.0.attention"].query.shape


def test_edits_replace_the_weights_and_nest(networks, latents):
    generator, _ = networks
    name = "blocks.2.attention"
    plain = generator(*latents)

    def last_key_only(weights):
        return torch.zeros_like(weights).index_fill(2, torch.tensor(weights.shape[2] - 1), 1)

    with edit_attention(generator, name, lambda weights: weights):
        torch.testing.assert_close(generator(*latents), plain, atol=1e-5, rtol=1e-4)
    with edit_attention(generator, name, last_key_only):
        edited = generator(*latents)
        with edit_attention(generator, name, lambda weights: weights * 0):
            nothing = generator(*latents)
        assert torch.equal(generator(*latents), edited)
    assert not torch.allclose(edited, plain, atol=1e-2)
    gamma = generator.blocks[2].attention.gamma
    nn.init.zeros_(gamma)
    torch.testing.assert_close(nothing, generator(*latents))


def test_edits_reach_gradients_and_are_checked(networks, latents):
    generator, _ = networks
    scale = torch.ones((), requires_grad=True)
    with edit_attention(generator, "blocks.0.attention", lambda weights: weights * scale):
        generator(*latents).square().sum().backward()
    assert scale.grad.abs() > 0
    with (
        edit_attention(generator, "blocks.0.attention", lambda weights: weights[:, 1:]),
        pytest.raises(ValueError, match=r"must return weights of shape \(2, 64, 16\)"),
    ):
        generator(*latents)
    with (
        pytest.raises(KeyError, match=r"no attention layer 'blocks.9'.*blocks.0.attention"),
        edit_attention(generator, "blocks.9", lambda weights: weights),
    ):
        pass


def test_autocast_records_float32(networks, latents):
    generator, _ = networks
    with torch.autocast("cpu", torch.bfloat16), record_attention(generator) as fields:
        generator(*latents)
    recorded = fields["blocks.0.attention"]
    assert recorded.query.dtype == recorded.weights.dtype == torch.float32
    torch.testing.assert_close(recorded.weights.sum(-1), torch.ones(2, 64))


def test_what_cannot_be_hooked_raises(networks):
    generator, _ = networks
    with (
        pytest.raises(ValueError, match="Linear has no SelfAttention"),
        record_attention(nn.Linear(2, 2)),
    ):
        pass
    with (
        pytest.raises(RuntimeError, match="is compiled"),
        record_attention(torch.compile(generator, backend="eager")),
    ):
        pass
    with pytest.raises(RuntimeError, match="nothing was recorded"), record_attention(generator):
        pass
    generator.blocks[2].compile(backend="eager")
    with pytest.raises(RuntimeError, match=r"blocks\.2 is compiled"), record_attention(generator):
        pass


def test_a_compiled_wrapper_that_ran_before_is_not_silent(networks, latents):
    generator, _ = networks
    compiled = torch.compile(generator, backend="eager")
    compiled(*latents)
    with (
        pytest.raises(RuntimeError, match="nothing was recorded"),
        record_attention(generator),
    ):
        compiled(*latents)
