"""A seed, a class and a truncation fix an image and its fields."""

import dataclasses

import numpy as np
import pytest
import torch

from sagan_core import Generator, SAGANConfig, generate
from sagan_core.sample import generate_images, image_grid, sample_grid, to_uint8
from sagan_core.state import calibrate


def make(classes=3, attention=(16,)):
    torch.manual_seed(0)
    config = SAGANConfig(
        resolution=32,
        image_channels=1,
        classes=classes,
        latent_size=8,
        width=8,
        attention=attention,
        discriminator_attention=(),
    )
    generator = Generator(config)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("norm1.bias"):  # classes start out alike
                parameter.normal_()
    calibrate(generator, 8, 2)
    return generator


@pytest.fixture(scope="module")
def generator():
    return make()


def test_to_uint8_covers_the_range():
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5)
    assert to_uint8(values).ravel().tolist() == [0, 0, 128, 255, 255]


def test_the_same_on_every_run(generator):
    generator.train()
    first, second = generate(generator, 5, 1, 0.7), generate(generator, 5, 1, 0.7)
    assert generator.training
    assert np.array_equal(first.image, second.image)
    assert first.image.shape == (32, 32, 1)
    assert first.image.dtype == np.uint8
    (name,) = first.fields
    assert name == "blocks.1.attention"
    assert torch.equal(first.fields[name].query, second.fields[name].query)
    assert first.fields[name].weights.shape == (1, 256, 64)
    assert not np.array_equal(first.image, generate(generator, 6, 1, 0.7).image)
    assert not np.array_equal(first.image, generate(generator, 5, 2, 0.7).image)


def test_a_sample_cannot_be_changed(generator):
    sample = generate(generator)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.seed = 1
    with pytest.raises(ValueError, match="read-only"):
        sample.image[0, 0] = 0
    with pytest.raises(TypeError):
        sample.fields["x"] = None


def test_truncation_zero_is_the_classes_central_image(generator):
    images = [generate(generator, seed, 2, 0).image for seed in (1, 2)]
    assert np.array_equal(*images)


def test_no_label_draws_one_from_the_seed(generator):
    labels = [generate(generator, seed).label for seed in range(12)]
    assert set(labels) == {0, 1, 2}
    assert labels == [generate(generator, seed).label for seed in range(12)]


def test_models_without_classes_or_attention():
    sample = generate(make(classes=0, attention=()))
    assert sample.label is None
    assert not sample.fields


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed is -1; it must be a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "seed is"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"label": 3}, "label is 3; it must be a class index from 0 to 2"),
        ({"label": -1}, "label is -1"),
        ({"label": "cat"}, "label is 'cat'"),
        ({"truncation": 1.01}, "truncation is 1.01; it must be from 0 to 1"),
        ({"truncation": float("nan")}, "truncation is nan"),
        ({"truncation": "1"}, "it must be a number"),
    ],
)
def test_values_out_of_range_are_named(generator, values, message):
    with pytest.raises(ValueError, match=message):
        generate(generator, **values)
    with pytest.raises(ValueError, match="has no classes"):
        generate(make(classes=0), label=0)


def test_many_images_do_not_depend_on_the_batch_size(generator):
    labels = torch.tensor([0, 2, 1, 1, 0])
    together = generate_images(generator, labels, 5, seed=3)
    in_parts = generate_images(generator, labels, 5, seed=3, batch_size=2)
    assert together.shape == (5, 32, 32, 1)
    assert np.abs(together.astype(int) - in_parts).max() <= 1


def test_grids(generator):
    sheet = np.asarray(image_grid(np.full((3, 4, 5, 3), 9, np.uint8), columns=2))
    assert sheet.shape == (10, 12, 3)
    assert (sheet[:4, :5] == 9).all()
    assert (sheet[6:, 7:] == 255).all()
    assert sample_grid(generator, columns=4).size == (4 * 34 - 2, 3 * 34 - 2)
