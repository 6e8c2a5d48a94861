"""Other code bases' checkpoints give their images and their attention."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sagan_core import (
    CheckpointError,
    edit_attention,
    generate,
    open_checkpoint,
    open_discriminator,
    record_attention,
)
from sagan_core.attention import attention_layers

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(str(file.parent.relative_to(GOLDEN)) for file in GOLDEN.glob("*/*/manifest.json"))
GENERATORS = [case for case in CASES if case.endswith("/G")]


def manifest(case):
    return json.loads((GOLDEN / case / "manifest.json").read_text())


def checkpoint_file(case):
    """mmgeneration's one file lies with its generator."""
    name = manifest(case)["checkpoint_file"]
    return next(file for file in (GOLDEN / case.split("/")[0]).glob(f"*/{name}"))


def open_case(case):
    """(network, its input, labels, expected tensors) of a golden case."""
    inputs = load_file(GOLDEN / case / "inputs.safetensors")
    expected = load_file(GOLDEN / case / "expected.safetensors")
    if case.endswith("/G"):
        network, given = open_checkpoint(checkpoint_file(case)).generator, inputs["z"]
    elif case.startswith("mmgen"):
        network = open_checkpoint(checkpoint_file(case)).discriminator
        given = inputs["image"][:, [2, 1, 0]]
    else:
        network, given = open_discriminator(checkpoint_file(case)), inputs["image"]
    return network, given, inputs, expected


def close(found, expected, tolerance):
    __tracebackhide__ = True
    error = (found - expected).abs().max().item()
    assert found.shape == expected.shape
    assert error <= tolerance * max(1, expected.abs().max().item()), error


def theirs(images, network):
    """Our images in the order of their colours."""
    reverse = network.config.source_channels == "BGR" and images.dim() == 4
    return images[:, [2, 1, 0]] if reverse else images


@pytest.mark.parametrize("case", CASES)
def test_a_golden_checkpoint_gives_its_images_and_its_attention(case):
    network, given, inputs, expected = open_case(case)
    with torch.no_grad(), record_attention(network) as fields:
        truncation = [inputs["truncation"].item()] if "truncation" in inputs else []
        output = network(given, inputs.get("y"), *truncation)
    close(theirs(output, network), expected["output"].reshape(output.shape), 1e-4)
    for index, field in enumerate(fields.values()):
        attends = {
            "query": field.query.flatten(2).mT,
            "key": field.key.flatten(2).mT,
            "out": field.x + field.gamma * field.out,
            "weights": field.weights[:, expected[f"attn.{index}.rows"]],
            "weights_colmean": field.weights.mean(1),
            "row_entropy": field.entropy().flatten(1),
        }
        for name, tensor in attends.items():
            close(tensor[1:2], expected[f"attn.{index}.{name}"], 1e-5)
        assert field.gamma == pytest.approx(expected[f"attn.{index}.gamma"].item())
    assert [list(field.query_grid) for field in fields.values()] == [
        place["hw"] for place in manifest(case)["attention"]
    ]


def test_statistics_follow_the_truncation():
    network, z, inputs, expected = open_case("hf_biggan_deep/G")
    for index, truncation in enumerate(inputs["truncation_extra"].tolist()):
        with torch.no_grad():
            images = network(z, inputs["y"], truncation)
        close(images, expected[f"output.truncation_{index}"], 1e-4)
    # Between two rows the sources' weights are interchanged: 0.58 / 0.02 is just below 29.
    means = network.norm.mean
    torch.testing.assert_close(network.norm._row(means, 0.58), means[28])


@pytest.mark.parametrize("case", GENERATORS)
def test_spectral_norms_are_those_that_the_source_used(case):
    norms = open_checkpoint(checkpoint_file(case)).recognised.spectral_norms
    expected = load_file(GOLDEN / case / "expected.safetensors")
    used = {
        name.replace("sn_sigma.", "generator."): sigma.item()
        for name, sigma in expected.items()
        if name.startswith("sn_sigma.")
    }
    ours = {name: norm for name, norm in norms.items() if not name.startswith("discriminator.")}
    assert ours == pytest.approx(used, rel=2e-5)


def test_an_average_is_taken_before_raw_weights():
    checkpoint = open_checkpoint(checkpoint_file("mmgen_sagan_biggan/G"))
    assert checkpoint.recognised.weights == "averaged"
    assert "taken before state_dict generator" in checkpoint.recognised.reasons
    assert open_checkpoint(checkpoint_file("mmgen_sagan_studio/G")).recognised.weights == "raw"


def test_names_of_attention_layers_are_kept():
    names = open_checkpoint(checkpoint_file("mmgen_sagan_inplace_multiattn/G")).recognised
    assert dict(names.native_names) == {
        "generator.layers.1": "conv_blocks.1",
        "generator.layers.3": "conv_blocks.3",
        "discriminator.layers.1": "conv_blocks.0",
        "discriminator.layers.3": "conv_blocks.2",
    }


@pytest.mark.parametrize("case", GENERATORS)
def test_sampling_recording_and_editing_need_no_special_case(case):
    checkpoint = open_checkpoint(checkpoint_file(case))
    config, generator = checkpoint.config, checkpoint.generator
    sample = generate(generator, seed=3, truncation=0.7)
    assert sample.image.shape == (config.resolution, config.resolution, config.image_channels)
    assert list(sample.fields) == list(attention_layers(generator))
    assert [field.query_grid.height for field in sample.fields.values()] == list(config.attention)
    assert len(checkpoint.class_names) == config.classes
    name, field = list(sample.fields.items())[-1]
    uniform = torch.full_like(field.weights, 1 / field.weights.shape[-1])
    with edit_attention(generator, name, lambda weights: uniform.expand_as(weights)):
        edited = generate(generator, seed=3, truncation=0.7)
    assert (edited.image != sample.image).any()


def test_truncation_of_biggan_deep_cuts_z_off_and_chooses_statistics():
    from sagan_core.sample import latents

    generator = open_checkpoint(checkpoint_file("hf_biggan_deep/G")).generator
    z = latents(generator, seed=0, count=2000)
    assert 1.9 < z.abs().max() <= 2
    # The standard deviation of a normal distribution cut off at 2.
    assert z.std().item() == pytest.approx(0.8796, abs=0.01)
    assert torch.equal(latents(generator, 0, 2000, 0.5), z * 0.5)
    with torch.no_grad():
        whole, half = (generator(z[:1], torch.tensor([1]), t) for t in (1.0, 0.5))
    assert not torch.equal(whole, half)


def test_files_of_dataparallel_open_alike(tmp_path):
    file = checkpoint_file("heykeetae/G")
    tensors = torch.load(file, weights_only=True)
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "1_G.pth")
    whole, wrapped = (
        open_checkpoint(path).generator.state_dict() for path in (file, tmp_path / "1_G.pth")
    )
    assert all(torch.equal(tensor, wrapped[name]) for name, tensor in whole.items())


def test_files_of_old_torch_open_alike(tmp_path):
    """Before torch 1.6 files were pickles one after the other, and batch norms had no counts."""
    file = checkpoint_file("heykeetae/G")
    tensors = {
        name: tensor
        for name, tensor in torch.load(file, weights_only=True).items()
        if not name.endswith("num_batches_tracked")
    }
    old = tmp_path / "1_G.pth"
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    one, other = (generate(open_checkpoint(path).generator, 1).image for path in (file, old))
    assert (one == other).all()


def test_a_discriminator_beside_its_generator_is_opened_with_it(tmp_path):
    for case, name in (
        ("biggan_pytorch_sagan/G", "G_ema.pth"),
        ("biggan_pytorch_sagan/D", "D.pth"),
    ):
        shutil.copy(checkpoint_file(case), tmp_path / name)
    for path in (tmp_path, tmp_path / "G_ema.pth"):
        checkpoint = open_checkpoint(path)
        assert "the discriminator is D.pth" in checkpoint.recognised.reasons
        images = torch.zeros(2, 3, 32, 32)
        logits = checkpoint.discriminator(images, torch.tensor([0, 1]))
        assert logits.shape == (2,)
        assert checkpoint.config.discriminator_attention == (16, 8, 8, 8)
    given = open_checkpoint(
        checkpoint_file("biggan_pytorch_sagan/G"), discriminator=tmp_path / "D.pth"
    )
    assert given.discriminator is not None


def test_raw_weights_beside_their_average_are_said_to_be(tmp_path):
    for name in ("G.pth", "G_ema.pth"):
        shutil.copy(checkpoint_file("biggan_pytorch_sagan/G"), tmp_path / name)
    (warning,) = open_checkpoint(tmp_path / "G.pth").recognised.warnings
    assert warning == "these are raw weights; G_ema.pth beside them has their average"
    assert open_checkpoint(tmp_path).recognised.weights == "averaged"


def test_a_layer_that_does_nothing_is_said_to_be(tmp_path):
    tensors = torch.load(checkpoint_file("biggan_pytorch_sagan/G"), weights_only=True)
    tensors["blocks.1.1.gamma"].fill_(0.001)
    torch.save(tensors, tmp_path / "G_ema.pth")
    (warning,) = open_checkpoint(tmp_path / "G_ema.pth").recognised.warnings
    assert warning.startswith("gamma of the generator's layers.2 is 0.001")


def test_tensors_without_settings_open_with_what_was_assumed(tmp_path):
    content = torch.load(checkpoint_file("mmgen_sagan_biggan/G"), weights_only=True)
    save_file(content["state_dict"], tmp_path / "sagan.safetensors")
    checkpoint = open_checkpoint(tmp_path / "sagan.safetensors")
    assert any("no config" in warning for warning in checkpoint.recognised.warnings)
    expected = load_file(GOLDEN / "mmgen_sagan_biggan/G/expected.safetensors")
    inputs = load_file(GOLDEN / "mmgen_sagan_biggan/G/inputs.safetensors")
    with torch.no_grad():
        images = checkpoint.generator(inputs["z"], inputs["y"])
    close(images[:, [2, 1, 0]], expected["output"], 1e-4)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("cross_replica", ("bn.running_mean", "bn.running_var", "bn.num_batches_tracked")),
        ("mybn", ("bn.stored_mean", "bn.stored_var", "bn.accumulation_counter")),
    ],
)
def test_biggan_pytorchs_other_batch_norms(option, names, tmp_path):
    file = checkpoint_file("biggan_pytorch_biggan/G")
    renamed = {}
    for name, tensor in torch.load(file, weights_only=True).items():
        norm, _, last = name.rpartition(".")
        if last in ("stored_mean", "stored_var"):
            renamed[f"{norm}.{names[last == 'stored_var']}"] = tensor
            renamed[f"{norm}.{names[2]}"] = torch.zeros(())
        else:
            renamed[name] = tensor
    torch.save(renamed, tmp_path / f"{option}_G.pth")
    one, other = (
        generate(open_checkpoint(path).generator, 1).image
        for path in (file, tmp_path / f"{option}_G.pth")
    )
    assert (one == other).all()


def test_mmgenerations_config_tells_what_tensors_do_not(tmp_path):
    content = torch.load(checkpoint_file("mmgen_sagan_studio/G"), weights_only=True)

    def image(**changes):
        changed = content["meta"] | {"config": content["meta"]["config"]}
        for old, new in changes.values():
            assert old in changed["config"]
            changed["config"] = changed["config"].replace(old, new)
        torch.save({**content, "meta": changed}, tmp_path / "sagan.pth")
        return generate(open_checkpoint(tmp_path / "sagan.pth").generator, 1).image

    plain = image()
    assert (plain != image(gain=("type='studio'", "type='SAGAN'"))).any()
    assert (plain != image(eps=("noise_size=24", "noise_size=24, norm_eps=0.5"))).any()
    assert (plain == image(other=("total_iters", "other_iters"))).all()


def test_files_converted_from_studiogan_are_red_green_blue(tmp_path):
    file = checkpoint_file("mmgen_sagan_studio/G")
    shutil.copy(file, tmp_path / "sagan_128_convert-studio-rgb_2021.pth")
    reversed_ = generate(open_checkpoint(file).generator, 1).image[:, :, ::-1]
    (converted,) = tmp_path.iterdir()
    assert (generate(open_checkpoint(converted).generator, 1).image == reversed_).all()


def test_class_names():
    from sagan_core.foreign.classes import class_names

    imagenet = class_names(1000)
    assert len(imagenet) == len(set(imagenet)) == 1000
    assert (imagenet[0], imagenet[207], imagenet[999]) == (
        "tench",
        "golden retriever",
        "toilet tissue",
    )
    assert class_names(10, "mmcls.CIFAR10")[3] == "cat"
    assert class_names(10)[3] == "class 3"
    assert class_names(0) == ()


def test_a_discriminator_where_a_generator_is_wanted():
    with pytest.raises(CheckpointError, match=r"discriminator of BigGAN-PyTorch.*needs its gen"):
        open_checkpoint(checkpoint_file("biggan_pytorch_sagan/D"))
    with pytest.raises(CheckpointError, match="holds no discriminator"):
        open_discriminator(checkpoint_file("biggan_pytorch_sagan/G"))
