"""Inception-v3 by way of torch-fidelity, with random weights in a file: the real way of loading."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_train import CONFIG

from sagan_core import Discriminator, Generator, save_checkpoint
from sagan_core.data import ImageSet
from sagan_core.evaluate import main
from sagan_core.inception import (
    InceptionError,
    download_weights,
    inception_features,
    is_published,
    load_inception,
)
from sagan_core.metrics import (
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)

OPERATORS: list[torch.library.Library] = []


@pytest.fixture(scope="module")
def torch_fidelity():
    """The package; its torchvision is imported though built for another torch than is here.

    A torchvision that is built for CUDA finds its operators missing beside a torch without, and
    its import stops there. Inception-v3 asks for none of them: declared, they are not missed.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is not here: pip install -r requirements-inception.txt")
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    try:
        torch.ops.load_library(next(folder.glob("_C*.so")))
    except OSError:
        if not OPERATORS:
            OPERATORS.append(torch.library.Library("torchvision", "DEF"))
            for name in ("nms", "qnms"):
                arguments = "Tensor dets, Tensor scores, float iou_threshold"
                OPERATORS[0].define(f"{name}({arguments}) -> Tensor")
    import torch_fidelity

    return torch_fidelity


@pytest.fixture(scope="module")
def weights(torch_fidelity, tmp_path_factory):
    """Random weights under the names of torch-fidelity's, as a file."""
    from torchvision.models import inception_v3

    assert torch_fidelity.__version__
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = inception_v3(
            weights=None, aux_logits=False, init_weights=False, transform_input=False
        )
        network.fc = torch.nn.Linear(2048, 1008)
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), file)
    return file


def pictures(count, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, channels, 32, 32), np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    for image, label in zip(images, labels, strict=True):
        image[:, 16 * label : 16 * label + 16] //= 4
    return ImageSet(images, labels, ("below", "above"), "noise")


def test_features_of_grey_are_those_of_equal_channels(weights):
    network = load_inception(weights)
    grey = pictures(3)
    features, logits = inception_features(network, grey)
    assert (features.shape, logits.shape) == ((3, 2048), (3, 1008))
    assert features.dtype == logits.dtype == torch.float32
    colour = ImageSet(grey.images.repeat(3, 1), grey.labels, grey.class_names, "colour")
    some, _ = inception_features(network, colour, np.array([2, 0]))
    torch.testing.assert_close(some, features[[2, 0]], rtol=1e-3, atol=1e-4)


def test_the_same_weights_as_safetensors(weights, tmp_path):
    save_file(torch.load(weights, weights_only=True), tmp_path / "inception.safetensors")
    tensors = [
        load_inception(f).state_dict() for f in (weights, tmp_path / "inception.safetensors")
    ]
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())
    assert not is_published(weights)


def test_our_distances_are_torch_fidelitys(torch_fidelity):
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    assert torch_fidelity.__version__
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(120, 16, generator=rng, dtype=torch.float64)
    second = 0.3 + torch.randn(120, 16, generator=rng, dtype=torch.float64)
    statistics = [metric_fid.fid_features_to_statistics(f) for f in (first, second)]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert frechet_distance(first, second) == pytest.approx(theirs[metric_fid.KEY_METRIC_FID])
    options = {"kid_subsets": 1, "kid_subset_size": 120, "verbose": False}
    theirs = metric_kid.kid_features_to_metric(first, second, **options)
    ours = kernel_distance(first, second)
    assert ours == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN])
    theirs = metric_isc.isc_features_to_metric(first, splits=1)
    assert inception_score(first, 1)[0] == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_MEAN])
    # There the samples come first.
    theirs = metric_prc.calculate_precision_recall_full(second, first, neighborhood=3)
    assert precision_recall(first, second) == pytest.approx(theirs)


# ---- the command


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "tiny", Generator(CONFIG), Discriminator(CONFIG), ("below", "above"))
    return tmp_path / "tiny"


@pytest.fixture
def source(tmp_path):
    data = pictures(80)
    names = np.array(data.class_names)
    np.savez(tmp_path / "data.npz", images=data.images, labels=data.labels, class_names=names)
    return tmp_path / "data.npz"


def run(folder, source, inception):
    options = ["--epochs", "1", "--samples", "12", "--inception", inception]
    return main([str(folder), "--data", str(source), *options, "--inception-samples", "8"])


def test_fid_and_its_like_in_the_report(folder, source, weights, capsys):
    assert run(folder, source, str(weights)) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    for key in ("fid", "kid", "inception_score", "intra_fid"):
        figure = metrics["figures"][key]
        assert figure["features"] == "Inception-v3"
        assert (figure["samples"], figure["real_samples"], figure["reference"]) == (8, 8, 8)
        assert math.isfinite(figure["value"])
    assert metrics["figures"]["fid"]["value"] > 0
    assert metrics["figures"]["inception_score"]["value"] >= 1
    assert metrics["left_out"] == []
    assert "other weights than torch-fidelity publishes" in metrics["protocol"]
    printed, card = capsys.readouterr().out, (folder / "README.md").read_text()
    for title in ("FID", "KID", "Inception score", "intra-FID"):
        assert f"\n{title} " in printed
        assert f"| {title} |" in card


def test_a_file_of_other_things_stops_before_anything_is_trained(
    folder, source, torch_fidelity, tmp_path, capsys
):
    assert torch_fidelity.__version__
    pickled, other = tmp_path / "pickled.pth", tmp_path / "other.pth"
    torch.save({"weights": Path("anything")}, pickled)
    torch.save({"fc.weight": torch.zeros(3)}, other)
    for file, message in (
        (pickled, "does not hold weights alone"),
        (other, "is not torch-fidelity's Inception-v3"),
        (tmp_path / "missing.pth", "no Inception-v3 weights at"),
    ):
        assert run(folder, source, str(file)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (folder / "metrics.json").exists()


def test_without_the_package_the_error_names_the_extra(folder, source, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # as where it is not installed
    assert run(folder, source, "anything.pth") == 2
    error = capsys.readouterr().err
    assert "requirements-inception.txt" in error
    assert "'inception'" in error
    assert error.count("\n") == 1


def test_without_a_network_the_rest_is_measured(
    folder, source, torch_fidelity, tmp_path, monkeypatch, capsys
):
    module = torch_fidelity.feature_extractor_inceptionv3
    monkeypatch.setattr(module, "URL_INCEPTION_V3", (tmp_path / "nowhere.pth").as_uri())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    assert run(folder, source, "download") == 0
    assert "cannot be reached" in capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "gan_test" in metrics["figures"]
    assert "fid" not in metrics["figures"]
    assert len(metrics["left_out"]) == 1


def test_a_damaged_download_is_not_kept(torch_fidelity, tmp_path, monkeypatch):
    (tmp_path / "damaged.pth").write_bytes(b"half a file")
    module = torch_fidelity.feature_extractor_inceptionv3
    monkeypatch.setattr(module, "URL_INCEPTION_V3", (tmp_path / "damaged.pth").as_uri())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(ConnectionError, match="arrived damaged"):
        download_weights()
    assert not list((tmp_path / "hub").rglob("*.pth"))


def test_the_downloaded_file_is_found_again(torch_fidelity, tmp_path, monkeypatch):
    module = torch_fidelity.feature_extractor_inceptionv3
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / Path(module.URL_INCEPTION_V3).name
    file.parent.mkdir(parents=True)
    file.touch()
    assert download_weights() == file
    with pytest.raises(InceptionError, match="does not hold weights alone"):
        load_inception(file)
