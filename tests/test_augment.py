"""Differentiable augmentation: each change by hand, gradients, and runs that go on bit for bit."""

import numpy as np
import pytest
import torch

from sagan_core import SAGANConfig
from sagan_core.augment import AUGMENTATIONS, augment, mirror
from sagan_core.data import DataError, ImageSet, load_images
from sagan_core.state import Recipe, TrainState
from sagan_core.train import train

CONFIG = SAGANConfig(
    resolution=32,
    classes=2,
    latent_size=4,
    width=8,
    attention=(8,),
    discriminator_attention=(8,),
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=8, side=16):
    return torch.rand(count, 3, side, side, generator=rng(5)) * 2 - 1


def test_translation_moves_by_at_most_an_eighth_and_fills_with_zeros():
    images = pictures(64) + 3
    moved = augment(images, ("translation",), rng())
    shifts = set()
    for image, result in zip(images, moved, strict=True):
        rows, cols = (result[0] != 0).nonzero(as_tuple=True)
        kept = result[:, rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        # What is left is a corner, an edge or all of the image.
        down = 16 - kept.shape[1] if rows.min() > 0 else kept.shape[1] - 16
        right = 16 - kept.shape[2] if cols.min() > 0 else kept.shape[2] - 16
        expected = torch.zeros_like(image)
        expected[:, max(0, down) : 16 + min(0, down), max(0, right) : 16 + min(0, right)] = image[
            :, max(0, -down) : 16 - max(0, down), max(0, -right) : 16 - max(0, right)
        ]
        assert torch.equal(result, expected)
        shifts.add((down, right))
    assert {row for row, _ in shifts} == {col for _, col in shifts} == {-2, -1, 0, 1, 2}


def test_cutout_blanks_one_square_of_half_the_side():
    images = torch.ones(200, 3, 16, 16)
    blank = augment(images, ("cutout",), rng())[:, 0] == 0
    assert blank.flatten(1).sum(1).max() == 64
    for mask in blank:
        rows, cols = mask.nonzero(as_tuple=True)
        assert mask.sum() == (rows.max() - rows.min() + 1) * (cols.max() - cols.min() + 1)
        assert rows.max() - rows.min() < 8
    assert blank.any(0).all()


def test_colour_changes_keep_their_bounds():
    grey = torch.zeros(500, 3, 4, 4)
    brighter = augment(grey, ("colour",), rng())
    assert brighter.min() >= -0.5
    assert brighter.max() <= 0.5
    assert torch.equal(brighter, brighter[:, :1, :1, :1].expand_as(brighter))
    images = pictures(500, 4)
    changed = augment(images, ("colour",), rng())
    # Spread over channels grows with saturation times contrast, at most 2 * 1.5.
    spread = (changed - changed.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    ratio = spread / (images - images.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    assert 0 <= ratio.min() < 0.1
    assert 2 < ratio.max() <= 3
    same_mean = changed.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert same_mean.abs().max() <= 0.5 + 1e-6


def test_nothing_asked_for_is_nothing_changed_and_nothing_drawn():
    source = rng()
    images = pictures()
    assert augment(images, (), source) is images
    assert torch.equal(source.get_state(), rng().get_state())


@pytest.mark.parametrize("kinds", [(kind,) for kind in AUGMENTATIONS] + [AUGMENTATIONS])
def test_the_same_draws_make_the_same_changes_and_gradients_flow(kinds):
    images = pictures()
    assert torch.equal(augment(images, kinds, rng(1)), augment(images, kinds, rng(1)))
    assert not torch.equal(augment(images, kinds, rng(1)), augment(images, kinds, rng(2)))
    exact = images.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, kinds, rng(1)), exact[:2, :, :4, :4])
    augment(exact, kinds, rng(1)).sum().backward()
    assert exact.grad.flatten(1).norm(dim=1).min() > 0


def test_half_of_the_allowed_images_are_mirrored():
    images = pictures(400, 4)
    allowed = torch.arange(400) % 2 == 0
    mirrored = mirror(images, allowed, rng())
    changed = (mirrored != images).flatten(1).any(1)
    assert not changed[~allowed].any()
    assert 70 < changed.sum() < 130
    assert torch.equal(mirrored[changed], images[changed].flip(3))


def planted():
    """Class 0 is bright at the left, class 1 too, but is one-sided."""
    images = np.zeros((24, 3, 32, 32), np.uint8)
    images[:, :, :, :16] = np.arange(200, 224, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(24, dtype=np.int64) % 2
    return ImageSet(images, labels, ("any", "one-sided"), "planted", one_sided=(1,))


@pytest.fixture(scope="module")
def recipe():
    return Recipe(
        batch_size=4, augment=AUGMENTATIONS, flip=True, balance=True, gamma=0.5, alike=True
    )


def test_an_augmented_run_goes_on_bit_for_bit(recipe):
    whole, first = (TrainState.start(CONFIG, recipe) for _ in range(2))
    layer = whole.generator.blocks[0].attention
    assert layer.gamma.item() == 0.5
    query, key = layer.query.state_dict(), layer.key.state_dict()
    assert all(torch.equal(query[name], key[name]) for name in query)
    iterator = train(whole, planted())
    for _ in range(4):
        next(iterator)
    iterator = train(first, planted())
    for _ in range(2):
        next(iterator)
    second = TrainState.start(CONFIG, recipe)
    second.load_state_dict(first.state_dict())
    iterator = train(second, planted())
    for _ in range(2):
        next(iterator)
    for one, other in (
        (whole.generator, second.generator),
        (whole.discriminator, second.discriminator),
    ):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_state_from_before_these_settings_goes_on_and_other_settings_do_not(recipe):
    plain = TrainState.start(CONFIG, Recipe(batch_size=4))
    saved = plain.state_dict()
    for name in ("augment", "flip", "balance", "gamma", "alike"):
        del saved["recipe"][name]
    plain.load_state_dict(saved)
    with pytest.raises(ValueError, match="augment"):
        TrainState.start(CONFIG, recipe).load_state_dict(saved)


def test_an_unknown_augmentation_is_an_error():
    with pytest.raises(ValueError, match=r"augment is .*'rotation'.* out of"):
        Recipe(augment=("rotation",))


def test_a_folder_says_which_classes_are_one_sided(tmp_path):
    from PIL import Image

    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), "red").save(tmp_path / name / "x.png")
    assert load_images(tmp_path, 32).one_sided == ()
    about = tmp_path / "classes.json"
    about.write_text('{"a": {"one_sided": false}, "c": {"one_sided": true}}')
    assert load_images(tmp_path, 32).one_sided == (2,)
    about.write_text('["a"]')
    with pytest.raises(DataError, match="one_sided"):
        load_images(tmp_path, 32)
