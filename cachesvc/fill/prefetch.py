"""Chunks that somebody may want soon: one bounded queue behind demand fetches."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import anyio

from cachesvc.chunk import ChunkId
from cachesvc.errors import HeadraceError
from cachesvc.fill.cache import ChunkCache, Wanted
from cachesvc.fill.gate import Urgency
from cachesvc.metrics import Metrics

log = logging.getLogger(__name__)

_MAX_CHUNKS = 4096


class PrefetchQueue:
    """Fills what is added, oldest first, a few requests at a time.

    Several clients may ask for the same chunks: what is on its way by then takes no place. Nor does
    what is part of an announced order, which comes when it is due: among files that are read in a
    random order some seem to be read in a row.

    What does not fit in the queue is dropped: its reader will ask for it. Failures are dropped too,
    since the reader's own request will meet them.
    """

    def __init__(
        self,
        cache: ChunkCache,
        is_announced: Callable[[ChunkId], bool],
        metrics: Metrics,
        max_count: int,
    ) -> None:
        """Fill through *cache* what is not announced, at most *max_count* requests at a time."""
        self._cache = cache
        self._max_count = max_count
        self._is_announced = is_announced
        self._metrics = metrics
        self._queue: deque[Wanted] = deque()
        self._chunk_count = 0
        self._queued = anyio.Semaphore(0, fast_acquire=True)
        """Counts the queue, and wakes one worker for each request: an event would wake them all."""

    def add(self, wanted: Wanted) -> None:
        """Queue chunks, as many as there is room for."""
        room = max(0, _MAX_CHUNKS - self._chunk_count)
        taken = wanted.indices[:room]
        self._metrics.prefetches_dropped += len(wanted.indices) - len(taken)
        if taken:
            self._queue.append(replace(wanted, indices=taken))
            self._chunk_count += len(taken)
            self._queued.release()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with anyio.create_task_group() as tasks:
            for _ in range(self._max_count):
                tasks.start_soon(self._work_off)

    async def _work_off(self) -> None:
        """Fill one request after the other."""
        while True:
            await self._queued.acquire()
            wanted = self._queue.popleft()
            self._chunk_count -= len(wanted.indices)
            lacking = self._lacking(wanted)
            if not lacking:
                continue
            try:
                await self._cache.fill(replace(wanted, indices=lacking), _ignore, Urgency.PREFETCH)
            except HeadraceError as error:
                log.debug("prefetch of %s failed: %s", wanted.ref.key, error)
            except Exception:
                log.exception("prefetch of %s failed", wanted.ref.key)

    def _lacking(self, wanted: Wanted) -> list[int]:
        """Return which chunks are neither here nor on their way, now or later."""
        chunks = {index: wanted.ref.chunk_id(index) for index in wanted.indices}
        return [
            index
            for index, chunk in chunks.items()
            if self._cache.lacks(chunk) and not self._is_announced(chunk)
        ]


async def _ignore(index: int, data: object) -> None:
    """Take the bytes of a chunk that could not be cached: nobody reads them yet."""
