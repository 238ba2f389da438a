"""The origins that clients attached, opened once for all who bring the same one."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import msgpack

from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.protocol import ObjectStore

log = logging.getLogger(__name__)

_MAX_IDLE = 32
_CLOSE_SECONDS = 5.0

OpenSource = Callable[[Origin, float], ObjectStore]
"""Opens an origin; the number is the deadline of one fetch in seconds, all retries included."""


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """One origin as one identity sees it; shared by clients that brought the same one."""

    root: str
    store: ObjectStore
    key: bytes


class Sources:
    """Opens, shares and closes stores.

    One that nobody uses any more is kept for a while: its client may be about to come back, and
    fetches on its behalf may still be under way.
    """

    def __init__(self, open_source: OpenSource) -> None:
        """Open stores with *open_source*."""
        self._open_source = open_source
        self._open: OrderedDict[bytes, Source] = OrderedDict()
        self._users: Counter[bytes] = Counter()

    def acquire(self, origin: Origin, deadline_seconds: float) -> Source:
        """Return the source for an origin; to be released by whoever acquired it."""
        key: bytes = msgpack.packb([origin.to_wire(), deadline_seconds])
        source = self._open.get(key)
        if source is None:
            source = Source(origin.root, self._open_source(origin, deadline_seconds), key)
            self._open[key] = source
        self._users[key] += 1
        return source

    async def release(self, source: Source) -> None:
        """Give a source back; the ones that have been idle longest are closed."""
        self._users[source.key] -= 1
        self._open.move_to_end(source.key)
        idle = [key for key in self._open if not self._users[key]]
        for key in idle[: max(0, len(idle) - _MAX_IDLE)]:
            await self._close(key)

    async def aclose(self) -> None:
        """Close all stores."""
        for key in list(self._open):
            await self._close(key)

    async def _close(self, key: bytes) -> None:
        """Close one store, in a bounded time."""
        store = self._open.pop(key).store
        del self._users[key]
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            try:
                await store.aclose()
            except Exception:
                log.exception("could not close the connections to %s", store.root)
