"""The state of a training run: the recipe, the networks, their average, and all to go on with.

`train.py` moves it on by a step; `run.py` keeps it in a folder.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .attention import attention_layers
from .augment import AUGMENTATIONS
from .batchnorm import share_statistics
from .device import to_device
from .model import Discriminator, Generator, SAGANConfig
from .parallel import Processes

CALIBRATION_BATCHES = 16
BATCH_NORMS = ("synchronised", "local")


@dataclass(frozen=True)
class Recipe:
    """How to train; `SAGANConfig` says what. Raises ValueError for a value out of place.

    Attributes:
        batch_size: images per step, real and fake each, of all processes together.
        accumulate: parts that a batch is split into, to fit in memory.
        generator_rate, discriminator_rate: Adam's learning rates (TTUR).
        beta2: Adam's; the paper says 0.9, the released code 0.999. beta1 is 0 in both.
        ema_decay: share of the averaged generator kept at each step.
        augment: what is changed at random in all that the discriminator sees (`augment.augment`);
            nothing in the paper.
        balance: show every class equally often (`BalancedOrder`).
        gamma: what every attention layer's gamma starts at; 0 in the paper.
        alike: keys start with the queries' weights, so that a point at first looks where features
            are like its own; from there both learn freely. Not in the paper.
        flip: mirror half of the real images, but for classes that the data set calls one-sided.
        batch_norm: whose images its statistics are of where several processes train: those of all
            ("synchronised") or each process's own ("local", as in the released code).
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
    alike: bool = False
    batch_norm: str = "synchronised"
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
            "batch_norm": (self.batch_norm in BATCH_NORMS, f"one of {BATCH_NORMS}"),
            "seed": (0 <= self.seed < 2**32, "a whole number from 0 to 4294967295"),
        }
        for name, (holds, accepted) in checks.items():
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {accepted}")


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and where."""


@dataclass
class TrainState:
    """Everything that a run needs to go on as if it had never stopped.

    It is the same in all processes that train together, but for `average`, which the main one
    alone has, and for the sums of losses, which are of the process's own images.
    """

    config: SAGANConfig
    recipe: Recipe
    generator: Generator
    discriminator: Discriminator
    average: dict[str, Tensor]
    generator_optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam
    rng: torch.Generator
    loss_sums: Tensor
    processes: Processes
    step: int = 0
    seconds: float = 0.0
    losses_summed: int = 0

    @classmethod
    def start(
        cls,
        config: SAGANConfig,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        processes: Processes | None = None,
    ) -> TrainState:
        """A fresh run. The initial weights depend on `recipe.seed` alone.

        `processes` says on which device; without it this process trains alone, on `device`.
        Raises ValueError where the processes cannot share the batch evenly.
        """
        processes = processes or Processes(device=torch.device(device))
        shares = processes.count * recipe.accumulate
        if recipe.batch_size % shares:
            raise ValueError(
                f"batch_size is {recipe.batch_size}; {processes.count} processes in "
                f"{recipe.accumulate} parts each need a multiple of {shares}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            networks = Generator(config), Discriminator(config)
        for network in networks:
            for layer in attention_layers(network).values():
                nn.init.constant_(layer.gamma, recipe.gamma)
                if recipe.alike:
                    layer.key.load_state_dict(layer.query.state_dict())
            network.to(processes.device)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator, discriminator = networks
        shared = processes.count > 1 and recipe.batch_norm == "synchronised"
        share_statistics(generator, shared)
        averaged = generator.named_parameters() if processes.main else ()

        def adam(network: nn.Module, rate: float) -> torch.optim.Adam:
            return torch.optim.Adam(network.parameters(), rate, (0.0, recipe.beta2), fused=True)

        return cls(
            config,
            recipe,
            generator,
            discriminator,
            {name: p.detach().clone() for name, p in averaged},
            adam(generator, recipe.generator_rate),
            adam(discriminator, recipe.discriminator_rate),
            torch.Generator().manual_seed(recipe.seed),
            torch.zeros(2, device=processes.device),
            processes,
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
        weights = (*self.generator.parameters(), *self.discriminator.parameters())
        tensors = (self.loss_sums, *self.average.values(), *weights)
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise TrainingError(
                f"a loss or a weight is not finite (sums {self.loss_sums.tolist()}) in the "
                f"{self.losses_summed} steps up to {self.step}; the last saved state is kept. "
                "Lower learning rates may help"
            )

    def take_losses(self) -> tuple[float, float]:
        """Mean (discriminator, generator) loss since they were last taken, over all processes."""
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
        share_statistics(generator, False)
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
        generator(*draw_latents(config, max(2, batch_size), rng, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def draw_latents(
    config: SAGANConfig,
    count: int,
    rng: torch.Generator,
    device: torch.device,
    rows: slice = slice(None),
) -> tuple[Tensor, Tensor]:
    """z ~ N(0, 1) and uniform labels for `count` images, of which `rows` are wanted.

    Drawn on the CPU and for all of them, so that every device and every process sees the same.
    """
    z = torch.randn(count, config.latent_size, generator=rng)[rows]
    labels = torch.randint(max(1, config.classes), (count,), generator=rng)[rows]
    return to_device(z, device), to_device(labels, device)
