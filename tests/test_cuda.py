"""What only a GPU can show: the same batches there, and steps in bfloat16 that stay on it."""

import pytest
import torch
from test_train import CONFIG, pictures

from sagan_core.feed import Feed
from sagan_core.parallel import Processes
from sagan_core.state import Recipe, TrainState
from sagan_core.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("share", [0.4, 0.0])
def test_batches_are_those_of_the_cpu_resident_or_sent(monkeypatch, share):
    monkeypatch.setattr("sagan_core.feed.SHARE_OF_GPU", share)
    recipe = Recipe(batch_size=8, accumulate=2)
    feeds = [Feed(pictures(), recipe, Processes(device=torch.device(d))) for d in ("cuda", "cpu")]
    for start in range(0, 48, 8):
        for (images, labels), (own, own_labels) in zip(
            *(f.batch(start) for f in feeds), strict=True
        ):
            assert images.is_cuda
            assert torch.equal(images.cpu(), own)
            assert torch.equal(labels.cpu(), own_labels)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_run_trains_and_its_average_samples(bf16):
    recipe = Recipe(batch_size=8, bf16=bf16, flip=True, augment=("colour", "translation"))
    state = TrainState.start(CONFIG, recipe, "cuda")
    steps = train(state, pictures(), log_every=2)
    last = [next(steps) for _ in range(4)][-1]
    assert all(torch.tensor(last.losses).isfinite())
    assert {p.dtype for p in state.generator.parameters()} == {torch.float32}
    images = state.averaged_generator()(torch.zeros(2, 4).cuda(), torch.tensor([0, 1]).cuda())
    assert images.isfinite().all()


def test_a_logged_step_of_a_compiled_run_records_attention():
    state = TrainState.start(CONFIG, Recipe(batch_size=8, bf16=True), "cuda")
    steps = train(state, pictures(), log_every=3, compiled=True)
    logged = [next(steps) for _ in range(3)][-1]
    assert set(logged.attention) == {
        "generator.blocks.0.attention",
        "discriminator.blocks.1.attention",
    }
