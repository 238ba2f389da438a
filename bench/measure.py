"""Figures that were measured several times, and the order in which to measure them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Samples:
    """One figure, one value for each round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value: what is reported."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which the middle half of the values lies: the spread."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    def over(self, other: Samples) -> Samples:
        """Divide by *other* round by round: what slowed a round down slowed both."""
        return Samples(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def times(self, factor: float) -> Samples:
        """Return the same figure in another unit."""
        return Samples(tuple(value * factor for value in self.values))


def merged(rounds: Sequence[Mapping[K, float]]) -> dict[K, Samples]:
    """Return each figure with the values of all rounds."""
    return {name: Samples(tuple(found[name] for found in rounds)) for name in rounds[0]}


def interleaved(cases: Mapping[K, Callable[[int], T]], rounds: int) -> dict[K, list[T]]:
    """Play every case once in each round, and return what each gave, round by round.

    A case is told the number of the round. Each round begins with another case, so that none
    always comes after the same one.
    """
    results: dict[K, list[T]] = {key: [] for key in cases}
    for number in range(rounds):
        for key in order_of_round(list(cases), number):
            results[key].append(cases[key](number))
    return results


def order_of_round(keys: Sequence[K], number: int) -> Sequence[K]:
    """Return *keys* with another one first in each round."""
    shift = number % len(keys) if keys else 0
    return [*keys[shift:], *keys[:shift]]
