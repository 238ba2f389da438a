"""Memory that is free but still ours: given back to the system once nothing needs it any more."""

from __future__ import annotations

import ctypes

import anyio
import anyio.to_thread

from cachesvc.metrics import Metrics

LOOK_SECONDS = 5.0

_libc = ctypes.CDLL(None)


class Lull:
    """Tells a counter that has just stopped growing from one that grows, or has long stopped."""

    def __init__(self) -> None:
        """Begin with a counter that never grew."""
        self._before = self._ended_at = 0

    def begins(self, count: int) -> bool:
        """Note the counter; return whether this is the first time that it did not grow."""
        has_stopped, self._before = count == self._before, count
        if not has_stopped or count == self._ended_at:
            return False
        self._ended_at = count
        return True


async def give_back_when_idle(metrics: Metrics) -> None:
    """Give free memory back each time that fetching stops. Runs for ever."""
    lull = Lull()
    while True:
        await anyio.sleep(LOOK_SECONDS)
        if lull.begins(metrics.bytes_fetched):
            await anyio.to_thread.run_sync(give_back)


def give_back() -> None:
    """Return the heap's free pages to the system; does nothing where malloc is not glibc's."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
