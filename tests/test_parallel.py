"""Two processes on this machine's CPU train the model that one would; a dead one ends the other."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train import CONFIG, OPTIONS, folder_of_pictures, pictures

from sagan_core import load_checkpoint
from sagan_core.augment import AUGMENTATIONS
from sagan_core.batchnorm import BatchNorm
from sagan_core.feed import Feed
from sagan_core.parallel import Processes, launched
from sagan_core.run import main
from sagan_core.state import Recipe, TrainState
from sagan_core.train import train

STEPS, ROOT = 4, Path(__file__).parent.parent
RECIPES = {
    "plain": Recipe(batch_size=8, gamma=0.5),
    "in parts": Recipe(batch_size=8, accumulate=2, augment=AUGMENTATIONS, flip=True),
    "local": Recipe(batch_size=8, batch_norm="local"),
}
# Rounding differs, as a process sums its own rows first; and Adam with beta1 = 0 makes a whole step
# of any gradient, however small. So tensors are compared by how far they moved in training.
SHARE_OF_MOVEMENT, TOLERANCE = 0.05, {"atol": 1e-4, "rtol": 1e-3}


def start(count, *arguments):
    """The same command in `count` processes that find each other, as a launcher starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "RANK": str(rank)}
            | {"LOCAL_RANK": str(rank), **{name: str(value) for name, value in common.items()}},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def finish(processes, seconds=120):
    """What each wrote to stderr; none is left running."""
    deadline = time.monotonic() + seconds
    try:
        return [p.communicate(timeout=max(1, deadline - time.monotonic()))[1] for p in processes]
    finally:
        for process in processes:
            process.kill()


def weights(state):
    """Everything that a step changes in the networks, spectral norm's vectors included."""
    networks = {"G": state.generator, "D": state.discriminator}
    return {
        f"{name} {key}": tensor.clone()
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }


def trained(recipe, processes):
    state = TrainState.start(CONFIG, recipe, processes=processes)
    steps = train(state, pictures(), log_every=STEPS)
    last = [next(steps) for _ in range(STEPS)][-1]
    return state, last


WORKER = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from test_parallel import RECIPES, Feed, pictures, trained, weights
from sagan_core.parallel import join
torch.set_num_threads(1)
processes = join("cpu")
found = {}
for name, recipe in RECIPES.items():
    state, last = trained(recipe, processes)
    average = {"average " + key: value for key, value in state.average.items()}
    found[name] = {**weights(state), **average, "losses": torch.tensor(last.losses)}
feed = Feed(pictures(), RECIPES["plain"], processes)
shown = torch.cat([feed.batch(start)[0][0][:, 0, ::16, 0] for start in range(0, 48, 8)])
found["shown"] = {"images": shown}
torch.save(found, f"{sys.argv[1]}/{processes.rank}.pt")
processes.leave()
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    processes = start(2, "-c", WORKER, str(folder), str(Path(__file__).parent))
    errors = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", RECIPES)
def test_both_processes_have_the_same_weights_after_every_step(ranks, name):
    first, second = (rank[name] for rank in ranks)
    own = {key for key in first if name == "local" and ".running_" in key}
    averaged = {key for key in first if key.startswith("average ")}
    assert averaged
    assert first.keys() - averaged == second.keys()  # the main process alone averages
    for key in second.keys() - own:
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("name", ["plain", "in parts"])
def test_synchronised_processes_train_what_one_process_trains_with_the_whole_batch(ranks, name):
    state, last = trained(RECIPES[name], Processes())
    alone = {**weights(state), "losses": torch.tensor(last.losses)}
    alone |= {f"average {key}": tensor for key, tensor in state.average.items()}
    initial = weights(TrainState.start(CONFIG, RECIPES[name]))
    for key, tensor in alone.items():
        together = ranks[0][name][key]
        plain_bias = key.endswith(("conv1.bias", "conv2.bias", "shortcut.bias"))
        if plain_bias and not key.startswith("D"):
            # The next batch norm takes these away again: their gradients are rounding alone.
            continue
        torch.testing.assert_close(together, tensor, **TOLERANCE, msg=key)
        if "original" in key and not key.startswith("average"):
            moved = (tensor - initial[key]).norm()
            assert (together - tensor).norm() < SHARE_OF_MOVEMENT * moved, key


def test_local_batch_norm_is_another_model(ranks):
    """As each process normalises by four images, where one process had eight."""
    alone = weights(trained(RECIPES["local"], Processes())[0])
    own, other = (rank["local"] for rank in ranks)
    key = "G blocks.0.norm1.norm.running_mean"
    for found in (own[key], other[key]):
        assert (found - alone[key]).norm() > 0.1 * alone[key].norm()
    assert (own[key] - other[key]).norm() > 0.1 * alone[key].norm()


def test_every_image_is_shown_once_per_epoch_in_one_process_or_the_other(ranks):
    shown = [rank["shown"]["images"].amax(1).tolist() for rank in ranks]
    expected = [200 + index for index in range(24)]
    for epoch in range(2):
        part = slice(12 * epoch, 12 * epoch + 12)
        assert sorted(shown[0][part] + shown[1][part]) == expected
    alone = Feed(pictures(), RECIPES["plain"], Processes()).batch(0)[0][0]
    together = shown[0][:4] + shown[1][:4]
    assert alone[:, 0, ::16, 0].amax(1).tolist() == together


def test_a_batch_that_processes_cannot_share_is_an_error():
    processes = Processes(0, 3)
    with pytest.raises(ValueError, match="batch_size is 8; 3 processes in 1 parts each need a mul"):
        TrainState.start(CONFIG, Recipe(batch_size=8), processes=processes)


def test_accelerates_cpu_launcher_that_starts_one_process_is_an_error(monkeypatch, capfd, tmp_path):
    for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == 1
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert launched() == 1
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert main(["--data", "fashion-mnist", "--out", str(tmp_path)]) == 2
    assert "starts one process, whatever --num_processes says" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "'fp16' is not known to training; it takes bf16"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "give it --compile instead"),
    ],
)
def test_what_accelerate_was_asked_for_and_training_does_not_do_is_an_error(
    monkeypatch, capfd, data, tmp_path, variable, value, message
):
    monkeypatch.setenv(variable, value)
    assert main([*OPTIONS.split(), "--data", str(data), "--out", str(tmp_path / "x")]) == 2
    assert message in capfd.readouterr().err


def test_accelerates_bf16_is_what_auto_means_then(monkeypatch, data, tmp_path):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    out = tmp_path / "x"
    line = [*OPTIONS.split(), "--data", str(data), "--out", str(out), "--images", "20"]
    assert main([*line, "--device", "cpu"]) == 0
    assert load_checkpoint(out).training["recipe"]["bf16"]


def test_bfloat16_stays_bfloat16_through_the_generator():
    """The last block's input to every norm and its output have the type of autocast."""
    state = TrainState.start(CONFIG, Recipe(batch_size=8, bf16=True))
    seen = []
    for module in state.generator.modules():
        if isinstance(module, BatchNorm):
            module.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out)))
    with torch.autocast("cpu", torch.bfloat16):
        state.generator(torch.randn(4, 4), torch.zeros(4, dtype=torch.long))
    assert {tensor.dtype for pair in seen[1:] for tensor in pair} == {torch.bfloat16}
    means = [m.running_mean.dtype for m in state.generator.modules() if isinstance(m, BatchNorm)]
    assert set(means) == {torch.float32}


# ---- the command line


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


def line(data, out, images, *more):
    places = f"--data {data} --out {out} --images {images} --device cpu --precision fp32"
    return [*OPTIONS.split(), *places.split(), *more]


def steps_saved(out):
    file = out / "state.pt"
    return torch.load(file, weights_only=True)["state"]["step"] if file.exists() else 0


def wait_for(holds, processes, seconds=200):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.05)


def test_a_process_that_dies_ends_the_other_and_one_alone_goes_on(data, tmp_path):
    out = tmp_path / "two"
    script = (
        "import sys, sagan_core.run as run; run.SECONDS_BETWEEN_SAVES = 0.2; "
        "run.SHARE_FOR_SAVING = 1; sys.exit(run.main(sys.argv[1:]))"
    )
    processes = start(2, "-c", script, *line(data, out, 1_000_000))
    wait_for(lambda: steps_saved(out) > 0, processes)
    processes[1].send_signal(signal.SIGKILL)
    errors = finish(processes)
    assert processes[0].returncode == 2
    assert "process 0 of 2: another process has ended" in errors[0]
    assert "--resume goes on with any number of processes" in errors[0]
    images = 10 * steps_saved(out) + 20
    assert main(["--out", str(out), "--resume", "--images", str(images)]) == 0
    assert load_checkpoint(out).training["images"] == images


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """The folder of a run of two processes."""
    out = tmp_path_factory.mktemp("runs") / "two"
    errors = finish(start(2, "-m", "sagan_core.train", *line(data, out, 40)))
    assert "2 processes with 5 images of a batch each" in errors[0]
    return out


def test_what_is_wrong_in_the_main_process_ends_the_other(data, two):
    processes = start(2, "-m", "sagan_core.train", *line(data, two, 60))
    errors = finish(processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert "--resume goes on with it" in errors[0]
    assert "another process has ended" in errors[1]


def test_one_process_goes_on_where_two_stopped_and_has_what_one_alone_would_have(
    data, two, tmp_path
):
    out, alone = two, tmp_path / "one"
    assert main(["--out", str(out), "--resume", "--images", "60"]) == 0
    assert main(line(data, alone, 60)) == 0
    ours, other = (load_file(folder / "discriminator.safetensors") for folder in (out, alone))
    for key, tensor in other.items():
        torch.testing.assert_close(ours[key], tensor, **TOLERANCE, msg=key)


def test_a_signal_to_one_process_stops_all_at_the_same_step(data, tmp_path):
    out = tmp_path / "x"
    processes = start(2, "-m", "sagan_core.train", *line(data, out, 1_000_000, "--log-every", "2"))
    wait_for((out / "history.jsonl").exists, processes)
    processes[1].send_signal(signal.SIGTERM)
    errors = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    assert (out / "generator.safetensors").exists()
