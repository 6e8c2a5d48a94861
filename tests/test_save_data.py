"""The NPZ of image, pins and attention: what is in it, checked with numpy alone."""

from __future__ import annotations

import numpy as np
import pytest
from planted import planted_sample

import viz.data
from sagan_core import Generator, SAGANConfig, generate
from viz.data import save_data


@pytest.fixture(scope="module")
def generated():
    """A real sample with two layers, one of them with pooled keys."""
    config = SAGANConfig(
        resolution=32,
        image_channels=1,
        classes=3,
        latent_size=8,
        width=16,
        attention=(8, 16),
        discriminator_attention=(),
    )
    return generate(Generator(config), seed=5, label=2, truncation=0.5)


def load(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


@pytest.mark.parametrize("kind", ["planted", "generated"])
def test_weights_are_the_softmax_of_query_and_key(tmp_path, generated, kind):
    sample = planted_sample() if kind == "planted" else generated
    layer = next(iter(sample.fields))
    save_data(tmp_path / "x.npz", sample, layer, [(0, 1)])
    data = load(tmp_path / "x.npz")
    assert data["layers"].tolist() == list(sample.fields)
    for name in sample.fields:
        query, key = data[f"{name}/query"].astype(float), data[f"{name}/key"].astype(float)
        weights = data[f"{name}/weights"]
        assert weights.dtype == np.float32
        flat = [part.reshape(len(part), -1) for part in (query, key)]
        np.testing.assert_allclose(weights, softmax(flat[0].T @ flat[1]), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
        row, col = query.shape[1] - 1, 1  # row r * w + c of the matrix is query cell (r, c)
        np.testing.assert_allclose(
            weights[row * query.shape[2] + col].reshape(key.shape[1:]),
            sample.fields[name].attended_by(row, col)[0],
            rtol=1e-5,
        )


def test_the_file_says_what_it_is(tmp_path, generated):
    pins = [(3, 4), (7, 0)]
    layer = "blocks.0.attention"
    save_data(tmp_path / "x.npz", generated, layer, pins, checkpoint="mine", class_name="小猫 $x$")
    data = load(tmp_path / "x.npz")
    assert (data["image"] == generated.image).all()
    assert (data["image"].shape, data["image"].dtype) == ((32, 32, 1), np.uint8)
    assert (data["pins"].tolist(), data["pins"].dtype) == ([[3, 4], [7, 0]], np.int64)
    said = {name: data[name].item() for name in ("layer", "seed", "label", "truncation")}
    assert said == {"layer": layer, "seed": 5, "label": 2, "truncation": 0.5}
    assert (data["checkpoint"], data["class_name"]) == ("mine", "小猫 $x$")
    assert data[f"{layer}/gamma"] == generated.fields[layer].gamma
    assert data["blocks.1.attention/query"].shape == (4, 16, 16)
    assert data["blocks.1.attention/key"].shape == (4, 8, 8)


def test_every_step_can_be_repeated(tmp_path, generated):
    """From x, weights and what each key adds to the layer's output, with a knock-out between."""
    save_data(tmp_path / "x.npz", generated, "blocks.1.attention", [])
    data = load(tmp_path / "x.npz")
    for name, field in generated.fields.items():
        part = {key: data[f"{name}/{key}"] for key in ("x", "out", "added", "value", "strength")}
        flat = part["added"].reshape(len(part["added"]), -1)
        out = (flat @ data[f"{name}/weights"].T).reshape(part["out"].shape)
        np.testing.assert_allclose(out, part["out"], rtol=1e-3, atol=1e-5)
        assert part["x"].shape == part["out"].shape == tuple(field.x.shape[1:])
        assert part["value"].shape[1:] == tuple(field.key_grid)
        np.testing.assert_allclose(np.linalg.norm(part["added"], axis=0), part["strength"], 1e-5)
        weights = data[f"{name}/weights"].astype(float)
        entropy = -(weights * np.log(weights)).sum(1).reshape(field.query_grid)
        np.testing.assert_allclose(data[f"{name}/entropy"], entropy, rtol=1e-4)


def test_no_pins_and_no_classes(tmp_path):
    save_data(tmp_path / "x.NPZ", planted_sample(), "planted", [])
    data = load(tmp_path / "x.NPZ")
    assert data["pins"].shape == (0, 2)
    assert data["label"] == -1


def test_the_same_data_is_the_same_bytes(tmp_path, generated):
    for name in ("a.npz", "b.npz"):
        save_data(tmp_path / name, generated, "blocks.1.attention", [(1, 2)])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_too_large_weights_are_left_out_aloud(tmp_path, monkeypatch):
    monkeypatch.setattr(viz.data, "WEIGHTS_LIMIT", 4 * 64 * 64)
    save_data(tmp_path / "x.npz", planted_sample(), "planted", [(0, 0)])
    data = load(tmp_path / "x.npz")
    assert "square/weights" in data
    assert "large/weights" not in data
    assert data["large/weights_left_out"] == (
        "4096 x 1024 float32 weights take 16,777,216 bytes, more than 16,384; "
        "softmax(query^T key) gives them"
    )
    assert data["large/query"].shape == (32, 64, 64)


@pytest.mark.parametrize(
    ("name", "layer", "pin", "kind", "said"),
    [
        ("x.txt", "planted", (0, 0), ValueError, "'x.txt': the file name must end in .npz"),
        ("x.npz", "none", (0, 0), KeyError, "no attention layer 'none'; this sample has planted"),
        ("x.npz", "planted", (0, 6), IndexError, r"pin \(0, 6\) is outside the 4x6 grid"),
        ("x.npz", "planted", "ab", ValueError, "pin 'ab' is not a pair of whole numbers"),
    ],
)
def test_wrong_arguments_are_named_and_leave_no_file(tmp_path, name, layer, pin, kind, said):
    with pytest.raises(kind, match=said):
        save_data(tmp_path / name, planted_sample(), layer, [pin])
    assert not list(tmp_path.iterdir())
