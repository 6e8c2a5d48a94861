"""Samples that people are looking at, kept on the server for a while."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from sagan_core.sample import Sample

from .view import Recipe


class SampleStore:
    """Makes samples from recipes and keeps the most recently used ones.

    A sample never changes, so people with the same recipe share one. Each has an unguessable id,
    under which `find` gives it back while it is kept. Safe to use from several threads; samples
    are made one at a time, since recording attention puts hooks on the one generator.

    Args:
        make: makes a sample; may raise, which passes through.
        capacity: how many samples are kept.
    """

    def __init__(self, make: Callable[[Recipe], Sample], capacity: int = 64) -> None:
        self._make = make
        self._capacity = capacity
        self._samples: OrderedDict[str, Sample] = OrderedDict()  # the least recently used first
        self._ids: dict[Recipe, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._samples)

    def obtain(self, recipe: Recipe) -> tuple[str, Sample]:
        """(id, sample) of a recipe, made now unless it is kept."""
        with self._lock:
            sample_id = self._ids.get(recipe)
            if sample_id is not None:
                self._samples.move_to_end(sample_id)
                return sample_id, self._samples[sample_id]
            sample = self._make(recipe)
            sample_id = secrets.token_urlsafe(16)
            self._samples[sample_id] = sample
            self._ids[recipe] = sample_id
            if len(self._samples) > self._capacity:
                dropped, _ = self._samples.popitem(last=False)
                self._ids = {known: name for known, name in self._ids.items() if name != dropped}
            return sample_id, sample

    def find(self, sample_id: object) -> Sample | None:
        """The sample with that id; None where there is none (any more)."""
        with self._lock:
            if not isinstance(sample_id, str) or sample_id not in self._samples:
                return None
            self._samples.move_to_end(sample_id)
            return self._samples[sample_id]
