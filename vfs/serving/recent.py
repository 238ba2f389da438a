"""A bounded memory of facts: what was asked for least recently is forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most *limit* values by key."""

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value of *key*, None when it is not remembered."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember *value*, in place of the one that was idle longest if need be."""
        if key not in self._values and len(self._values) >= self._limit:
            self._values.popitem(last=False)
        self._values[key] = value
