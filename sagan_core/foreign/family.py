"""What a family's file says: how its tensors are recognised, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .baking import NetworkReading
from .source import SourceTensors

Settings = Mapping[str, Any]
Read = Callable[[SourceTensors, Settings], NetworkReading]


@dataclass(frozen=True)
class NetworkNames:
    """How a network's tensors are called.

    Attributes:
        marks: patterns of names, each of which must be there for the network to be recognised.
        absent: patterns of names that only other networks have.
        layers: patterns of all its layers' names, without what follows the layer.
        read: makes the engine's layout and tensors of it. Raises LayoutError.
    """

    marks: tuple[str, ...]
    layers: tuple[str, ...]
    read: Read
    absent: tuple[str, ...] = ()

    def recognises(self, names: Iterable[str]) -> bool:
        """Whether all marks are among the names."""
        listed = "\n".join(names)

        def found(mark: str) -> bool:
            return re.search(rf"^(?:{mark})$", listed, re.MULTILINE) is not None

        return all(map(found, self.marks)) and not any(map(found, self.absent))

    def misfits(self, names: Iterable[str]) -> list[str]:
        """Names that belong to none of its layers."""
        known = re.compile(rf"(?:{'|'.join(self.layers)})(?:\..*)?")
        return [name for name in names if not known.fullmatch(name)]


@dataclass(frozen=True)
class Family:
    """A code base whose checkpoints can be opened."""

    name: str
    generator: NetworkNames
    discriminator: NetworkNames | None = None


WEIGHT = r"\.(?:weight|weight_orig)"
