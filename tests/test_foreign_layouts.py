"""Other code bases' networks at full size and at other sizes, read from names and shapes alone."""

import json
from dataclasses import replace
from pathlib import Path

import published
import pytest
import torch

from sagan_core import (
    AttentionField,
    generate,
    open_checkpoint,
    open_discriminator,
    record_attention,
)
from sagan_core.engine import DescribedDiscriminator, DescribedGenerator
from sagan_core.foreign.opening import discriminator_layout, generator_config
from sagan_core.foreign.recognition import networks_in
from sagan_core.layout import DescribedConfig

GOLDEN = Path(__file__).parent / "golden"

FULL_SIZE = {
    "BigGAN-PyTorch SAGAN 128": published.biggan_generator(64, 128, 1000, 128, [64]),
    "BigGAN-PyTorch BigGAN 128": published.biggan_generator(96, 128, 1000, 120, [64], 128),
    "BigGAN-PyTorch BigGAN 128 D": published.biggan_discriminator(96, 128, 1000, [0]),
    "StudioGAN SAGAN 128": published.studiogan_generator(64, 128, 1000, 128, [4]),
    "StudioGAN SAGAN 128 D": published.studiogan_discriminator(64, 128, 1000, [1]),
    "StudioGAN SAGAN 64": published.studiogan_generator(64, 64, 200, 128, [3]),
    "StudioGAN SAGAN CIFAR-10": published.studiogan_generator(64, 32, 10, 128, [2]),
    "StudioGAN BigGAN 128": published.studiogan_generator(96, 128, 1000, 120, [4], 128),
    **{
        f"biggan-deep-{size}": published.deep_generator(
            published.deep_config(size, layers, place=8)
        )
        for size, layers in published.DEEP_LAYERS.items()
    },
    "heykeetae 64": published.heykeetae_generator(64, 128),
    "heykeetae 64 D": published.heykeetae_discriminator(64),
    "rosinality resnet": published.rosinality_residual_generator(
        [512, 512, 512, 256, 128, 64], 128, 1000, place=3
    ),
    "rosinality resnet D": published.rosinality_residual_discriminator(64, 1000),
    "rosinality dcgan": published.rosinality_plain_generator(
        [512, 512, 512, 512, 256, 128], 128, 1000, place=2
    ),
    "voletiv 128": published.voletiv_generator(64, 128, 1000),
    "voletiv 128 D": published.voletiv_discriminator(64, 1000),
    **{
        f"mmgeneration {file.stem}": {
            name: tuple(shape) for name, shape in json.loads(file.read_text())["keys"].items()
        }
        for file in sorted((GOLDEN / "full_size_keys").glob("*.json"))
    },
}


def learnt(tensors):
    """How many numbers of a layout are parameters, by their names."""
    kept = ("_u", "_v", ".u0", ".sv0", "_mean", "_var", "_tracked")
    return sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith(kept))


@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_tensor_of_a_published_layout_has_its_place(name):
    """Built without memory: reading raises where a tensor is left over or lacking."""
    settings = {}
    tensors = published.meta_tensors(FULL_SIZE[name])
    for network in networks_in("", tensors, Path("x.pth"), settings):
        reading = network.read()
        if network.role == "generator":
            make, config = DescribedGenerator, generator_config(network, reading)
        else:
            layout = discriminator_layout(reading)
            make = DescribedDiscriminator
            config = DescribedConfig("", 128, reading.classes, 1, discriminator=layout)
        with torch.device("meta"):
            built = make(config)
        expected = {key: tensor.shape for key, tensor in built.state_dict().items()}
        assert {key: tensor.shape for key, tensor in reading.tensors.items()} == expected
        if not network.family.name.startswith(("mmgen", "pytorch-pre", "ros", "vol", "hey")):
            assert sum(p.numel() for p in built.parameters()) == learnt(network.tensors)
        assert DescribedConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


VARIANTS = {  # other widths, resolutions and attention places: (shapes, resolution, attention)
    "BigGAN-PyTorch 64": (published.biggan_generator(2, 64, 3, 9, [8, 32]), 64, (8, 32)),
    "BigGAN-PyTorch 64 hierarchical": (
        published.biggan_generator(2, 64, 7, 15, [16], 5),
        64,
        (16,),
    ),
    "StudioGAN 64": (published.studiogan_generator(2, 64, 6, 11, [1, 3]), 64, (8, 32)),
    "StudioGAN 128 hierarchical": (
        published.studiogan_generator(8, 128, 4, 18, [5], 7),
        128,
        (128,),
    ),
    "heykeetae": (published.heykeetae_generator(16, 10), 64, (16, 32)),
    "rosinality resnet": (
        published.rosinality_residual_generator([24, 16, 16, 8], 6, 3, place=1),
        32,
        (8,),
    ),
    "rosinality dcgan": (
        published.rosinality_plain_generator([24, 16, 8, 8, 8], 6, 3, place=3),
        64,
        (64,),
    ),
    "voletiv": (published.voletiv_generator(2, 5, 4), 128, (32,)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_other_widths_resolutions_and_places_are_read_from_the_tensors(name, tmp_path):
    shapes, resolution, places = VARIANTS[name]
    torch.save(published.random_tensors(shapes), tmp_path / "1_G.pth")
    checkpoint = open_checkpoint(tmp_path / "1_G.pth")
    assert (checkpoint.config.resolution, checkpoint.config.attention) == (resolution, places)
    sample = generate(checkpoint.generator, seed=1)
    assert sample.image.std() > 1
    for field in sample.fields.values():
        assert isinstance(field, AttentionField)
        assert field.weights.sum(-1).allclose(torch.ones(()))


def test_biggan_deep_follows_its_config(tmp_path):
    config = published.deep_config(16, "-8-8 +8-4 -4-4 +4-4", place=0, width=4, latents=6)
    config |= {"num_classes": 3, "n_stats": 5}
    shapes = published.deep_generator(config)
    shapes |= {"generator.gen_z.weight_orig": (16 * 32, 12), "generator.gen_z.bias": (16 * 32,)}
    shapes |= {"generator.gen_z.weight_u": (16 * 32,)}
    for part in ("weight", "bias"):
        shapes[f"generator.bn.{part}"] = (16,)
    for part in ("running_means", "running_vars"):
        shapes[f"generator.bn.{part}"] = (5, 16)
    shapes |= published.torch_norm("generator.conv_to_rgb", (16, 16, 3, 3))
    torch.save(published.random_tensors(shapes), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.config.resolution, checkpoint.config.attention) == (16, (4,))
    assert generate(checkpoint.generator, 1, truncation=0.3).image.shape == (16, 16, 3)
    config["layers"][0][0] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert open_checkpoint(tmp_path).config.resolution == 32


DISCRIMINATORS = {  # shapes, resolution, attention
    "BigGAN-PyTorch 64": (published.biggan_discriminator(8, 64, 3, [1, 3]), 64, (16, 4)),
    "BigGAN-PyTorch 32": (published.biggan_discriminator(4, 32, 3, [2]), 32, (8,)),
    "StudioGAN 64": (published.studiogan_discriminator(8, 64, 3, [2]), 64, (16,)),
    "heykeetae": (published.heykeetae_discriminator(8), 64, (8, 4)),
    "rosinality resnet": (published.rosinality_residual_discriminator(8, 3), 128, (32,)),
    "voletiv": (published.voletiv_discriminator(8, 3), 128, (32,)),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_of_other_sizes(name, tmp_path):
    shapes, resolution, places = DISCRIMINATORS[name]
    torch.save(published.random_tensors(shapes), tmp_path / "1_D.pth")
    network = open_discriminator(tmp_path / "1_D.pth")
    config = replace(network.config, resolution=resolution)
    assert config.discriminator_attention == places
    images = torch.randn(2, 3, resolution, resolution).clamp(-1, 1)
    with torch.no_grad(), record_attention(network) as fields:
        logits = network(images, torch.tensor([0, 2]))
    assert logits.shape == (2,)
    assert [field.query_grid.height for field in fields.values()] == list(places)


GOLDEN_SHAPES = {
    "biggan_pytorch_sagan/G": published.biggan_generator(8, 32, 5, 16, [16]),
    "biggan_pytorch_biggan/G": published.biggan_generator(8, 32, 5, 20, [16], 12),
    "biggan_pytorch_sagan/D": published.biggan_discriminator(4, 32, 5, [0, 1, 2, 3]),
    "studiogan_sagan/G": published.studiogan_generator(8, 32, 5, 16, [2]),
    "studiogan_biggan/G": published.studiogan_generator(8, 32, 5, 20, [2], 12),
    "studiogan_sagan/D": published.studiogan_discriminator(8, 32, 5, [1]),
    "hf_biggan_deep/G": published.deep_generator(
        json.loads((GOLDEN / "hf_biggan_deep" / "G" / "config.json").read_text())
    ),
    "heykeetae/G": published.heykeetae_generator(8, 24),
    "heykeetae/D": published.heykeetae_discriminator(8),
    "rosinality_resnet/G": published.rosinality_residual_generator(
        [32, 32, 32, 16, 8, 4], 16, 5, place=3
    ),
    "rosinality_dcgan/G": published.rosinality_plain_generator(
        [16, 16, 16, 16, 8, 4], 16, 5, place=2
    ),
    "voletiv/G": published.voletiv_generator(4, 16, 5),
}


@pytest.mark.parametrize("case", GOLDEN_SHAPES)
def test_the_names_and_shapes_above_are_the_sources(case):
    manifest = json.loads((GOLDEN / case / "manifest.json").read_text())
    theirs = {name: tuple(shape) for name, shape in manifest["state_dict"].items()}
    assert theirs == GOLDEN_SHAPES[case]
