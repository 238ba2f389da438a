"""Chunks that somebody may want soon: fetched a few at a time, and once however many ask."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from cachesvc.chunk import ChunkId
from cachesvc.fill.prefetch import PrefetchQueue
from tests.unit.cachesvc.test_cache import GatedSource, harness

REPEATS = 100
"""More than there are workers."""


def announces(*chunks: ChunkId) -> Callable[[ChunkId], bool]:
    """Return who says that *chunks* are announced."""
    return frozenset(chunks).__contains__


def test_what_is_announced_is_not_guessed() -> None:
    async def play() -> None:
        async with harness() as h, anyio.create_task_group() as tasks:
            source = GatedSource(h.store)
            wanted = h.wanted([0, 1, 2], source)
            queue = PrefetchQueue(h.cache, announces(wanted.ref.chunk_id(1)), h.metrics)
            tasks.start_soon(queue.run)
            queue.add(wanted)
            await anyio.wait_all_tasks_blocked()
            assert sorted(source.calls) == [(0, 1000), (2000, 3000)]
            tasks.cancel_scope.cancel()

    anyio.run(play, backend="trio")


def test_what_is_on_its_way_takes_no_place_of_what_is_not() -> None:
    async def play() -> None:
        async with harness() as h, anyio.create_task_group() as tasks:
            queue = PrefetchQueue(h.cache, announces(), h.metrics)
            source = GatedSource(h.store)
            tasks.start_soon(queue.run)
            for _ in range(REPEATS):
                queue.add(h.wanted([0], source))
            queue.add(h.wanted([3], source))
            await anyio.wait_all_tasks_blocked()
            assert source.calls == [(0, 1000), (3000, 4000)]
            tasks.cancel_scope.cancel()

    anyio.run(play, backend="trio")


def test_what_is_here_is_not_fetched_again() -> None:
    async def play() -> None:
        async with harness() as h, anyio.create_task_group() as tasks:
            queue = PrefetchQueue(h.cache, announces(), h.metrics)
            source = GatedSource(h.store)
            source.opened.set()
            await h.fill([0])
            tasks.start_soon(queue.run)
            queue.add(h.wanted([0, 1], source))
            await anyio.wait_all_tasks_blocked()
            assert source.calls == [(1000, 2000)]
            tasks.cancel_scope.cancel()

    anyio.run(play, backend="trio")
