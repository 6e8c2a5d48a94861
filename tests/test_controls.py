"""Networks that have learnt nothing: alike for all, and fit to be compared with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from telling import LAYER, telling_checkpoint

from sagan_core import generate, open_checkpoint
from sagan_core.attention import attention_layers
from sagan_core.controls import randomised, shuffled
from sagan_core.sample import latents

DEEP = Path(__file__).parent / "golden" / "hf_biggan_deep" / "G"


@pytest.fixture(scope="module")
def generator():
    return telling_checkpoint().generator


def given(generator, label=0):
    return latents(generator, 0, 1), torch.tensor([label])


def test_random_weights_are_alike_for_all_and_keep_gammas(generator):
    state = torch.get_rng_state()
    first, second = (shuffled(generator, *given(generator)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    images = [generate(network, 5, 1).image for network in (first, second, generator)]
    np.testing.assert_array_equal(*images[:2])
    assert (images[0] != images[2]).any()
    assert images[0].astype(float).std() > 5  # an image, not one grey
    assert not first.training
    for name, layer in attention_layers(first).items():
        assert torch.equal(layer.gamma, attention_layers(generator)[name].gamma)


def test_every_tensor_keeps_its_numbers(generator):
    twin = dict(shuffled(generator, *given(generator)).named_parameters())
    for name, parameter in generator.named_parameters():
        kept = twin[name].detach().flatten().sort().values
        assert torch.equal(kept, parameter.detach().flatten().sort().values), name
        if parameter.unique().numel() > 100:
            assert not torch.equal(twin[name], parameter), name


def test_randomised_is_shuffled_with_the_layers_as_strong_as_they_were(generator):
    plain, twin = (make(generator, *given(generator)) for make in (shuffled, randomised))
    for name, parameter in plain.named_parameters():
        same = torch.equal(dict(twin.named_parameters())[name], parameter)
        assert same is not name.endswith("gamma"), name
    shares = [
        float(generate(network, 0, 0).fields[LAYER].update_share().median())
        for network in (generator, twin)
    ]
    assert shares[1] == pytest.approx(shares[0], rel=0.02)


def test_random_weights_of_a_model_of_another_code_base():
    generator = open_checkpoint(DEEP).generator
    drawn, again = (shuffled(generator, *given(generator)) for _ in range(2))
    first, second, learnt = (generate(one, 1, 0, 0.5) for one in (drawn, again, generator))
    assert (first.image == second.image).all()
    assert (first.image != learnt.image).any()
    assert first.image.std() > 5, "features did not fade on the way"
    for name, layer in attention_layers(generator).items():
        assert attention_layers(drawn)[name].gamma == layer.gamma
