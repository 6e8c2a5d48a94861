"""What many people use and one server keeps for a while: the most recently used, up to a limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Values by key, made when first asked for; the least recently used go when it is full.

    Safe to use from several threads. A value that several ask for at once is made once; values of
    different keys are made side by side.

    Args:
        limit: what the sizes of all values may add up to; the newest value is always kept.
        size: of a value; by default each is 1, so that `limit` is their number.
        leaving: called with a value that goes, outside any lock.
    """

    def __init__(
        self,
        limit: int,
        size: Callable[[V], int] = lambda _: 1,
        leaving: Callable[[V], None] = lambda _: None,
    ) -> None:
        self._limit, self._size, self._leaving = limit, size, leaving
        self._values: OrderedDict[K, V] = OrderedDict()  # the least recently used first
        self._total = 0
        self._lock = threading.Lock()
        self._making: dict[K, threading.Lock] = {}

    def __len__(self) -> int:
        return len(self._values)

    def find(self, key: K) -> V | None:
        """The value, where there is one (still)."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def obtain(self, key: K, make: Callable[[], V]) -> V:
        """The value, made now unless it is there. What `make` raises passes through."""
        found = self.find(key)
        if found is not None:
            return found
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            found = self.find(key)
            if found is None:
                try:
                    found = make()
                    self.put(key, found)
                finally:
                    with self._lock:
                        self._making.pop(key, None)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of one of the same key."""
        gone: list[V] = []
        with self._lock:
            if key in self._values:
                self._total -= self._size(self._values.pop(key))
            self._values[key] = value
            self._total += self._size(value)
            while self._total > self._limit and len(self._values) > 1:
                _, oldest = self._values.popitem(last=False)
                self._total -= self._size(oldest)
                gone.append(oldest)
        for oldest in gone:
            self._leaving(oldest)

    def forget(self, key: K) -> None:
        """Drop a value without calling `leaving`."""
        with self._lock:
            if key in self._values:
                self._total -= self._size(self._values.pop(key))
