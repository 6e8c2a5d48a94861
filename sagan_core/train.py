"""Training: the losses, the averaged generator, the state of a run, and the loop as an iterator.

`python -m sagan_core.train --help` is the command line; `run.py` keeps a run in its folder.

Source: Zhang et al. 2018, section 4 (hinge loss, two learning rates, Adam with beta1 = 0).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import AttentionField, attention_layers, record_attention
from .augment import AUGMENTATIONS, augment, mirror
from .data import ImageSet
from .measures import summarise
from .model import Discriminator, Generator, SAGANConfig
from .order import BalancedOrder, ShuffledOrder

CALIBRATION_BATCHES = 16


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator (equation 4): (B,), (B,) -> ()."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Hinge loss of the generator (equation 4): (B,) -> ()."""
    return -fake_logits.mean()


@dataclass(frozen=True)
class Recipe:
    """How to train; `SAGANConfig` says what. Raises ValueError for a value out of place.

    Attributes:
        batch_size: images per step, real and fake each.
        accumulate: parts that a batch is split into, to fit in memory.
        generator_rate, discriminator_rate: Adam's learning rates (TTUR).
        beta2: Adam's; the paper says 0.9, the released code 0.999. beta1 is 0 in both.
        ema_decay: share of the averaged generator kept at each step.
        augment: what is changed at random in all that the discriminator sees (`augment.augment`);
            nothing in the paper.
        balance: show every class equally often (`BalancedOrder`).
        gamma: what every attention layer's gamma starts at; 0 in the paper.
        flip: mirror half of the real images, but for classes that the data set calls one-sided.
        bf16: run the networks under bfloat16 autocast; spectral norm and losses stay float32.
        seed: of the initial weights, the latents and the order of the images.
    """

    batch_size: int = 64
    accumulate: int = 1
    generator_rate: float = 1e-4
    discriminator_rate: float = 4e-4
    beta2: float = 0.9
    ema_decay: float = 0.999
    augment: tuple[str, ...] = ()
    flip: bool = False
    balance: bool = False
    gamma: float = 0.0
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "batch_size": (self.batch_size >= 2, "a whole number from 2"),
            "accumulate": (
                self.accumulate >= 1 and self.batch_size % self.accumulate == 0,
                f"a divisor of the batch size, {self.batch_size}",
            ),
            "generator_rate": (0 < self.generator_rate < 1, "between 0 and 1"),
            "discriminator_rate": (0 < self.discriminator_rate < 1, "between 0 and 1"),
            "beta2": (0 <= self.beta2 < 1, "from 0 and below 1"),
            "ema_decay": (0 <= self.ema_decay < 1, "from 0 and below 1"),
            "gamma": (math.isfinite(self.gamma), "a finite number"),
            "augment": (set(self.augment) <= set(AUGMENTATIONS), f"out of {AUGMENTATIONS}"),
            "seed": (0 <= self.seed < 2**32, "a whole number from 0 to 4294967295"),
        }
        for name, (holds, accepted) in checks.items():
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {accepted}")


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and where."""


@dataclass
class TrainState:
    """Everything that a run needs to go on as if it had never stopped."""

    config: SAGANConfig
    recipe: Recipe
    generator: Generator
    discriminator: Discriminator
    average: dict[str, Tensor]
    generator_optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam
    rng: torch.Generator
    loss_sums: Tensor
    step: int = 0
    seconds: float = 0.0
    losses_summed: int = 0

    @classmethod
    def start(
        cls, config: SAGANConfig, recipe: Recipe, device: torch.device | str = "cpu"
    ) -> TrainState:
        """A fresh run. The initial weights depend on `recipe.seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            networks = Generator(config), Discriminator(config)
        for network in networks:
            for layer in attention_layers(network).values():
                nn.init.constant_(layer.gamma, recipe.gamma)
            network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator, discriminator = networks

        def adam(network: nn.Module, rate: float) -> torch.optim.Adam:
            return torch.optim.Adam(network.parameters(), rate, (0.0, recipe.beta2), fused=True)

        return cls(
            config,
            recipe,
            generator,
            discriminator,
            {name: p.detach().clone() for name, p in generator.named_parameters()},
            adam(generator, recipe.generator_rate),
            adam(discriminator, recipe.discriminator_rate),
            torch.Generator().manual_seed(recipe.seed),
            torch.zeros(2, device=device),
        )

    @property
    def images(self) -> int:
        """Real images shown so far."""
        return self.step * self.recipe.batch_size

    @property
    def device(self) -> torch.device:
        return self.loss_sums.device

    def check_finite(self) -> None:
        """Raise TrainingError when a loss since the last logged step or a weight is not finite."""
        tensors = (self.loss_sums, *self.average.values(), *self.discriminator.parameters())
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise TrainingError(
                f"a loss or a weight is not finite (sums {self.loss_sums.tolist()}) in the "
                f"{self.losses_summed} steps up to {self.step}; the last saved state is kept. "
                "Lower learning rates may help"
            )

    def take_losses(self) -> tuple[float, float]:
        """Mean (discriminator, generator) loss since they were last taken."""
        discriminator, generator = (self.loss_sums / self.losses_summed).tolist()
        self.loss_sums.zero_()
        self.losses_summed = 0
        return discriminator, generator

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings alone, for `torch.save`."""
        return {
            "config": asdict(self.config),
            "recipe": asdict(self.recipe),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average,
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "rng": self.rng.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "loss_sums": self.loss_sums,
            "losses_summed": self.losses_summed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`. Raises ValueError for a run of another model or recipe."""
        for name, own in (("config", self.config), ("recipe", self.recipe)):
            saved = {**asdict(type(own)()), **state[name]}  # of before a setting was there
            differing = {k: (saved.get(k), v) for k, v in asdict(own).items() if saved.get(k) != v}
            if differing:
                changes = ", ".join(f"{k} {a} -> {b}" for k, (a, b) in differing.items())
                raise ValueError(f"the saved run has other settings: {changes}")
        for name in (
            "generator",
            "discriminator",
            "generator_optimiser",
            "discriminator_optimiser",
        ):
            getattr(self, name).load_state_dict(state[name])
        for name, tensor in self.average.items():
            tensor.copy_(state["average"][name])
        self.rng.set_state(state["rng"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]
        self.loss_sums.copy_(state["loss_sums"])
        self.losses_summed = state["losses_summed"]

    def averaged_generator(self) -> Generator:
        """The generator with averaged weights, in eval mode, ready to be saved or sampled.

        Only weights are averaged. What follows from them is made anew by forward passes with
        fixed latents: batch statistics (a plain mean over the passes) and spectral norm's
        vectors, whose averages would belong to no weight.
        """
        generator = copy.deepcopy(self.generator)
        with torch.no_grad():
            for name, parameter in generator.named_parameters():
                parameter.copy_(self.average[name])
            calibrate(generator, self.recipe.batch_size)
        return generator.eval()


def calibrate(
    generator: Generator, batch_size: int = 64, batches: int = CALIBRATION_BATCHES
) -> None:
    """Set batch norms to the mean statistics over fresh batches, and converge spectral norm."""
    config, device = generator.config, next(generator.parameters()).device
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    rng = torch.Generator().manual_seed(0)
    generator.train()
    for _ in range(batches):
        generator(*_latents(config, max(2, batch_size), rng, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _latents(
    config: SAGANConfig, count: int, rng: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """z ~ N(0, 1) and uniform labels, drawn on the CPU so that every device sees the same."""
    z = torch.randn(count, config.latent_size, generator=rng)
    labels = torch.randint(max(1, config.classes), (count,), generator=rng)
    return z.to(device), labels.to(device)


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


def train(state: TrainState, data: ImageSet, log_every: int = 100) -> Iterator[Step]:
    """Train for ever, one optimiser step of each network per item; the caller decides when to stop.

    Every `log_every`-th step is logged: losses are checked and attention is summarised from the
    step's own forward passes.

    Raises ValueError for a batch larger than the data set, TrainingError when a loss is not
    finite.
    """
    if state.recipe.batch_size > len(data):
        raise ValueError(f"batch_size is {state.recipe.batch_size}; {len(data)} images are there")
    order = ShuffledOrder(len(data), state.recipe.seed)
    if state.recipe.balance:
        order = BalancedOrder(data.labels, state.recipe.seed)
    one_sided = torch.tensor(data.one_sided, dtype=torch.long)
    while True:
        began = time.perf_counter()
        logged = (state.step + 1) % log_every == 0
        images, labels = data.batch(order.slice(state.images, state.recipe.batch_size))
        if state.recipe.flip:
            images = mirror(images, ~torch.isin(labels, one_sided), state.rng)
        attention = _optimise(state, images, labels, logged)
        state.step += 1
        if logged:
            state.check_finite()
        losses = state.take_losses() if logged else None
        state.seconds += time.perf_counter() - began
        yield Step(state.step, state.images, losses, attention)


def _optimise(
    state: TrainState, images: Tensor, labels: Tensor, record: bool
) -> dict[str, dict[str, float]] | None:
    """One step of the discriminator, one of the generator, one of the average."""
    parts = state.recipe.accumulate
    for real, real_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        real = real.to(state.device, memory_format=torch.channels_last)
        loss = _discriminator_pass(state, real, real_labels.to(state.device)) / parts
        loss.backward()
        state.loss_sums[0] += loss.detach()
    _apply(state.discriminator_optimiser)

    attention = None
    state.discriminator.requires_grad_(False)
    for part in range(parts):
        with ExitStack() as recorders:
            watched = record and part == parts - 1
            fields = _record(state, recorders) if watched else {}
            loss = _generator_pass(state, len(images) // parts) / parts
            if watched:
                attention = _summaries(fields)
        loss.backward()
        state.loss_sums[1] += loss.detach()
    state.discriminator.requires_grad_(True)
    _apply(state.generator_optimiser)

    _update_average(state)
    state.losses_summed += 1
    return attention


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


def _autocast(state: TrainState) -> torch.autocast:
    return torch.autocast(state.device.type, torch.bfloat16, enabled=state.recipe.bf16)


def _discriminator_pass(state: TrainState, real: Tensor, real_labels: Tensor) -> Tensor:
    """One discriminator pass over real and fake together; the generator keeps no graph."""
    with _autocast(state):
        z, labels = _latents(state.config, len(real), state.rng, real.device)
        with torch.no_grad():
            fake = state.generator(z, labels)
        both = torch.cat([real, fake.to(real.dtype)])
        both = augment(both, state.recipe.augment, state.rng)
        logits = state.discriminator(both, torch.cat([real_labels, labels]))
    return discriminator_loss(*logits.float().chunk(2))


def _generator_pass(state: TrainState, count: int) -> Tensor:
    z, labels = _latents(state.config, count, state.rng, state.device)
    with _autocast(state):
        fake = augment(state.generator(z, labels), state.recipe.augment, state.rng)
        logits = state.discriminator(fake, labels)
    return generator_loss(logits.float())


def _apply(optimiser: torch.optim.Adam) -> None:
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


@torch.no_grad()
def _update_average(state: TrainState) -> None:
    # Young averages follow closely: a fixed decay would remember the random start too long.
    decay = min(state.recipe.ema_decay, (1 + state.step) / (10 + state.step))
    averages = list(state.average.values())
    torch._foreach_lerp_(averages, [p.detach() for p in state.generator.parameters()], 1 - decay)


if __name__ == "__main__":
    import sys

    from .run import main

    sys.exit(main())
