"""Chunks that somebody may want soon: fetched a few at a time, and once however many ask."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import trio
import trio.testing

from cachesvc.fill.prefetch import PrefetchQueue
from tests.unit.cachesvc.test_cache import GatedSource, harness

WORKERS = 24
REPEATS = 100
"""More than there are workers."""


def fetched(
    asked: Iterable[Iterable[int]], *, announced: Collection[int] = (), held: Collection[int] = ()
) -> list[tuple[int, int]]:
    """Return the ranges that are under way when all of *asked* were added and no more happens."""

    async def play() -> list[tuple[int, int]]:
        async with harness() as h, trio.open_nursery() as nursery:
            await h.fill(held)
            source = GatedSource(h.store)
            chunks = {h.ref.chunk_id(index) for index in announced}
            queue = PrefetchQueue(h.cache, chunks.__contains__, h.metrics, WORKERS)
            nursery.start_soon(queue.run)
            for indices in asked:
                queue.add(h.wanted(indices, source))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return sorted(source.calls)

    return trio.run(play)


def test_what_is_announced_is_not_guessed() -> None:
    assert fetched([[0, 1, 2]], announced=[1]) == [(0, 1000), (2000, 3000)]


def test_what_is_on_its_way_takes_no_place_of_what_is_not() -> None:
    assert fetched([*REPEATS * [[0]], [3]]) == [(0, 1000), (3000, 4000)]


def test_what_is_here_is_not_fetched_again() -> None:
    assert fetched([[0, 1]], held=[0]) == [(1000, 2000)]


class Wakes(trio.abc.Instrument):
    """Counts how often tasks are to go on."""

    count = 0

    def task_scheduled(self, _task: trio.lowlevel.Task) -> None:
        self.count += 1


def test_who_has_nothing_to_do_is_not_woken() -> None:
    async def play() -> int:
        async with harness() as h, trio.open_nursery() as nursery:
            source = GatedSource(h.store)
            queue = PrefetchQueue(h.cache, set[bytes]().__contains__, h.metrics, WORKERS)
            nursery.start_soon(queue.run)
            await trio.testing.wait_all_tasks_blocked()
            wakes = Wakes()
            trio.lowlevel.add_instrument(wakes)
            queue.add(h.wanted([0], source))
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.remove_instrument(wakes)
            assert sorted(source.calls) == [(0, 1000)]
            nursery.cancel_scope.cancel()
        return wakes.count

    assert trio.run(play) < WORKERS
