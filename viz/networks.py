"""The networks of the page's checkpoints: trained, with random weights, and of snapshots."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sagan_core.attention import SelfAttention, attention_layers
from sagan_core.checkpoint import Checkpoint
from sagan_core.controls import shuffled
from sagan_core.engine import AnyDiscriminator, AnyGenerator
from sagan_core.foreign import open_checkpoint
from sagan_core.sample import latents

from .bounded import Bounded
from .source import DISCRIMINATOR, short

NETWORK_BYTES = 2_000_000_000
"""What the weights of all networks that are kept may take together."""

_building = threading.Lock()
"""Networks are built one by one: while weights are read they are in memory twice."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The two networks of a scene.

    Attributes:
        discriminator: None where the checkpoint has none; with a snapshot's generator the final
            one, as snapshots have none of their own.
        lock: held while a network runs or is changed. All networks of a checkpoint share one.
    """

    generator: AnyGenerator
    discriminator: AnyDiscriminator | None
    lock: threading.Lock

    def layers(self) -> dict[str, SelfAttention]:
        """Every attention layer, the discriminator's with "discriminator." before their names."""
        layers = attention_layers(self.generator)
        if self.discriminator is not None:
            others = attention_layers(self.discriminator).items()
            layers |= {DISCRIMINATOR + name: layer for name, layer in others}
        return layers

    def learnt(self) -> dict[str, float]:
        """Gamma of every attention layer, by name."""
        return {name: layer.gamma.item() for name, layer in self.layers().items()}

    def size(self) -> int:
        """Bytes of all weights."""
        networks: list[nn.Module] = [self.generator]
        if self.discriminator is not None:
            networks.append(self.discriminator)
        return sum(p.numel() * p.element_size() for one in networks for p in one.parameters())


class Networks:
    """Checkpoints by name, opened when first asked for. Safe to use from several threads.

    Args:
        checkpoints: opened ones, or folders to open; the first is the page's own.

    Raises ValueError without any.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint | Path]) -> None:
        if not checkpoints:
            raise ValueError("there is no checkpoint to show; give at least one")
        self._sources: dict[str, Checkpoint | Path] = {}
        self._locks: dict[str, threading.Lock] = {}
        for one in checkpoints:
            plain = name = one.name if isinstance(one, Checkpoint) else one.resolve().name
            number = 2
            while name in self._sources:
                name, number = f"{plain} ({number})", number + 1
            self._sources[name], self._locks[name] = one, threading.Lock()
        self._opened = Bounded[str, Checkpoint](NETWORK_BYTES, _checkpoint_bytes)
        self._guests = Bounded[str, Checkpoint](NETWORK_BYTES, _checkpoint_bytes)
        self._pairs = Bounded[tuple[str, str | int], Pair](NETWORK_BYTES, Pair.size)

    @property
    def names(self) -> list[str]:
        return list(self._sources)

    def full_name(self, name: str) -> str:
        """The name, "" standing for the first. Raises ValueError for one that there is not."""
        chosen = name or self.names[0]
        if chosen not in self._sources and self._guests.find(chosen) is None:
            raise ValueError(
                f"there is no checkpoint {short(name)} here; there is {', '.join(self.names)}"
            )
        return chosen

    def checkpoint(self, name: str = "") -> Checkpoint:
        """The checkpoint of that name. Raises ValueError, and what opening it raises."""
        name = self.full_name(name)
        guest = self._guests.find(name)
        if guest is not None:
            return guest
        source = self._sources[name]
        if isinstance(source, Checkpoint):
            return source
        return self._opened.obtain(name, lambda: self._open(source))

    def invite(self, name: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint for a while that is not on the list: who knows its name may ask."""
        self._guests.put(name, checkpoint)
        self._locks.setdefault(name, threading.Lock())

    def pair(self, name: str, weights: str | int) -> Pair:
        """Networks with these weights: "trained", "random", or after a snapshot's images.

        Raises ValueError for a snapshot that there is not.
        """
        name = self.full_name(name)
        return self._pairs.obtain((name, weights), lambda: self._make(name, weights))

    @staticmethod
    def _open(folder: Path) -> Checkpoint:
        with _building:
            return open_checkpoint(folder)

    def _make(self, name: str, weights: str | int) -> Pair:
        checkpoint, lock = self.checkpoint(name), self._locks[name]
        generator, discriminator = checkpoint.generator, checkpoint.discriminator
        if isinstance(weights, int):
            with _building:
                generator = checkpoint.load_snapshot(weights)
        elif weights == "random":
            with lock:
                generator, discriminator = _shuffled(checkpoint)
        return Pair(generator, discriminator, lock)


def _shuffled(checkpoint: Checkpoint) -> tuple[AnyGenerator, AnyDiscriminator | None]:
    """Both networks with random weights, alike for everyone."""
    generator, discriminator, config = (
        checkpoint.generator,
        checkpoint.discriminator,
        checkpoint.config,
    )
    device = next(generator.parameters()).device
    label = torch.zeros(1, dtype=torch.long, device=device) if config.classes else None
    z = latents(generator, 0, 1).to(device)
    if discriminator is None:
        return shuffled(generator, z, label), None
    image = z.new_zeros(1, config.image_channels, config.resolution, config.resolution)
    return shuffled(generator, z, label), shuffled(discriminator, image, label)


def _checkpoint_bytes(checkpoint: Checkpoint) -> int:
    return Pair(checkpoint.generator, checkpoint.discriminator, threading.Lock()).size()
