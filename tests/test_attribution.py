"""Whether the tests of a map tell the truth: planted layers, a knock-out of another make."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sagan_core import (
    Discriminator,
    Generator,
    SAGANConfig,
    SelfAttention,
    edit_attention,
    generate,
)
from sagan_core.attention import attention_layers, mask_keys
from sagan_core.attribution import (
    MAPS,
    PAIRS,
    gradient_shares,
    knock_out,
    probe_image,
    probe_layer,
    probe_sample,
)
from sagan_core.controls import randomised
from sagan_core.patch import EFFORTS, Patch
from sagan_core.sample import latents
from sagan_core.state import calibrate

ROOT = Path(__file__).parent.parent
CONFIG = SAGANConfig(
    resolution=32, width=8, classes=3, attention=(8, 16), discriminator_attention=(8,)
)


def generator_of(config=CONFIG, gamma=0.8, seed=0):
    torch.manual_seed(seed)
    generator = Generator(config)
    with torch.no_grad():
        for layer in attention_layers(generator).values():
            layer.gamma.fill_(gamma)
    calibrate(generator, 8, 2)
    return generator.eval()


@pytest.fixture(scope="module")
def generator():
    return generator_of()


@pytest.fixture(scope="module")
def sample(generator):
    return generate(generator, seed=4, label=2)


class Planted(nn.Module):
    """An 8x8 layer in which each cell looks at one key only: the one that its input names.

    With `alone`, the patch of a cell sees this cell only, and none of its neighbours.

    Input: channels 0 to 63 name a cell's own place, 64 to 127 the key it wants, 128 its value.
    """

    def __init__(self, alone):
        super().__init__()
        self.attention = SelfAttention(129, 64, 1, pool=False)
        self.to_image = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(129, 3, 3, padding=1))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            cells = torch.arange(64)
            self.attention.query.weight[cells, 64 + cells] = 12
            self.attention.key.weight[cells, cells] = 1
            self.attention.value.weight[0, 128] = 1
            self.attention.out.weight[128, 0] = 1
            self.attention.gamma.fill_(1)
            self.to_image[1].weight[:, 128] = torch.randn(3, 3, 3)
            if alone:
                self.to_image[1].weight[..., [0, 2], :] = 0
                self.to_image[1].weight[..., [0, 2]] = 0

    def forward(self, x):
        return torch.tanh(self.to_image(self.attention(x)))


def planted(seed=0, alone=False):
    """The network, its input, and the key, 0 to 63, of every cell."""
    torch.manual_seed(seed)
    network = Planted(alone).eval()
    keys = torch.randint(64, (64,))
    x = torch.zeros(1, 129, 64)
    x[0, torch.arange(64), torch.arange(64)] = 1
    x[0, 64 + keys, torch.arange(64)] = 1
    # Far from their mean, 0: the mean of all other values is what comes in a lost key's place.
    x[0, 128] = torch.randn(64).sign() * (0.3 + 0.2 * torch.rand(64))
    return network, x.view(1, 129, 8, 8), keys.view(8, 8)


@pytest.mark.parametrize("queries", ["pin", "all"])
def test_all_four_maps_find_the_planted_key(queries):
    found = {name: [] for name in MAPS}
    verdicts = []
    for seed in range(2):
        # Without keys for all queries, a neighbour's key is a cause too, where the patch sees it.
        network, x, keys = planted(seed, alone=queries == "all")
        probe = probe_layer(network, "attention", x)
        for row in range(8):
            for col in range(seed, 8, 3):
                evidence = probe.examine((row, col), queries)
                for name in MAPS:
                    found[name].append(int(evidence.maps[name].argmax()) == keys[row, col])
                verdicts.append(evidence.verdict.kind)
    assert {name: np.mean(hits) >= 0.95 for name, hits in found.items()} == dict.fromkeys(
        MAPS, True
    )
    assert np.mean([kind == "names" for kind in verdicts]) >= 0.95


def test_another_points_map_names_nothing_in_the_planted_layer():
    network, x, keys = planted()
    probe = probe_layer(network, "attention", x)
    chance = []
    for col in range(8):
        evidence = probe.examine((3, col), shuffled=True, seed=col)
        row, column = evidence.shuffled_from
        assert int(evidence.maps["attention"].argmax()) == keys[row, column]
        assert int(evidence.maps["knock-out"].argmax()) == keys[3, col]
        chance.append(keys[row, column] == keys[3, col] or evidence.verdict.kind == "chance")
    assert np.mean(chance) > 0.7


def test_blocks_of_keys_are_refined_to_the_key():
    network, x, keys = planted()
    patch = Patch.of(probe_layer(network, "attention", x).tail, None)
    coarse = Patch(**{**vars(patch), "effort": EFFORTS[-1].__class__(16, 8, 4, 8)})
    with torch.no_grad():
        for pin in [(0, 0), (4, 5), (7, 7)]:
            cell = tuple((place, place + 1) for place in pin)
            region = tuple((2 * place, 2 * place + 2) for place in pin)
            one = Patch.of(probe_layer(network, "attention", x).tail, region, cell)
            one = Patch(**{**vars(one), "effort": coarse.effort})
            effects, block = knock_out(one, (8, 8))
            assert block == 2
            assert int(effects.argmax()) == keys[pin]


def independent_knock_out(generator, sample, layer, pin, keys, everywhere):
    """Change of the pin's patch without `keys`: the whole model, hooks and a loop of the rule."""

    def edit(weights):
        edited = weights.clone()
        rows = range(weights.shape[1]) if everywhere else [pin]
        for row in rows:
            edited[:, row, keys] = 0
            left = edited[:, row].sum()
            if left > 0:
                edited[:, row] /= left
        return edited

    z = latents(generator, sample.seed, 1)
    labels = torch.tensor([sample.label])
    with torch.no_grad():
        before = generator(z, labels)
        with edit_attention(generator, layer, edit):
            after = generator(z, labels)
    return (after - before)[0] / 2


@pytest.mark.parametrize("layer", ["blocks.0.attention", "blocks.1.attention"])
@pytest.mark.parametrize("queries", ["pin", "all"])
def test_effects_are_those_of_an_independent_knock_out(generator, sample, layer, queries):
    probe = probe_sample(generator, sample, layer)
    height, width = probe.query_grid
    step = 32 // height
    pin = (height // 2, 1)
    evidence = probe.examine(pin, queries)
    effects = []
    everything = list(range(len(probe.lengths)))
    for keys in [*([key] for key in everything), everything]:
        change = independent_knock_out(
            generator, sample, layer, pin[0] * width + pin[1], keys, queries == "all"
        )
        patch = change[:, pin[0] * step : (pin[0] + 1) * step, pin[1] * step : (pin[1] + 1) * step]
        effects.append(float(patch.square().mean().sqrt()))
    singles = np.array(effects[:-1])
    expected = (singles / singles.sum()).reshape(probe.key_grid)
    np.testing.assert_allclose(evidence.maps["knock-out"], expected, atol=2e-3)
    assert evidence.queries_effect == pytest.approx(effects[-1], abs=1e-5)
    assert evidence.curve.sizes[0] == 1
    first = int(evidence.maps["attention"].argmax())
    assert evidence.curve.top["attention"][0] == pytest.approx(singles[first], abs=1e-5)


def test_shares_of_the_gradient_add_up_to_what_the_query_does(generator, sample):
    probe = probe_sample(generator, sample, "blocks.1.attention")
    patch = Patch.of(probe.tail, ((8, 10), (4, 6)), ((4, 5), (2, 3)))
    shares = gradient_shares(patch)
    with torch.no_grad():
        total = patch.effect(torch.zeros(1, patch.keys))
    assert float(shares.sum()) == pytest.approx(float(total), rel=0.05)


def test_maps_are_distributions_and_the_fields_own(generator, sample):
    probe = probe_sample(generator, sample, "blocks.1.attention")
    evidence = probe.examine((3, 12))
    field = sample.fields["blocks.1.attention"]
    np.testing.assert_allclose(evidence.maps["attention"], field.attended_by(3, 12)[0], atol=1e-6)
    out = attention_layers(generator)["blocks.1.attention"].out
    with torch.no_grad():
        added = out(probe.tail.value[None])[0].norm(dim=0)
    weighted = field.attended_by(3, 12)[0] * added
    np.testing.assert_allclose(
        evidence.maps["value-weighted"], weighted / weighted.sum(), atol=1e-6
    )
    for values in evidence.maps.values():
        assert values.shape == field.key_grid
        assert values.min() >= 0
        assert values.sum() == pytest.approx(1, abs=1e-5)
        assert not values.flags.writeable
    assert tuple(evidence.correlations) == PAIRS
    assert all(-1 <= value <= 1 for value in evidence.correlations.values())
    assert evidence.region == ((6, 8), (24, 26))
    assert evidence.block == 1
    assert evidence.whole_network == ""
    assert evidence.curve.random.shape == (20, len(evidence.curve.sizes))
    # All keys gone is the same for every order.
    assert evidence.curve.random[:, -1] == pytest.approx(evidence.queries_effect)


@pytest.mark.parametrize("trained", [False, True])
def test_with_gamma_0_the_layer_hardly_matters(trained):
    torch.manual_seed(0)
    generator = generator_of(gamma=0.0) if trained else Generator(CONFIG).eval()
    sample = generate(generator, 1, 0)
    probe = probe_sample(generator, sample, "blocks.1.attention")
    evidence = probe.examine((5, 5))
    assert evidence.verdict.words == "this layer hardly matters at all"
    assert evidence.layer_effect == 0
    assert not evidence.maps["knock-out"].any()
    assert not evidence.maps["gradient"].any()
    assert np.isnan(evidence.correlations["attention", "knock-out"])
    assert "0 of 255 grey levels" in evidence.verdict.reason


def test_a_flat_map_is_no_better_than_chance():
    generator = generator_of(gamma=20.0)
    layer = attention_layers(generator)["blocks.1.attention"]
    layer.query = nn.Conv2d(*layer.query.weight.shape[1::-1], 1, bias=False)
    nn.init.zeros_(layer.query.weight)
    probe = probe_sample(generator, generate(generator, 1, 0), "blocks.1.attention")
    evidence = probe.examine((8, 8))
    assert np.ptp(evidence.maps["attention"]) == 0
    assert evidence.verdict.words == "no better than chance here"


def test_the_average_point_and_the_logit(sample):
    torch.manual_seed(0)
    discriminator = Discriminator(CONFIG).eval()
    with torch.no_grad():
        attention_layers(discriminator)["blocks.1.attention"].gamma.fill_(2)
    probe = probe_image(discriminator, sample.image, sample.label, "blocks.1.attention")
    pixels = torch.tensor(sample.image).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        logit = discriminator(pixels, torch.tensor([sample.label]))[0]
    torch.testing.assert_close(probe.tail.output, logit)
    evidence = probe.examine(None)
    assert (evidence.unit, evidence.region, evidence.queries) == ("logit", None, "all")
    assert evidence.curve.nearest is None
    mean_row = probe.tail.weights.mean(0).reshape(probe.key_grid)
    np.testing.assert_allclose(evidence.maps["attention"], mean_row, atol=1e-6)
    # Without any key the layer adds nothing anywhere: both ways to take it out agree.
    assert evidence.queries_effect == pytest.approx(evidence.layer_effect, abs=1e-5)
    assert "the logit changes by" in evidence.verdict.reason
    pinned = probe.examine((2, 3))
    assert pinned.queries_effect < evidence.queries_effect


def test_random_weights_keep_the_layer_as_strong(generator, sample):
    z, labels = latents(generator, sample.seed, 1), torch.tensor([sample.label])
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    twin = randomised(generator, z, labels)
    for name, tensor in generator.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0)
    assert not twin.training
    own, other = (
        probe_layer(network, "blocks.0.attention", z, labels) for network in (generator, twin)
    )
    assert not torch.allclose(own.tail.output, other.tail.output, atol=0.1)
    shares = []
    for network in (generator, twin):
        field = generate(network, sample.seed, sample.label).fields["blocks.0.attention"]
        shares.append(float(field.update_share().median()))
    assert shares[1] == pytest.approx(shares[0], rel=0.02)
    control = own.with_random_weights()
    torch.testing.assert_close(control.tail.output, other.tail.output)


def test_masking_keys():
    weights = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]])
    kept = mask_keys(weights, torch.tensor([True, True, False]))
    torch.testing.assert_close(kept, torch.tensor([[[2 / 3, 1 / 3, 0], [0, 0, 0]]]))
    query, key = torch.randn(1, 4, 3), torch.randn(1, 4, 6)
    logits = query.transpose(1, 2) @ key
    mask = torch.tensor([1, 0, 1, 1, 0, 1])
    torch.testing.assert_close(
        mask_keys(logits.softmax(2), mask), logits.masked_fill(mask == 0, -torch.inf).softmax(2)
    )


def test_wrong_calls_are_refused(generator, sample):
    probe = probe_sample(generator, sample, "blocks.1.attention")
    with pytest.raises(IndexError, match="query cell \\(16, 0\\) is outside the 16x16 grid"):
        probe.examine((16, 0))
    with pytest.raises(ValueError, match="'pin' or 'all'"):
        probe.examine((0, 0), "some")
    with pytest.raises(ValueError, match="shuffled queries need a pin"):
        probe.examine(None, shuffled=True)


def test_one_pin_of_a_64_pixel_model_is_examined_at_once():
    """Three seconds on two idle cores are asked for; on one busy one this is far below them."""
    config = SAGANConfig(resolution=64, width=32, attention=(32,))
    torch.manual_seed(0)
    generator = Generator(config).eval()
    with torch.no_grad():
        attention_layers(generator)["blocks.2.attention"].gamma.fill_(1)
    probe = probe_sample(generator, generate(generator, 0), "blocks.2.attention")
    probe.examine((0, 0))
    began = time.process_time()
    evidence = probe.examine((16, 16))
    assert time.process_time() - began < 3
    assert evidence.curve.random.shape == (20, 9)


def test_captum_comes_late():
    code = (
        "import sys, sagan_core, sagan_core.attribution, sagan_core.faithfulness;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'captum', 'matplotlib'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert run.stdout.strip() == "[]"
