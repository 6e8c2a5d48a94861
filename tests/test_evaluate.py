"""What the judging classifier says, on images whose class is the place of a bright square."""

import json
import math
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sagan_core import Discriminator, Generator, SAGANConfig, load_checkpoint, save_checkpoint
from sagan_core.attention import attention_layers, record_attention
from sagan_core.classifier import Classifier, class_accuracies, train_classifier
from sagan_core.data import DataError, ImageSet
from sagan_core.evaluate import check_classes, main, measure_attention, parser
from sagan_core.measures import image_changes, summarise
from sagan_core.quality import Budget, draw_samples, gan_test, gan_train
from sagan_core.reference import load_real, stratified_split
from sagan_core.sample import generate_images, latents
from sagan_core.state import calibrate

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("upper left", "upper right", "lower left", "lower right")
TINY = SAGANConfig(
    resolution=32,
    image_channels=1,
    classes=4,
    latent_size=8,
    width=8,
    attention=(8, 16),
    discriminator_attention=(8,),
)
BUDGET = Budget(steps=25)


def squares(count, seed):
    """Grey noise with a bright square in the quarter that is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = rng.integers(0, 120, (count, 1, 32, 32), np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, col = rng.integers(0, 9, 2) + 16 * np.array(divmod(label, 2))
        image[0, row : row + 8, col : col + 8] = 250
    return ImageSet(images, labels, NAMES, "squares")


def relabelled(data, share, seed=0):
    """A share of the images get a random label."""
    rng = np.random.default_rng(seed)
    noisy = rng.random(len(data)) < share
    labels = np.where(noisy, rng.integers(0, 4, len(data)), data.labels)
    return replace(data, labels=labels)


@pytest.fixture(scope="module")
def train():
    return squares(400, seed=1)


@pytest.fixture(scope="module")
def test():
    return squares(200, seed=2)


@pytest.fixture(scope="module")
def judge(train):
    return train_classifier(train, BUDGET.steps)


@pytest.fixture
def tiny_folder(tmp_path):
    return save_tiny(tmp_path / "tiny", TINY, NAMES)


def save_tiny(folder, config, names):
    torch.manual_seed(0)
    generator, discriminator = Generator(config), Discriminator(config)
    with torch.no_grad():
        for network in (generator, discriminator):
            for layer in attention_layers(network).values():
                layer.gamma.fill_(0.5)
        calibrate(generator, batches=1)
    training = {"data": "squares", "data_images": 40, "images": 640, "steps": 10, "seconds": 1}
    about = training | {"hardware": "a test", "command": "python"}
    save_checkpoint(folder, generator, discriminator, names, about)
    return folder


def save_npz(path, data):
    np.savez(path, images=data.images, labels=data.labels, class_names=np.array(data.class_names))
    return path


# ---- the classifier


def test_the_classifier_at_the_shipped_size_counted_by_hand():
    stages = ((4, 32), (32, 64), (64, 128))
    parameters = sum(9 * i * o + 9 * o * o + 4 * o for i, o in stages) + 128 * 10 + 10
    found = Classifier(1, 32, 10)
    assert sum(p.numel() for p in found.parameters()) == parameters == 289_034
    assert found(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("resolution", [32, 64, 256])
def test_features_are_as_wide_at_every_resolution(resolution):
    with torch.device("meta"):
        images = torch.zeros(2, 3, resolution, resolution)
        assert Classifier(3, resolution, 5).features(images).shape == (2, 128)


def test_per_class_accuracy_counted_by_hand():
    class Always(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor([0.0, 1.0, 0.0]))

        def forward(self, images):
            return self.logits.expand(len(images), 3)

    images = np.zeros((5, 1, 32, 32), np.uint8)
    data = ImageSet(images, np.array([0, 1, 1, 1, 0]), ("a", "b", "absent"), "zeros")
    found = class_accuracies(Always(), data, batch_size=2)
    np.testing.assert_array_equal(found, [0, 1, np.nan])


# ---- what it says of samples


def test_real_accuracy_is_high(judge, test):
    assert class_accuracies(judge, test).mean() > 0.95


def test_training_images_as_samples_give_gan_test_like_real(judge, train, test):
    assert abs(gan_test(judge, train).mean() - class_accuracies(judge, test).mean()) < 0.05


def test_samples_with_shuffled_labels_are_at_chance(judge, train):
    shuffled = replace(train, labels=np.random.default_rng(0).permutation(train.labels))
    assert abs(gan_test(judge, shuffled).mean() - 1 / 4) < 0.08


def test_a_class_without_its_square_fails_alone(judge, train):
    images = train.images.copy()
    images[train.labels == 2] = 60
    found = gan_test(judge, replace(train, images=images))
    assert found[2] < 0.5
    assert np.delete(found, 2).min() > 0.9


def test_label_noise_lowers_gan_train(judge, train, test):
    # Trained on the real images themselves, it is the same classifier: 25 steps, seed 0.
    clean = class_accuracies(judge, test).mean()
    assert gan_train(relabelled(train, share=0.9), test, BUDGET).mean() < clean - 0.05


def test_the_same_seed_gives_the_same_classifier(train):
    first, again, other = (train_classifier(train, 2, s, batch_size=16) for s in (3, 3, 4))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(first.to_logits.weight, other.to_logits.weight)


def test_rows_select_the_training_images(train):
    rows = np.arange(0, 100, 2)
    part = replace(train, images=train.images[rows], labels=train.labels[rows])
    chosen = train_classifier(train, 2, rows=rows, batch_size=16)
    copied = train_classifier(part, 2, batch_size=16)
    assert torch.equal(chosen.to_logits.weight, copied.to_logits.weight)


# ---- data


def test_a_stratified_split_takes_the_same_share_of_every_class():
    labels = np.repeat([0, 1, 2, 3], [100, 30, 5, 1])
    kept, held = stratified_split(labels, 0.1)
    assert np.bincount(labels[held], minlength=4).tolist() == [10, 3, 1, 0]
    assert sorted([*kept, *held]) == list(range(len(labels)))
    np.testing.assert_array_equal(stratified_split(labels, 0.1)[1], held)


def test_data_without_a_test_part_is_split_and_says_so(tmp_path):
    source = save_npz(tmp_path / "squares.npz", squares(40, seed=3))
    real = load_real(source, 32, 1)
    assert (len(real), len(real.test)) == (36, 4)
    assert "held out" in real.note
    kept = {image.tobytes() for image in real.images.images[real.rows]}
    assert not kept & {image.tobytes() for image in real.test.images}


def test_one_image_per_class_leaves_nothing_to_test_on(tmp_path):
    source = save_npz(tmp_path / "four.npz", squares(4, seed=3))
    with pytest.raises(DataError, match="no class with two images"):
        load_real(source, 32, 1)


def test_an_idx_folder_brings_its_own_test_part(tmp_path):
    for stem, count in (("train", 20), ("t10k", 8)):
        data = squares(count, seed=count)
        for kind, array in (("images-idx3", data.images[:, 0]), ("labels-idx1", data.labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            content = bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()
            (tmp_path / f"{stem}-{kind}-ubyte").write_bytes(content)
    real = load_real(tmp_path, 32, 1)
    assert (len(real), len(real.test), real.rows) == (20, 8, None)
    np.testing.assert_array_equal(real.test.images, squares(8, seed=8).images)


# ---- samples and attention


def test_samples_have_equal_classes_and_follow_their_seed(tiny_folder):
    generator = load_checkpoint(tiny_folder).generator
    samples = draw_samples(generator, NAMES, 10, seed=5, chunk=4)
    assert samples.images.shape == (10, 1, 32, 32)
    assert np.bincount(samples.labels).tolist() == [3, 3, 2, 2]
    again, other = (draw_samples(generator, NAMES, 10, seed, chunk=4) for seed in (5, 6))
    np.testing.assert_array_equal(samples.images, again.images)
    assert (samples.images != other.images).any()
    assert (samples.images[:4] != samples.images[4:8]).any()
    seed = int(np.random.SeedSequence(5).generate_state(1)[0])
    straight = generate_images(generator, torch.arange(4), 4, seed)
    np.testing.assert_array_equal(samples.images[:4], straight.transpose(0, 3, 1, 2))


def test_attention_in_chunks_is_the_summary_of_one_pass(tiny_folder):
    checkpoint = load_checkpoint(tiny_folder)
    found = measure_attention(checkpoint, count=10, seed=7, chunk=4)
    labels = torch.arange(10) % 4
    with torch.no_grad(), record_attention(checkpoint.generator) as fields:
        images = checkpoint.generator(latents(checkpoint.generator, 7, 10), labels)
    with torch.no_grad(), record_attention(checkpoint.discriminator) as in_discriminator:
        checkpoint.discriminator(images, labels)
    expected = {f"generator.{name}": summarise(field) for name, field in fields.items()}
    first = latents(checkpoint.generator, 7, 10)[:4], labels[:4]
    for name, change in image_changes(checkpoint.generator, *first).items():
        expected[f"generator.{name}"]["image_change"] = change
    for name, field in in_discriminator.items():
        expected[f"discriminator.{name}"] = summarise(field)
    assert sorted(found) == [
        "discriminator.blocks.1.attention",
        "generator.blocks.0.attention",
        "generator.blocks.1.attention",
    ]
    for layer, summary in expected.items():
        assert found[layer] == pytest.approx(summary, rel=1e-4, abs=1e-6), layer


# ---- the command


def test_evaluate_end_to_end(tiny_folder, tmp_path, capsys):
    source = save_npz(tmp_path / "squares.npz", squares(80, seed=3))
    options = ["--data", str(source), "--samples", "30", "--epochs", "2", "--seed", "1"]
    assert main([str(tiny_folder), *options]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tiny_folder / "metrics.json").read_text())
    figures = {"real", "gan_test", "gan_train"}
    assert set(metrics["accuracy"]) == figures
    assert all(0 <= value <= 1 for value in metrics["accuracy"].values())
    assert list(metrics["per_class"]) == list(NAMES)
    for figure, mean in metrics["accuracy"].items():
        values = [row[figure] for row in metrics["per_class"].values()]
        assert math.isclose(np.mean(values), mean)
    assert metrics["images"] == 640
    assert "72 real training images, 8 real test images" in metrics["protocol"]
    assert "30 samples for GAN-test and 30 for GAN-train" in metrics["protocol"]
    words = shlex.split(metrics["command"])
    assert words[:4] == ["python", "-m", "sagan_core.evaluate", str(tiny_folder)]
    assert sorted(words[4:]) == sorted(options)
    checkpoint = load_checkpoint(tiny_folder)
    assert metrics["attention"] == measure_attention(checkpoint, seed=1)
    for name, figure in metrics["figures"].items():
        assert figure["seed"] == 1, name
        assert figure["features"] in {"classifier of the data set", "pixels"}, name
        assert min(figure[n] for n in ("samples", "real_samples", "reference")) > 0, name
        assert all(math.isfinite(figure[n]) for n in ("value", "real")), name
    assert "no weights of Inception-v3 were given" in printed
    grid = Image.open(tiny_folder / "neighbours.png")
    assert grid.size == (8 * 34 - 2, 10 * 34 - 2)
    card = " ".join((tiny_folder / "README.md").read_text().split())
    assert "(neighbours.png)" in card
    for shown in (
        "real-to-real",
        "Fréchet distance within classes",
        f"{metrics['accuracy']['gan_train']:.1%}",
        metrics["protocol"],
    ):
        assert shown in card
    for layer in metrics["attention"]:
        assert layer in printed
        assert f"| `{layer}` |" in card
    for title in (*NAMES, "GAN-test", "mean over classes"):
        assert title in printed


def test_an_unconditional_model_is_measured_without_classes(tmp_path, capsys):
    folder = save_tiny(tmp_path / "plain", replace(TINY, classes=0), ())
    source = save_npz(tmp_path / "squares.npz", squares(80, seed=3))
    assert main([str(folder), "--data", str(source), "--epochs", "1"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert not {"accuracy", "per_class"} & set(metrics)
    assert len(metrics["attention"]) == 3
    found = set(metrics["figures"])
    assert {"frechet_distance", "precision", "coverage", "closer_pixels"} <= found
    assert not {"gan_test", "gan_train", "class_frechet_distance"} & found
    assert "GAN-test and GAN-train: the model is unconditional" in capsys.readouterr().out


def test_data_without_classes_leaves_pixels_and_attention(tmp_path, capsys):
    folder = save_tiny(tmp_path / "plain", replace(TINY, classes=0), ())
    data = squares(40, seed=3)
    np.savez(tmp_path / "plain.npz", images=data.images)
    assert main([str(folder), "--data", str(tmp_path / "plain.npz")]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["figures"]) == {"closer_pixels", "copies_pixels"}
    assert metrics["figures"]["closer_pixels"]["reference"] == 40
    assert "the data has no classes" in capsys.readouterr().out
    assert "the data has no classes" in " ".join((folder / "README.md").read_text().split())


def test_a_model_without_attention_has_an_empty_table(tmp_path):
    plain = replace(TINY, attention=(), discriminator_attention=())
    checkpoint = load_checkpoint(save_tiny(tmp_path / "plain", plain, NAMES))
    assert measure_attention(checkpoint) == {}


@pytest.mark.parametrize(
    ("classes", "message"),
    [(3, "the model has 4 classes and .* has 3"), (5, "the model has 4 classes and .* has 5")],
)
def test_other_classes_than_the_model_has(tiny_folder, tmp_path, capsys, classes, message):
    data = squares(40, seed=3)
    names = tuple(map(str, range(classes)))
    other = replace(data, labels=np.arange(40) % classes, class_names=names)
    source = save_npz(tmp_path / "other.npz", other)
    assert main([str(tiny_folder), "--data", str(source)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not (tiny_folder / "metrics.json").exists()


def test_other_names_for_as_many_classes_are_noted(tiny_folder, tmp_path, capsys):
    data = replace(squares(40, seed=3), class_names=("upper left", "b", "c", "d"))
    real = load_real(save_npz(tmp_path / "other.npz", data), 32, 1)
    check_classes(load_checkpoint(tiny_folder), real)
    assert "class 'upper right' is 'b' in the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("checkpoint", "options", "message"),
    [
        ("missing", [], "does not exist"),
        ("tiny/generator.safetensors", [], "is a file, and what is measured is kept in a check"),
        ("tiny", ["--data", "nowhere"], "no data at nowhere"),
        ("tiny", ["--device", "abacus"], "device 'abacus' cannot be used here"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tiny_folder, tmp_path, capsys, checkpoint, options, message
):
    assert tiny_folder.name == "tiny"
    source = save_npz(tmp_path / "squares.npz", squares(40, seed=3))
    assert main([str(tmp_path / checkpoint), "--data", str(source), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "wrong", [["--samples", "0"], ["--seed", "-1"], ["--seed", str(2**32)], ["--epochs", "half"]]
)
def test_numbers_out_of_range_stop_the_command_line(wrong, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["folder", "--data", "set", *wrong])
    assert "is not a whole number from" in capsys.readouterr().err
