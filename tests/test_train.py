"""The losses and averages by hand, and runs that are killed and go on bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from sagan_core import SAGANConfig, load_checkpoint
from sagan_core.data import ImageSet
from sagan_core.device import bf16_pays, resolve_device
from sagan_core.run import main
from sagan_core.state import Recipe, TrainingError, TrainState
from sagan_core.train import discriminator_loss, generator_loss, train

CONFIG = SAGANConfig(
    resolution=32,
    image_channels=1,
    classes=2,
    latent_size=4,
    width=8,
    attention=(8,),
    discriminator_attention=(8,),
)


def pictures(count=24):
    """Class 0 is bright above, class 1 below."""
    images = np.zeros((count, 1, 32, 32), np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    for index, label in enumerate(labels):
        images[index, 0, 16 * label : 16 * label + 16] = 200 + index
    return ImageSet(images, labels, ("above", "below"), "planted")


def steps(state, count, log_every=2):
    iterator = train(state, pictures(), log_every)
    return [next(iterator) for _ in range(count)]


def weights(state):
    return {**state.generator.state_dict(), **state.average}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_hinge_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
    assert discriminator_loss(real, fake).item() == pytest.approx(0.25 + 0.75)
    assert generator_loss(fake).item() == pytest.approx(1.25)


def test_a_step_moves_both_networks_and_logs():
    state = TrainState.start(CONFIG, Recipe(batch_size=8))
    before = {name: tensor.clone() for name, tensor in weights(state).items()}
    first, second = steps(state, 2)
    assert first.losses is None
    assert second.images == state.images == 16
    assert list(second.attention) == [
        "generator.blocks.0.attention",
        "discriminator.blocks.1.attention",
    ]
    assert second.attention["generator.blocks.0.attention"]["keys"] == 16
    moved = [not torch.equal(before[name], tensor) for name, tensor in weights(state).items()]
    assert np.mean(moved) > 0.9


@pytest.mark.parametrize("accumulate", [1, 4])
def test_spectral_norm_iterates_once_per_optimiser_step(accumulate):
    state = TrainState.start(CONFIG, Recipe(batch_size=8, accumulate=accumulate))
    expected = {}
    for network in (state.generator, state.discriminator):
        norm = network.blocks[0].conv1.parametrizations.weight[0]
        matrix = network.blocks[0].conv1.parametrizations.weight.original.detach().flatten(1)
        u = F.normalize(matrix @ norm._v, dim=0, eps=norm.eps)
        expected[norm] = u, F.normalize(matrix.T @ u, dim=0, eps=norm.eps)
    steps(state, 1)
    for norm, (u, v) in expected.items():
        torch.testing.assert_close(norm._u, u)
        torch.testing.assert_close(norm._v, v)
        assert norm.iterate


def test_the_average_is_of_raw_weights_and_its_sigma_is_its_own():
    state = TrainState.start(CONFIG, Recipe(batch_size=8, generator_rate=1e-2))
    name = "blocks.0.conv1.parametrizations.weight.original"
    expected = state.average[name].clone()
    for step in range(5):
        steps(state, 1)
        decay = min(0.999, (1 + step) / (10 + step))
        raw = state.generator.state_dict()[name]
        expected = decay * expected + (1 - decay) * raw
    torch.testing.assert_close(state.average[name], expected, atol=1e-6, rtol=1e-5)
    averaged = state.averaged_generator()
    sigma = torch.linalg.matrix_norm(averaged.blocks[0].conv1.weight.detach().flatten(1), 2)
    assert sigma.item() == pytest.approx(1, abs=0.05)


def test_saved_state_goes_on_bit_for_bit_and_logs_the_same():
    whole = TrainState.start(CONFIG, Recipe(batch_size=10))
    logged = steps(whole, 7)
    half = TrainState.start(CONFIG, Recipe(batch_size=10))
    steps(half, 3)
    again = TrainState.start(CONFIG, Recipe(batch_size=10))
    again.load_state_dict(half.state_dict())
    rest = steps(again, 4)
    assert_same(weights(whole), weights(again))
    assert rest == logged[3:]
    other = TrainState.start(CONFIG, Recipe(batch_size=8))
    with pytest.raises(ValueError, match="batch_size 10 -> 8"):
        other.load_state_dict(half.state_dict())


def test_a_state_of_before_a_setting_was_there_goes_on_with_its_default():
    saved = TrainState.start(CONFIG, Recipe(batch_size=10)).state_dict()
    del saved["config"]["residual_instead"], saved["config"]["generator_spectral_norm"]
    TrainState.start(CONFIG, Recipe(batch_size=10)).load_state_dict(saved)
    other = replace(CONFIG, generator_spectral_norm=False)
    with pytest.raises(ValueError, match="generator_spectral_norm True -> False"):
        TrainState.start(other, Recipe(batch_size=10)).load_state_dict(saved)


def test_accumulation_steps_once_per_batch():
    state = TrainState.start(CONFIG, Recipe(batch_size=8, accumulate=4))
    (step,) = steps(state, 1, log_every=1)
    assert step.images == 8
    assert 0 < step.losses[0] < 10
    with pytest.raises(ValueError, match="accumulate is 3; it must be a divisor"):
        Recipe(batch_size=8, accumulate=3)


def test_bfloat16_keeps_weights_and_losses_float32():
    state = TrainState.start(CONFIG, Recipe(batch_size=8, bf16=True))
    (step,) = steps(state, 1, log_every=1)
    assert np.isfinite(step.losses).all()
    assert {p.dtype for p in state.generator.parameters()} == {torch.float32}


def test_a_loss_that_is_not_finite_stops_with_the_step_named():
    state = TrainState.start(CONFIG, Recipe(batch_size=8))
    with torch.no_grad():
        state.discriminator.to_logit.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"not finite .* up to 2; the last saved state is kept"):
        steps(state, 2)


def test_a_batch_larger_than_the_set_is_an_error():
    with pytest.raises(ValueError, match="batch_size is 64; 24 images are there"):
        steps(TrainState.start(CONFIG, Recipe()), 1)


def test_a_device_that_is_not_there_is_an_error():
    assert resolve_device("cpu").type == "cpu"
    assert isinstance(bf16_pays(torch.device("cpu")), bool)
    with pytest.raises(ValueError, match="device 'cuda:7' cannot be used here"):
        resolve_device("cuda:7")


# ---- the command line

OPTIONS = "--resolution 32 --width 8 --latent-size 4 --attention 8 --batch-size 10 --threads 1"


def folder_of_pictures(root, count=24):
    data = pictures(count)
    for index, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        (root / data.class_names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(root / data.class_names[label] / f"{index}.png")
    return root


def command(data, out, images, *more):
    return [*OPTIONS.split(), *f"--data {data} --out {out} --images {images}".split(), *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


def test_a_run_leaves_a_whole_checkpoint(data, tmp_path, capfd):
    out = tmp_path / "mine"
    more = ["--batch-size", "20", "--log-every", "10", "--sample-every", "500"]
    assert main(command(data, out, 1100, *more)) == 0
    assert "1,100 images" in capfd.readouterr().out
    opened = load_checkpoint(out)
    assert opened.class_names == ("above", "below")
    assert opened.training["images"] == 1100
    assert opened.training["command"].startswith("python -m sagan_core.train --resolution 32")
    assert list(opened.snapshots()) == [0, 1000]
    history = opened.history()
    assert [line["step"] for line in history] == list(range(10, 51, 10))
    assert set(history[-1]) == {
        "step",
        "images",
        "seconds",
        "loss_discriminator",
        "loss_generator",
        "attention",
    }
    with Image.open(out / "samples.png") as grid:
        assert grid.size == (8 * 34 - 2, 2 * 34 - 2)
    card = (out / "README.md").read_text()
    assert "1,100 images shown" in card
    assert "generator.blocks.0.attention" in card


def test_kill_and_resume_is_bit_identical(data, tmp_path):
    more = ("--log-every", "10")
    assert main(command(data, tmp_path / "whole", 300, *more)) == 0
    killed = tmp_path / "killed"
    line = [sys.executable, "-m", "sagan_core.train", *command(data, killed, 300, *more)]
    fast_saves = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = (
        "import sys, sagan_core.run as run; run.SECONDS_BETWEEN_SAVES = 0; "
        "run.SHARE_FOR_SAVING = 1; "
        "sys.exit(run.main(sys.argv[1:]))"
    )
    for resume in ([], ["--resume"]):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *line[3:], *resume],
            env=fast_saves,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        state = killed / "state.pt"
        seen = state.stat().st_mtime_ns if state.exists() else 0
        saves = 0
        while saves < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
            now = state.stat().st_mtime_ns if state.exists() else 0
            saves, seen = saves + (now != seen), now
        process.kill()
        process.wait()
    interrupted = torch.load(killed / "state.pt", weights_only=True)["state"]["step"]
    assert 0 < interrupted < 30
    (killed / ".state.pt.abcd1234").write_bytes(b"half")
    resumed = subprocess.run([*line, "--resume"], env=fast_saves, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("generator.safetensors", "discriminator.safetensors"):
        assert_same(load_file(tmp_path / "whole" / name), load_file(killed / name))
    assert not list(killed.rglob(".*"))
    lines = [json.loads(x) for x in (killed / "history.jsonl").read_text().splitlines()]
    assert Counter(line["step"] for line in lines) == Counter([10, 20, 30])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_cleanly(data, tmp_path, number):
    out, more = tmp_path / "stopped", ("--log-every", "5")
    process = subprocess.Popen(
        [sys.executable, "-m", "sagan_core.train", *command(data, out, 10_000_000, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "history.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Stopped and saved after" in printed
    assert "--resume" in printed
    images = load_checkpoint(out).training["images"]
    assert images >= 50
    assert main(["--out", str(out), "--resume", "--images", str(images + 10)]) == 0
    assert load_checkpoint(out).training["images"] == images + 10


def test_bad_input_is_one_line(data, tmp_path, capfd):
    out = tmp_path / "x"
    cases = {
        "no data at": command(tmp_path / "nowhere", out, 10),
        "batch_size is 64": command(data, out, 10, "--batch-size", "64"),
        "attention is (24,)": command(data, out, 10, "--attention", "24"),
        "cannot be used here": command(data, out, 10, "--device", "cuda"),
        "images is 0": command(data, out, 0),
        "--data is missing": ["--out", str(out)],
    }
    for message, line in cases.items():
        assert main(line) == 2
        printed = capfd.readouterr().err.strip()
        assert message in printed
        assert "\n" not in printed
    assert not out.exists()


def test_a_run_is_not_overwritten_nor_resumed_as_another(data, tmp_path, capfd):
    out = tmp_path / "x"
    assert main(command(data, out, 20)) == 0
    assert main(command(data, out, 20)) == 2
    assert "--resume goes on with it" in capfd.readouterr().err
    assert main(command(data, out, 20, "--resume", "--width", "16")) == 2
    assert "width 8 -> 16" in capfd.readouterr().err
    other = folder_of_pictures(tmp_path / "other", 30)
    assert main(command(other, out, 20, "--resume")) == 2
    assert "was on 24 other images than the 30" in capfd.readouterr().err
    (out / "state.pt").write_bytes(b"nonsense")
    assert main(command(data, out, 20, "--resume")) == 2
    assert "is not a saved run" in capfd.readouterr().err
    (out / "state.pt").unlink()
    before = (out / "generator.safetensors").read_bytes()
    assert main(command(data, out, 20, "--resume")) == 2
    assert "no state.pt to go on from" in capfd.readouterr().err
    assert (out / "generator.safetensors").read_bytes() == before


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(data, tmp_path, capfd):
    out = tmp_path / "x"
    assert main(command(data, out, 20)) == 0
    good = {path: path.read_bytes() for path in out.glob("*.safetensors")}
    saved = torch.load(out / "state.pt", weights_only=True)
    saved["state"]["discriminator"]["to_logit.bias"].fill_(float("nan"))
    torch.save(saved, out / "state.pt")
    more = ("--resume", "--sample-every", "10")
    assert main(command(data, out, 60, *more)) == 2
    assert "not finite" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in out.glob("*.safetensors")} == good


FULL_DISK = """
import resource, sys
from sagan_core.run import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # bytes of a file, as if no more fit
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_keeps_what_was_saved_before(data, tmp_path):
    out = tmp_path / "x"
    assert main(command(data, out, 20)) == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    line = [sys.executable, "-c", FULL_DISK, "--out", str(out), "--resume", "--images", "40"]
    full = subprocess.run(line, capture_output=True, text=True)
    assert full.returncode == 2
    last = full.stderr.strip().splitlines()[-1]
    assert "File too large; what was there before is kept" in last
    assert "state.pt" in last
    assert {path: path.read_bytes() for path in before} == before
    assert main(["--out", str(out), "--resume", "--images", "40"]) == 0
    assert load_checkpoint(out).training["images"] == 40
