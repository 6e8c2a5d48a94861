"""An attention layer in numbers, against hand-made fields and loops of the definitions."""

import math

import pytest
import torch

from sagan_core import AttentionField, Generator, SAGANConfig
from sagan_core.attention import SelfAttention, record_attention
from sagan_core.measures import cell_distances, distance_looked, image_changes, summarise
from sagan_core.sample import latents

CONFIG = SAGANConfig(
    resolution=32, classes=2, latent_size=4, width=8, attention=(8, 16), discriminator_attention=()
)


def field(query, key, gamma=1.0):
    x = torch.ones(len(query), 2, *query.shape[2:])
    return AttentionField(query, key, x, x / 2, gamma)


def random_field(seed=0):
    rng = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 3, 4, 6, generator=rng) + 1
    return field(query, torch.randn(2, 3, 2, 3, generator=rng))


def test_distances_are_between_centres_in_image_sides():
    one = field(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2))
    distances = cell_distances(one)
    assert distances.shape == (16, 4)
    assert distances[0, 0].item() == pytest.approx(math.hypot(1 / 8, 1 / 8))
    assert distances[0, 3].item() == pytest.approx(math.hypot(5 / 8, 5 / 8))
    everywhere = distance_looked(field(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)))
    assert everywhere.mean().item() == pytest.approx(0.5214, abs=2e-3)


def test_a_point_that_looks_at_one_cell_looks_as_far_as_that_cell():
    key = torch.full((1, 1, 2, 2), -100.0)
    key[0, 0, 1, 1] = 100
    looked = distance_looked(field(torch.ones(1, 1, 4, 4), key))
    assert looked[0, 0, 0].item() == pytest.approx(math.hypot(5 / 8, 5 / 8), abs=1e-5)
    assert looked[0, 3, 3].item() == pytest.approx(math.hypot(1 / 8, 1 / 8), abs=1e-5)


def test_pairwise_share_is_the_logits_own_decomposition():
    one = random_field()
    logits = one.query.flatten(2).transpose(1, 2) @ one.key.flatten(2)
    logits = logits - logits.mean(2, keepdim=True)
    shared = logits.mean(1, keepdim=True)
    pairwise = (logits - shared).square().mean((1, 2))
    expected = pairwise / (pairwise + shared.square().mean((1, 2)))
    torch.testing.assert_close(one.pairwise_share(), expected, atol=1e-5, rtol=1e-5)
    assert 0.05 < expected.min() < expected.max() < 0.95


def test_pairwise_share_at_its_ends():
    key = random_field().key
    same = torch.ones(2, 3, 4, 6)
    assert field(same, key).pairwise_share().tolist() == pytest.approx([0, 0], abs=1e-9)
    assert field(0 * same, key).pairwise_share().tolist() == [0, 0]
    query = random_field().query
    centred = query - query.mean((2, 3), keepdim=True)
    assert field(centred, key).pairwise_share().tolist() == pytest.approx([1, 1])


def test_centred_and_scaled_queries_reach_the_recorded_field():
    torch.manual_seed(0)
    plain = SelfAttention(8, 2, 4)
    changed = SelfAttention(8, 2, 4, centre=True, scale=3)
    changed.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 4, 4)
    with record_attention(plain) as before, record_attention(changed) as after:
        plain(x), changed(x)
    query = before[""].query
    expected = 3 * (query - query.mean((2, 3), keepdim=True))
    torch.testing.assert_close(after[""].query, expected)
    assert torch.equal(after[""].key, before[""].key)


def test_taking_a_layer_out_changes_nothing_where_gamma_is_zero():
    torch.manual_seed(0)
    generator = Generator(CONFIG)
    z, labels = latents(generator, 0, 4), torch.tensor([0, 1, 0, 1])
    generator(z, labels)
    layer = generator.blocks[1].attention
    layer.gamma.data.fill_(2.0)
    changes = image_changes(generator, z, labels)
    assert list(changes) == ["blocks.0.attention", "blocks.1.attention"]
    assert changes["blocks.0.attention"] == 0
    assert changes["blocks.1.attention"] > 0


def test_a_summary_holds_the_measures_of_its_field():
    one = random_field()
    summary = summarise(one)
    assert summary["update"] == pytest.approx(0.5)
    assert summary["keys"] == 6
    assert summary["effective_keys"] == pytest.approx(one.entropy().exp().mean().item())
    assert summary["distance"] == pytest.approx(distance_looked(one).mean().item())
    assert summary["pairwise"] == pytest.approx(one.pairwise_share().mean().item())
