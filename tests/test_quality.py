"""A checkpoint made worse on purpose: every figure must move the right way.

The real images are samples of the shipped generator, so that by construction it is perfect, and
what is done to it is all that is wrong with it.
"""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sagan_core import load_checkpoint
from sagan_core.batchnorm import ConditionalBatchNorm
from sagan_core.data import ImageSet
from sagan_core.memorisation import find_neighbours, neighbour_grid, pixels
from sagan_core.quality import Budget, Quality, draw_samples, measure_quality, train_judge
from sagan_core.reference import RealData
from sagan_core.sample import generate, generate_images

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = Path(__file__).parent.parent / "checkpoints" / "fashion-mnist-32"
CLASSES = 4
BUDGET = Budget(steps=30, seed=0)
SAMPLES = 200
DROPPED, KEPT = 1, 0


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(FOLDER)


def of_generator(checkpoint, generator):
    """Draws of the first classes of a generator, which has more."""
    names = checkpoint.class_names[:CLASSES]
    return partial(draw_samples, generator, names)


@pytest.fixture(scope="module")
def real(checkpoint):
    draw = of_generator(checkpoint, checkpoint.generator)
    return RealData(draw(300, 1001), draw(200, 1002), None, "drawn apart")


@pytest.fixture(scope="module")
def judge(real):
    return train_judge(real, BUDGET)


def measured(draw, real, judge):
    return measure_quality(draw, real, BUDGET, SAMPLES, judge=judge)


@pytest.fixture(scope="module")
def perfect(checkpoint, real, judge):
    return measured(of_generator(checkpoint, checkpoint.generator), real, judge)


@pytest.fixture(scope="module")
def noisy(checkpoint, real, judge):
    generator = copy.deepcopy(checkpoint.generator)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in generator.parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            parameter += 0.5 * noise * parameter.std(correction=0)
    return measured(of_generator(checkpoint, generator), real, judge)


@pytest.fixture(scope="module")
def dropped(checkpoint, real, judge):
    """One class draws what another does."""
    generator = copy.deepcopy(checkpoint.generator)
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, ConditionalBatchNorm):
                module.gain[DROPPED] = module.gain[KEPT]
                module.bias[DROPPED] = module.bias[KEPT]
    return measured(of_generator(checkpoint, generator), real, judge)


@pytest.fixture(scope="module")
def copied(real, judge):
    def training_images(count, seed, labels=None):
        rng = np.random.default_rng(seed)
        wanted = np.arange(count) % CLASSES if labels is None else labels
        rows = [rng.choice(np.flatnonzero(real.images.labels == label)) for label in wanted]
        return replace(real.images, images=real.images.images[rows], labels=wanted)

    return measured(training_images, real, judge)


def values(quality: Quality) -> dict[str, float]:
    return {key: figure.value for key, figure in quality.figures.items()}


LOWER = ("frechet_distance", "class_frechet_distance", "kernel_distance")
HIGHER = ("gan_test", "gan_train", "precision", "recall", "density", "coverage")


def test_a_perfect_generator_scores_as_real_images_do(perfect):
    for key in ("gan_test", "gan_train", "precision", "recall", "density", "coverage"):
        figure = perfect.figures[key]
        assert figure.value == pytest.approx(figure.real, abs=0.15), key
    for key in LOWER:
        figure = perfect.figures[key]
        assert abs(figure.value - figure.real) < 0.1 * abs(figure.real) + 0.5, key
    for key in ("closer_pixels", "closer_features"):
        assert perfect.figures[key].value == pytest.approx(0.5, abs=0.08), key
    for key in ("copies_pixels", "copies_features"):
        assert perfect.figures[key].value < 0.05, key


def test_noise_in_the_weights_moves_every_figure_the_right_way(perfect, noisy):
    good, bad = values(perfect), values(noisy)
    assert set(good) == set(bad)
    for key in LOWER:
        assert bad[key] > 2 * abs(good[key]), key
    for key in HIGHER:
        assert bad[key] < good[key] - 0.05, key
    for key in ("closer_pixels", "closer_features"):
        assert bad[key] < good[key], key


def test_a_dropped_class_shows_in_every_figure_of_variety(perfect, dropped):
    good, bad = values(perfect), values(dropped)
    for key in LOWER:
        assert bad[key] > 1.5 * abs(good[key]), key
    for key in ("gan_test", "gan_train", "recall", "coverage"):
        assert bad[key] < good[key] - 0.04, key
    # What is still drawn is as good as it was.
    assert bad["precision"] > good["precision"] - 0.1
    assert dropped.per_class["gan_test"][DROPPED] < 0.3
    assert dropped.per_class["frechet_distance"].argmax() == DROPPED
    others = np.delete(np.arange(CLASSES), DROPPED)
    assert dropped.per_class["gan_test"][others].min() > 0.8


def test_training_images_as_samples_are_called_out_as_copies(perfect, copied):
    found = values(copied)
    for key in ("closer_pixels", "copies_pixels", "closer_features", "copies_features"):
        assert found[key] > 0.99, key
    # All else takes them for a perfect generator's, which is why memorisation is measured.
    for key in HIGHER:
        assert found[key] > perfect.figures[key].real - 0.15, key
    for key in LOWER:
        assert found[key] < abs(perfect.figures[key].real) + 0.5, key


def test_figures_say_what_they_were_measured_on(perfect):
    figure = perfect.figures["frechet_distance"]
    assert (figure.samples, figure.real_samples, figure.reference) == (200, 200, 200)
    figure = perfect.figures["closer_pixels"]
    assert (figure.samples, figure.real_samples, figure.reference) == (200, 200, 300)
    assert {figure.seed for figure in perfect.figures.values()} == {0}


def test_samples_have_the_classes_of_the_data(checkpoint, real):
    rows = np.flatnonzero(real.images.labels != DROPPED)
    images = replace(real.images, images=real.images.images[rows], labels=real.images.labels[rows])
    asked = []

    def draw(count, seed, labels=None):
        asked.append(labels)
        return of_generator(checkpoint, checkpoint.generator)(count, seed, labels)

    quality = measure_quality(draw, replace(real, images=images), replace(BUDGET, steps=1), 40)
    assert set(asked[0]) == {0, 2, 3}
    assert [labels is None for labels in asked] == [False, True, True]
    assert np.isnan(quality.per_class["frechet_distance"]).tolist() == [False, True, False, False]


# ---- the page's path


def test_metrics_and_page_draw_the_same_image(checkpoint):
    labels = torch.tensor([8])
    drawn = generate_images(checkpoint.generator, labels, 1, seed=3)
    sample = generate(checkpoint.generator, seed=3, label=8)
    np.testing.assert_array_equal(drawn[0], sample.image)


# ---- nearest neighbours


def one_bright_pixel(places, level=255):
    images = np.zeros((len(places), 1, 32, 32), np.uint8)
    for image, place in zip(images, places, strict=True):
        image[0].flat[place] = level
    return ImageSet(images, np.zeros(len(places), np.int64), (), "points")


def test_neighbours_by_hand():
    training = one_bright_pixel(range(20))
    real = RealData(training, one_bright_pixel([100, 101, 102]), None, "points")
    samples = one_bright_pixel([7, 900], level=204)
    found = find_neighbours(real, samples, pixels, k=3)
    # 0.2 below its own training image; sqrt(1 + 0.8^2) from an image with another pixel.
    torch.testing.assert_close(found.distances[0, 0].item(), 0.2, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.distances[1, 0].item(), 1.64**0.5, rtol=1e-5, atol=0)
    assert found.indices[0, 0] == 7
    torch.testing.assert_close(found.baseline, torch.full((3,), 2**0.5).double())
    assert found.closer == 1
    assert found.copies == (1, 1)


def test_without_unseen_images_a_training_image_is_compared_with_the_others():
    training = one_bright_pixel([0, 0, 5, 6])
    real = RealData(training, training, np.arange(3), "all seen")
    baseline = find_neighbours(real, training, pixels, k=1).baseline
    expected = torch.tensor([0, 0, 2**0.5, 2**0.5]).double()
    torch.testing.assert_close(baseline.sort().values, expected)


def test_pixels_are_averaged_down_to_32():
    images = np.zeros((1, 3, 128, 128), np.uint8)
    images[0, 0, :2, :4] = 255
    found = pixels(ImageSet(images, np.zeros(1, np.int64), (), "one"), np.arange(1))
    assert found.shape == (1, 3 * 32 * 32)
    assert found[0, 0] == 0.5
    assert found[0, 1:].max() == 0


def test_the_grid_goes_from_the_closest_sample_to_the_farthest():
    real = RealData(one_bright_pixel(range(20)), one_bright_pixel([100]), None, "points")
    samples = one_bright_pixel([900, 7], level=204)
    found = find_neighbours(real, samples, pixels, k=3)
    grid = np.asarray(neighbour_grid(real, samples, found))
    assert grid.shape == (2 * 34 - 2, 4 * 34 - 2)
    np.testing.assert_array_equal(grid[:32, :32], samples.images[1, 0])
    np.testing.assert_array_equal(grid[:32, 34:66], real.images.images[7, 0])
    np.testing.assert_array_equal(grid[34:, :32], samples.images[0, 0])
