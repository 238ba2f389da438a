"""How long readers waited after each blow. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """Something that a reader waited for."""

    began: float
    seconds: float

    @property
    def ended(self) -> float:
        """When it was done."""
        return self.began + self.seconds


def longest_after(blows: Sequence[float], steps: Sequence[Step]) -> list[float]:
    """Return the longest step that was under way between each blow and the next.

    *blows* are moments in order. A step that outlasts several blows counts for each of them.
    """
    longest = [0.0] * len(blows)
    for step in steps:
        first = max(bisect_right(blows, step.began) - 1, 0)
        for number in range(first, bisect_right(blows, step.ended)):
            longest[number] = max(longest[number], step.seconds)
    return longest


def longest_caused(blows: Sequence[float], steps: Sequence[Step]) -> list[float]:
    """Return the longest step that each blow is to blame for.

    That is the first blow in the course of a step, else the last one before it. For blows that
    wait until everybody has recovered from the one before.
    """
    longest = [0.0] * len(blows)
    for step in steps:
        later = bisect_right(blows, step.began)
        caught = later < len(blows) and blows[later] <= step.ended
        number = later if caught else later - 1
        if number >= 0:
            longest[number] = max(longest[number], step.seconds)
    return longest


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least value that at least *share* (up to 1) of all do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
