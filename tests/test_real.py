"""The few real images that travel with a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from served import CONFIG, NAMES, make_generator

from sagan_core import CheckpointError, SAGANConfig, load_checkpoint, save_checkpoint
from sagan_core.data import ImageSet
from sagan_core.real import REAL, choose_real, main, read_real, save_real

SHIPPED = Path(__file__).parent.parent / "checkpoints" / "fashion-mnist-32"


def images(labels, channels=1):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (len(labels), channels, 32, 32), dtype=np.uint8)
    return ImageSet(pixels, np.array(labels, np.int64), NAMES, "made up")


def test_real_images_are_of_different_classes_and_come_back(tmp_path):
    data = images([0, 0, 2, 1, 0, 2])
    save_real(tmp_path, data, 5)
    real = read_real(tmp_path, CONFIG)
    assert real.labels.tolist() == [0, 1, 2, 0, 2]
    for index, found in zip((0, 3, 2, 1, 5), real.images, strict=True):
        np.testing.assert_array_equal(found, data.images[index].transpose(1, 2, 0))
    first = (tmp_path / REAL).read_bytes()
    save_real(tmp_path, data, 5)
    assert (tmp_path / REAL).read_bytes() == first


def test_without_classes_they_are_spread_over_the_data():
    assert (choose_real(images([0] * 9), 3).images == choose_real(images([0] * 9), 3).images).all()
    data = images([0] * 9)
    expected = data.images[[0, 4, 8]].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(choose_real(data, 3).images, expected)
    assert len(choose_real(data, 100)) == 9


def test_a_folder_without_the_file_has_none(tmp_path):
    assert len(read_real(tmp_path, CONFIG)) == 0


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((2, 16, 16, 1), np.uint8), "labels": np.zeros(2, int)}, "uint8"),
        ({"images": np.zeros((2, 32, 32, 1), float), "labels": np.zeros(2, int)}, "uint8"),
        ({"images": np.zeros((2, 32, 32, 1), np.uint8), "labels": np.array([0, 3])}, "labels"),
        ({"images": np.zeros((2, 32, 32, 1), np.uint8), "labels": np.zeros(3, int)}, "labels"),
        ({"pictures": np.zeros(1)}, "not an .npz of images"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, arrays, words):
    np.savez(tmp_path / REAL, **arrays)
    with pytest.raises(CheckpointError, match=words):
        read_real(tmp_path, CONFIG)
    (tmp_path / REAL).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError, match=r"not an \.npz"):
        read_real(tmp_path, CONFIG)


def test_the_command_writes_them_and_says_what_does_not_fit(tmp_path, capsys):
    folder, source = tmp_path / "tiny", tmp_path / "data.npz"
    save_checkpoint(folder, make_generator(CONFIG), None, NAMES)
    pixels = images([0, 1, 2]).images.transpose(0, 2, 3, 1)
    np.savez(source, images=pixels, labels=np.arange(3))
    assert main([str(folder), "--data", str(source)]) == 0
    assert len(read_real(folder, CONFIG)) == 3
    np.savez(source, images=pixels, labels=np.arange(3), class_names=list("abcd"))
    assert main([str(folder), "--data", str(source)]) == 2
    assert "4 classes, the model 3" in capsys.readouterr().err


def test_the_shipped_checkpoint_has_eight_of_different_classes():
    checkpoint = load_checkpoint(SHIPPED)
    assert isinstance(checkpoint.config, SAGANConfig)
    real = read_real(checkpoint.path, checkpoint.config)
    assert len(set(real.labels.tolist())) == len(real) == 8
