"""Training: the losses, the two steps, and the loop as an iterator.

`python -m sagan_core.train --help` is the command line; `state.py` has the recipe and what a run
goes on with, `run.py` keeps a run in its folder.

Source: Zhang et al. 2018, section 4 (hinge loss, two learning rates, Adam with beta1 = 0).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import AttentionField, attention_layers, record_attention
from .augment import Share, augment, mirror
from .feed import Feed, Part
from .image_set import ImageSet, to_signed
from .measures import summarise
from .model import without_power_iteration
from .parallel import reporting_loss
from .state import TrainState, draw_latents
from .stream import ImageStream


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator (equation 4): (B,), (B,) -> ()."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Hinge loss of the generator (equation 4): (B,) -> ()."""
    return -fake_logits.mean()


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        step, images: counted from 1 and from the batch size.
        losses: mean (discriminator, generator) loss since the last logged step; None elsewhere.
        attention: on a logged step, a summary of every attention layer (`summarise`).
    """

    step: int
    images: int
    losses: tuple[float, float] | None = None
    attention: dict[str, dict[str, float]] | None = None


class Trainer:
    """The two steps of a run, on its networks as they are called for training.

    Args:
        compiled: run the networks through torch.compile, but in recorded steps: a compiled
            network skips the hooks that record attention.
    """

    def __init__(self, state: TrainState, compiled: bool = False) -> None:
        self.state = state
        replicate = state.processes.replicate
        # Where no gradient of its own is wanted, a network is called as it is, not its replica.
        self._eager = (
            replicate(state.generator),
            replicate(state.discriminator),
            state.generator,
            state.discriminator,
        )
        self._networks: tuple[Any, ...] = self._eager
        if compiled:
            # Batches come in two sizes, with and without real images: a graph for each.
            self._networks = tuple(torch.compile(n, dynamic=False) for n in self._eager)
        rows = torch.arange(state.recipe.batch_size // state.recipe.accumulate)
        own = rows[state.processes.share(len(rows))]
        self._share = Share(len(rows), own)
        self._share_of_both = Share(2 * len(rows), torch.cat([own, len(rows) + own]))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.state.device.type, torch.bfloat16, enabled=self.state.recipe.bf16
        )

    def _latents(self) -> tuple[Tensor, Tensor]:
        state, whole = self.state, self._share.whole
        return draw_latents(
            state.config, whole, state.rng, state.device, state.processes.share(whole)
        )

    def discriminate(self, parts: Sequence[Part], one_sided: Tensor | None = None) -> None:
        """One optimiser step of the discriminator: real and fake in one pass.

        Args:
            parts: uint8 images and labels on the device, of every part of the batch.
            one_sided: classes whose images are never mirrored; None mirrors nothing at all.
        """
        state = self.state
        _, discriminator, generator, _ = self._networks
        for index, (images, labels) in enumerate(parts):
            if one_sided is not None:
                allowed = ~torch.isin(labels, one_sided)
                images = mirror(images, allowed, state.rng, self._share)
            real = to_signed(images.contiguous(memory_format=torch.channels_last))
            with ExitStack() as during, self._autocast():
                during.enter_context(without_power_iteration(state.generator))
                if index:
                    during.enter_context(without_power_iteration(state.discriminator))
                z, fake_labels = self._latents()
                with torch.no_grad():
                    fake = generator(z, fake_labels)
                both = torch.cat([real, fake.to(real.dtype)])
                both = augment(both, state.recipe.augment, state.rng, self._share_of_both)
                last = index == len(parts) - 1
                during.enter_context(state.processes.gathering(self._eager[1], last))
                logits = discriminator(both, torch.cat([labels, fake_labels])).float()
                loss = discriminator_loss(*logits.chunk(2)) / len(parts)
            loss.backward()
            state.loss_sums[0] += loss.detach()
        _apply(state.discriminator_optimiser)

    def generate(self, record: bool = False) -> dict[str, dict[str, float]] | None:
        """One optimiser step of the generator; with `record`, what its attention layers did.

        The discriminator's too, of the last part and of this process's share of it.
        """
        state, parts, attention = self.state, self.state.recipe.accumulate, None
        generator, _, _, discriminator = self._eager if record else self._networks
        state.discriminator.requires_grad_(False)
        for index in range(parts):
            last = index == parts - 1
            with ExitStack() as during, self._autocast():
                fields = _record(state, during) if record and last else None
                during.enter_context(without_power_iteration(state.discriminator))
                if index:
                    during.enter_context(without_power_iteration(state.generator))
                during.enter_context(state.processes.gathering(self._eager[0], last))
                z, labels = self._latents()
                fake = augment(generator(z, labels), state.recipe.augment, state.rng, self._share)
                loss = generator_loss(discriminator(fake, labels).float()) / parts
                if fields is not None:
                    attention = _summaries(fields)
            loss.backward()
            state.loss_sums[1] += loss.detach()
        state.discriminator.requires_grad_(True)
        _apply(state.generator_optimiser)
        return attention

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged generator, which the main process keeps, on by a step."""
        state, averages = self.state, list(self.state.average.values())
        if averages:
            # Young averages follow closely: a fixed decay would remember the random start too long.
            decay = min(state.recipe.ema_decay, (1 + state.step) / (10 + state.step))
            weights = [p.detach() for p in state.generator.parameters()]
            torch._foreach_lerp_(averages, weights, 1 - decay)


def _apply(optimiser: torch.optim.Adam) -> None:
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _record(state: TrainState, recorders: ExitStack) -> dict[str, dict[str, AttentionField]]:
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    return {
        name: recorders.enter_context(record_attention(network))
        for name, network in networks.items()
        if attention_layers(network)
    }


def _summaries(fields: dict[str, dict[str, AttentionField]]) -> dict[str, dict[str, float]]:
    return {
        f"{network}.{layer}": summarise(field)
        for network, layers in fields.items()
        for layer, field in layers.items()
    }


def train(
    state: TrainState, data: ImageSet | ImageStream, log_every: int = 100, compiled: bool = False
) -> Iterator[Step]:
    """Train for ever, one optimiser step of each network per item; the caller decides when to stop.

    Every `log_every`-th step is logged: losses are checked and attention is summarised from the
    step's own forward passes. Processes that train together make their steps together.

    Raises ValueError for a batch larger than the data set, TrainingError when a loss is not
    finite, LostProcessError when another process has ended.
    """
    feed = Feed(data, state.recipe, state.processes)
    trainer = Trainer(state, compiled)
    one_sided = None
    if state.recipe.flip:
        one_sided = torch.tensor(data.one_sided, dtype=torch.long, device=state.device)
    while True:
        began = time.perf_counter()
        logged = (state.step + 1) % log_every == 0
        parts = feed.batch(state.images)
        with reporting_loss():
            trainer.discriminate(parts, one_sided)
            attention = trainer.generate(record=logged)
            trainer.update_average()
        state.step += 1
        state.losses_summed += 1
        losses = None
        if logged:
            state.processes.mean_(state.loss_sums)
            state.check_finite()
            losses = state.take_losses()
        state.seconds += time.perf_counter() - began
        yield Step(state.step, state.images, losses, attention)


if __name__ == "__main__":
    import sys

    from .run import main

    sys.exit(main())
