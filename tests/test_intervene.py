"""What is changed in a model for a block: exact at its ends, and gone afterwards."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from served import CONFIG, FIRST, LAST, make_generator

from sagan_core import Discriminator, SAGANConfig, edit_attention, generate
from sagan_core.attention import attention_layers
from sagan_core.batchnorm import ConditionalBatchNorm
from sagan_core.intervene import (
    Place,
    can_mix_classes,
    generate_between,
    mixed_classes,
    scaled_gamma,
    spherical,
    without_keys,
)
from sagan_core.sample import drawn_label, judge, latents
from sagan_core.state import calibrate


@pytest.fixture(scope="module")
def generator():
    """Random weights, with classes that differ and images that are not grey."""
    generator = make_generator(CONFIG)
    for module in generator.modules():
        if isinstance(module, ConditionalBatchNorm):
            torch.nn.init.normal_(module.gain, 1, 0.5)
            torch.nn.init.normal_(module.bias, 0, 0.5)
    calibrate(generator, 16, 4)
    return generator.eval()


def image(generator, **settings):
    return generate(generator, 3, 1, **settings).image


def pixels(generator):
    with torch.no_grad():
        return generator(latents(generator, 3, 2), torch.tensor([1, 2]))


def test_gamma_times_one_changes_no_bit_and_times_zero_takes_the_layer_out(generator):
    plain = pixels(generator)
    with scaled_gamma(generator, LAST, 1.0):
        assert torch.equal(pixels(generator), plain)
    with scaled_gamma(generator, LAST, 0.0):
        without = pixels(generator)
    layer = attention_layers(generator)[LAST]
    generator.blocks[1].attention = torch.nn.Identity()
    try:
        assert torch.equal(pixels(generator), without)
    finally:
        generator.blocks[1].attention = layer
    assert not torch.equal(without, plain)


def test_models_are_left_as_they_were_also_after_an_exception(generator):
    before, plain = copy.deepcopy(generator.state_dict()), pixels(generator)
    parameters = dict(generator.named_parameters())
    for change in (
        lambda: scaled_gamma(generator, FIRST, -1.7),
        lambda: without_keys(generator, LAST, [3]),
        lambda: mixed_classes(generator, 1, 2, 0.3),
    ):
        with change():
            assert not torch.equal(pixels(generator)[0], plain[0])
        with pytest.raises(ZeroDivisionError), change():
            raise ZeroDivisionError
    after = generator.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameters[name] is one for name, one in generator.named_parameters())
    assert torch.equal(pixels(generator), plain)


def test_changes_nest_and_name_what_is_not_there(generator):
    with scaled_gamma(generator, LAST, 2.0), scaled_gamma(generator, LAST, -0.5):
        assert generate(generator, 3).fields[LAST].gamma == pytest.approx(-0.8)
    for change in (scaled_gamma(generator, "x", 1.0), without_keys(generator, "x", [])):
        with pytest.raises(KeyError, match="no attention layer 'x'"), change:
            pass
    with pytest.raises(ValueError, match="finite"), scaled_gamma(generator, LAST, math.nan):
        pass
    outside = without_keys(generator, LAST, [64])
    with pytest.raises(IndexError, match="key 64 is outside the 64 keys"), outside:
        pixels(generator)


def test_left_out_keys_are_not_looked_at(generator):
    plain, seen = pixels(generator), []
    with without_keys(generator, LAST, []):
        assert torch.equal(pixels(generator), plain)
    with (
        without_keys(generator, LAST, [0, 17]),
        edit_attention(generator, LAST, lambda weights: seen.append(weights) or weights),
    ):
        pixels(generator)
    (weights,) = seen
    assert weights[..., [0, 17]].abs().max() == 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    with without_keys(generator, LAST, range(64)), scaled_gamma(generator, FIRST, 1):
        everything = pixels(generator)
    with scaled_gamma(generator, LAST, 0):
        torch.testing.assert_close(pixels(generator), everything)


# ---- paths


def test_a_path_is_bit_equal_at_its_ends_and_moves_between_them(generator):
    start, end = Place(3, 1), Place(5)
    label = drawn_label(5, 3)
    at = {share: generate_between(generator, start, end, share, 0.8) for share in (0, 0.4, 0.6, 1)}
    np.testing.assert_array_equal(at[0].image, generate(generator, 3, 1, 0.8).image)
    np.testing.assert_array_equal(at[1].image, generate(generator, 5, None, 0.8).image)
    assert (at[0.4].seed, at[0.4].label) == (3, 1)
    assert (at[0.6].seed, at[0.6].label) == (5, label)
    forth = at[0.4].image.astype(int)
    back = generate_between(generator, end, start, 0.6, 0.8).image
    assert abs(forth - back).max() <= 1
    assert abs(forth - at[0].image).max() > 5
    assert abs(forth - at[1].image).max() > 5


def test_classes_are_mixed_on_a_straight_line(generator):
    z, first, second = latents(generator, 3, 1), torch.tensor([0]), torch.tensor([2])
    with torch.no_grad():
        plain = generator(z, first)
        with mixed_classes(generator, 0, 2, 0.0):
            assert torch.equal(generator(z, first), plain)
        with mixed_classes(generator, 0, 2, 1.0):
            assert torch.equal(generator(z, first), generator(z, second))
        gain = generator.blocks[0].norm1.gain.detach().clone()
        with mixed_classes(generator, 0, 2, 0.25):
            mixed = generator.blocks[0].norm1.gain[0]
            torch.testing.assert_close(mixed, 0.75 * gain[0] + 0.25 * gain[2])


def test_only_tables_can_be_mixed():
    config = SAGANConfig(
        resolution=32, width=16, latent_size=8, attention=(8,), discriminator_attention=()
    )
    plain = make_generator(config)
    assert not can_mix_classes(plain)
    with pytest.raises(ValueError, match="cannot be mixed"), mixed_classes(plain, 0, 0, 0.5):
        pass
    assert generate_between(plain, Place(0), Place(1), 0.5).label is None


def test_latents_go_over_the_sphere():
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 64)
    unit = first / first.norm()
    across = second - (second * unit).sum() * unit
    across = first.norm() * across / across.norm()
    half = spherical(first, across, 0.5)
    torch.testing.assert_close(half, (first + across) / math.sqrt(2))
    for at in (0.1, 0.5, 0.9):
        torch.testing.assert_close(spherical(first, across, at).norm(), first.norm())
        assert torch.equal(spherical(first, first, at), first)


@pytest.mark.parametrize("at", [-0.1, 1.1, math.nan])
def test_places_beside_the_path_are_refused(generator, at):
    with pytest.raises(ValueError, match="from 0 to 1"):
        generate_between(generator, Place(0), Place(1), at)
    with pytest.raises(ValueError, match="label"):
        generate_between(generator, Place(0, 99), Place(1), 0.5)


# ---- the discriminator


def test_a_discriminator_judges_an_image_and_is_watched():
    config = SAGANConfig(
        resolution=32, image_channels=1, classes=3, width=8, discriminator_attention=(16, 8)
    )
    torch.manual_seed(0)
    discriminator = Discriminator(config)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8)
    judgement = judge(discriminator, picture, 2)
    discriminator.eval()
    signed = torch.from_numpy(picture).permute(2, 0, 1)[None].float() * 2 / 255 - 1
    with torch.no_grad():
        expected = discriminator(signed, torch.tensor([2])).item()
    assert judgement.logit == pytest.approx(expected, abs=1e-5)
    assert list(judgement.fields) == ["blocks.0.attention", "blocks.1.attention"]
    with pytest.raises(ValueError, match="uint8"):
        judge(discriminator, picture[:16], 2)
    for label in (None, 3, -1):
        with pytest.raises(ValueError, match="label"):
            judge(discriminator, picture, label)
