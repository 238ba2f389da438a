"""A bound on bytes a second. Pure: the time is passed in."""

from __future__ import annotations

import math

_BURST_SECONDS = 0.1


class Pace:
    """Says from when on the next bytes may be fetched, so that on average a bound is kept."""

    def __init__(self, bandwidth: int) -> None:
        """Allow *bandwidth* bytes a second, any number if it is 0."""
        self._seconds_per_byte = 1 / bandwidth if bandwidth else 0.0
        self.ready_at = -math.inf

    def spend(self, size: int, now: float) -> None:
        """Count *size* bytes that are fetched from *now* on."""
        begin = max(self.ready_at, now - _BURST_SECONDS)
        self.ready_at = begin + size * self._seconds_per_byte
