"""A checkpoint folder gives back what went in, and a bad one says what is wrong with it."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from sagan_core import (
    CheckpointError,
    Discriminator,
    Generator,
    SAGANConfig,
    load_checkpoint,
    save_checkpoint,
)
from sagan_core.checkpoint import save_snapshot
from sagan_core.state import calibrate

CONFIG = SAGANConfig(
    resolution=32,
    classes=2,
    latent_size=4,
    width=8,
    attention=(8, 16),
    discriminator_attention=(),
    pool_keys=False,
)


@pytest.fixture
def networks():
    generator, discriminator = Generator(CONFIG), Discriminator(CONFIG)
    calibrate(generator, 4, 2)
    return generator.eval(), discriminator.eval()


@pytest.fixture
def folder(tmp_path, networks):
    save_checkpoint(tmp_path / "tiny", *networks, class_names=["a", "ü"], training={"data": "x"})
    return tmp_path / "tiny"


def test_round_trip_is_bit_identical(folder, networks):
    opened = load_checkpoint(folder)
    assert opened.config == CONFIG
    assert opened.class_names == ("a", "ü")
    assert opened.training == {"data": "x"}
    assert opened.name == "tiny"
    z, labels = torch.randn(3, 4), torch.tensor([0, 1, 0])
    images = networks[0](z, labels)
    assert torch.equal(opened.generator(z, labels), images)
    assert torch.equal(opened.discriminator(images, labels), networks[1](images, labels))
    save_checkpoint(folder.parent / "again", opened.generator, None, opened.class_names)
    again = load_checkpoint(folder.parent / "again")
    assert again.discriminator is None
    assert torch.equal(again.generator(z, labels), images)


def test_half_weights_are_half_the_size_and_keep_statistics_exact(tmp_path, networks, folder):
    save_checkpoint(tmp_path / "half", *networks, class_names=["a", "b"], half=True)
    for name in ("generator.safetensors", "discriminator.safetensors"):
        sizes = [(path / name).stat().st_size for path in (tmp_path / "half", folder)]
        assert sizes[0] < 0.7 * sizes[1]
    opened = load_checkpoint(tmp_path / "half").generator
    for name, tensor in networks[0].state_dict().items():
        kept = opened.state_dict()[name]
        assert kept.dtype == tensor.dtype
        expected = tensor.half().float() if name in dict(opened.named_parameters()) else tensor
        assert torch.equal(kept, expected), name


def test_snapshots_are_sorted_and_half_size(folder, networks):
    for images in (2000, 0, 500):
        save_snapshot(folder, networks[0], images)
    opened = load_checkpoint(folder)
    assert list(opened.snapshots()) == [0, 500, 2000]
    z, labels = torch.randn(2, 4), torch.tensor([0, 1])
    close = opened.load_snapshot(500)(z, labels)
    torch.testing.assert_close(close, networks[0](z, labels), atol=1e-2, rtol=1e-2)
    with pytest.raises(CheckpointError, match=r"no snapshot at 7 images; there are \[0, 500, 2000"):
        opened.load_snapshot(7)


def rewrite(folder, change):
    tensors = load_file(folder / "generator.safetensors")
    change(tensors)
    save_file(tensors, folder / "generator.safetensors")


BIAS = "to_image.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(BIAS), "lacks the tensor to_image.bias"),
        (lambda t: t.update(more=torch.zeros(1)), "has a tensor more that"),
        (lambda t: t.update({BIAS: torch.zeros(4)}), r"shape \(4,\); .* asks for \(3,\)"),
        (lambda t: t[BIAS].fill_(float("nan")), "to_image.bias holds numbers that are not finite"),
    ],
)
def test_a_wrong_tensor_is_named(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


class Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_truncated_and_pickled_files_are_refused(folder):
    file = folder / "generator.safetensors"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:4], b"", pickle.dumps(Hostile())):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("model"), "lacks 'model'"),
        (lambda c: c["model"].update(width="wide"), "width is 'wide'"),
        (lambda c: c["model"].update(width=10**9), "width is 1000000000"),
        (lambda c: c.update(format=3), "its format is 3, and this version reads 1 and 2"),
        (lambda c: c["model"].update(width=4000), "asks for 16000 channels"),
        (lambda c: c["model"].update(depth=3), r"unknown model settings \['depth'\]"),
        (lambda c: c["class_names"].pop(), "1 class names for 2 classes"),
    ],
)
def test_a_wrong_config_is_named(folder, change, message):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_what_is_missing_is_said(folder):
    with pytest.raises(
        CheckpointError, match=r"does not exist; expected a folder with config\.json"
    ):
        load_checkpoint(folder / "nowhere")
    with pytest.raises(CheckpointError, match="is a file, not a folder"):
        load_checkpoint(folder / "config.json")
    (folder / "generator.safetensors").rename(folder / "G.safetensors")
    with pytest.raises(CheckpointError, match=r"has no generator\.safetensors"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{")
    (folder / "G.safetensors").rename(folder / "generator.safetensors")
    with pytest.raises(CheckpointError, match="not a SAGAN Lens config"):
        load_checkpoint(folder)


def test_class_names_must_fit(tmp_path, networks):
    with pytest.raises(ValueError, match="0 class names for a model of 2 classes"):
        save_checkpoint(tmp_path, networks[0])
