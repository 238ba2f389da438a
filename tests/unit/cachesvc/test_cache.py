"""Hit or fill: each chunk is fetched once, checked, and stored or else handed out."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachesvc.chunk import ObjectRef, checksum
from cachesvc.errors import (
    AccessDeniedError,
    CacheDamagedError,
    CacheUnusableError,
    ChunkCorruptError,
    ObjectMissingError,
)
from cachesvc.fill.cache import MAX_RANGE_SIZE, ChunkCache, RangeSource, Wanted, runs_of
from cachesvc.fill.committer import Committer
from cachesvc.fill.gate import FetchGate, Urgency
from cachesvc.fill.lease import Leases
from cachesvc.fill.plans import Plans
from cachesvc.fill.residents import Residents
from cachesvc.metrics import Metrics
from cachesvc.store.eviction import EvictionPolicy
from cachesvc.store.nextuse import NextUsePolicy
from cachesvc.store.slab import Data
from cachesvc.units import MIB
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_table import MemoryTable
from tests.fakes.waiting import until

CHUNK_SIZE = 1000
CONTENT = bytes(range(256)) * 20  # five chunks and a bit


@dataclass
class GatedSource:
    """Passes calls on once it is opened, and counts them."""

    inner: RangeSource
    opened: anyio.Event = field(default_factory=anyio.Event)
    calls: list[tuple[int, int]] = field(default_factory=list)

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> Data:
        self.calls.append((start, stop))
        await self.opened.wait()
        return await self.inner.get_range(key, start, stop, version)


class Corrupting:
    """Answers the first *bad* calls with zeros."""

    def __init__(self, inner: RangeSource, bad: int) -> None:
        self.inner, self.bad = inner, bad

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> Data:
        data = await self.inner.get_range(key, start, stop, version)
        self.bad -= 1
        return data if self.bad < 0 else bytes(len(data))


class Delivered(dict[int, bytes]):
    """Collects what is delivered."""

    async def take(self, index: int, data: Data) -> None:
        self[index] = bytes(data)


@dataclass
class Harness:
    """A cache over a fake table and a store that holds one object."""

    cache: ChunkCache
    committer: Committer
    table: MemoryTable
    store: MemoryStore
    ref: ObjectRef
    metrics: Metrics

    def wanted(
        self, indices: Iterable[int], source: RangeSource | None = None, **hashes: int
    ) -> Wanted:
        chosen = {int(name.removeprefix("h")): value for name, value in hashes.items()}
        return Wanted(source or self.store, self.ref, list(indices), chosen)

    async def fill(self, indices: Iterable[int], source: RangeSource | None = None) -> Delivered:
        delivered = Delivered()
        await self.cache.fill(self.wanted(indices, source), delivered.take)
        return delivered

    async def refetch(self, indices: Iterable[int], source: RangeSource | None = None) -> Delivered:
        delivered = Delivered()
        await self.cache.refetch(self.wanted(indices, source), delivered.take)
        return delivered

    def stored(self) -> dict[int, bytes]:
        ids = {self.ref.chunk_id(index): index for index in range(self.ref.chunk_count)}
        return {ids[chunk]: data for chunk, data in self.table.chunks.items()}


@asynccontextmanager
async def harness(
    table: MemoryTable | None = None, capacity: int = MIB, fetches: int = 8
) -> AsyncIterator[Harness]:
    table = table or MemoryTable()
    metrics = Metrics()

    def residents() -> Residents:
        policy = NextUsePolicy(EvictionPolicy(capacity, 10_000), Plans(0))
        return Residents(policy, Leases(capacity // 4, 10), capacity)

    store = MemoryStore()
    await store.put("key", CONTENT)
    info = await store.head("key")
    ref = ObjectRef(store.root, "key", info.size, info.version, CHUNK_SIZE)
    committer = Committer(lambda: table, residents, metrics)
    async with anyio.create_task_group() as tasks:
        await tasks.start(committer.run)
        cache = ChunkCache(committer, FetchGate(fetches, 64 * MIB), tasks, metrics)
        yield Harness(cache, committer, table, store, ref, metrics)
        tasks.cancel_scope.cancel()


def wait_for(event: threading.Event) -> None:
    """Hold up the thread that commits."""
    assert event.wait(10)


def piece(index: int) -> bytes:
    return CONTENT[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


@given(st.lists(st.integers(0, 60)), st.integers(1, 3 * MAX_RANGE_SIZE))
def test_runs_tile_exactly_what_is_wanted(indices: list[int], chunk_size: int) -> None:
    runs = list(runs_of(indices, chunk_size))
    covered = [i for first, last in runs for i in range(first, last + 1)]
    assert covered == sorted(set(indices))
    assert all((last - first) * chunk_size < MAX_RANGE_SIZE for first, last in runs)


def test_adjacent_chunks_come_in_one_range() -> None:
    async def play() -> None:
        async with harness() as h:
            source = GatedSource(h.store)
            source.opened.set()
            await h.fill([0, 1, 2, 5], source)
            assert sorted(source.calls) == [(0, 3000), (5000, 5120)]
            assert h.stored() == {i: piece(i) for i in (0, 1, 2, 5)}

    anyio.run(play)


def test_what_is_held_is_not_fetched() -> None:
    async def play() -> None:
        async with harness() as h:
            await h.fill([1])
            await h.fill([1])
            assert h.metrics.ranges_fetched == 1

    anyio.run(play)


def test_what_many_ask_for_is_fetched_once() -> None:
    async def play() -> None:
        async with harness() as h:
            source = GatedSource(h.store)
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(h.fill, [0, 1], source)
                await anyio.wait_all_tasks_blocked()
                source.opened.set()
            assert source.calls == [(0, 2000)]

    anyio.run(play, backend="trio")


def test_who_leaves_does_not_take_the_fetch_along() -> None:
    async def play() -> None:
        async with harness() as h:
            source = GatedSource(h.store)
            async with anyio.create_task_group() as tasks:
                leader = anyio.CancelScope()

                async def lead() -> None:
                    with leader:
                        await h.fill([0], source)

                tasks.start_soon(lead)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(h.fill, [0], source)
                await anyio.wait_all_tasks_blocked()
                leader.cancel()
                source.opened.set()
            assert h.stored() == {0: piece(0)}

    anyio.run(play, backend="trio")


def test_a_failure_is_raised_and_the_next_attempt_is_new() -> None:
    async def play() -> None:
        async with harness() as h:
            source = FlakyStore(h.store, {1: ObjectMissingError("gone")})
            with pytest.raises(ObjectMissingError):
                await h.fill([0], source)
            await h.fill([0], source)
            assert h.stored() == {0: piece(0)}

    anyio.run(play)


def test_a_failure_of_other_credentials_is_not_ones_own() -> None:
    """Access is checked with the identity that asks, although a fetch is shared."""

    async def play() -> None:
        async with harness() as h:
            refused = GatedSource(FlakyStore(h.store, {1: AccessDeniedError("not you")}))
            async with anyio.create_task_group() as tasks:

                async def lead() -> None:
                    with pytest.raises(AccessDeniedError):
                        await h.fill([0], refused)

                tasks.start_soon(lead)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(h.fill, [0], h.store)
                await anyio.wait_all_tasks_blocked()
                refused.opened.set()
            assert h.stored() == {0: piece(0)}

    anyio.run(play, backend="trio")


def test_a_chunk_that_does_not_match_its_hash_is_fetched_again() -> None:
    async def play() -> None:
        async with harness() as h:
            delivered = Delivered()
            good = checksum(piece(0))
            await h.cache.fill(h.wanted([0], Corrupting(h.store, 1), h0=good), delivered.take)
            assert h.stored() == {0: piece(0)}
            wanted = h.wanted([1], Corrupting(h.store, 2), h1=checksum(piece(1)))
            with pytest.raises(ChunkCorruptError, match="key: chunk 1"):
                await h.cache.fill(wanted, delivered.take)
            assert h.stored() == {0: piece(0)}

    anyio.run(play)


def test_what_finds_no_room_is_delivered_to_all_who_wait() -> None:
    async def play() -> None:
        async with harness(MemoryTable(room=0)) as h:
            source = GatedSource(h.store)
            answers: list[Delivered] = []

            async def fill() -> None:
                answers.append(await h.fill([0, 5], source))

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(fill)
                await anyio.wait_all_tasks_blocked()
                source.opened.set()
            assert answers == [{0: piece(0), 5: piece(5)}] * 3
            assert len(source.calls) == 2

    anyio.run(play, backend="trio")


def test_a_store_with_little_room_evicts_and_goes_on() -> None:
    async def play() -> None:
        async with harness(MemoryTable(room=3 * 4096), capacity=MIB) as h:
            for index in range(6):
                await h.fill([index])
                h.committer.touch([h.ref.chunk_id(index)])
            assert 5 in h.stored()

    anyio.run(play)


@pytest.mark.parametrize(
    "error", [CacheUnusableError("gone"), CacheDamagedError("bad"), RuntimeError("surprise")]
)
def test_a_store_that_breaks_is_a_store_that_is_missing(error: Exception) -> None:
    async def play() -> None:
        async with harness() as h:
            h.table.broken = error
            assert await h.fill([0]) == {0: piece(0)}
            assert h.committer.generation == b""
            assert await h.fill([1]) == {1: piece(1)}
            assert h.table.closed

    anyio.run(play)


def test_what_was_stored_before_an_unclean_stop_is_verified_first() -> None:
    async def play() -> None:
        table = MemoryTable()
        async with harness(table) as h:
            await h.fill([0, 1])
            table.chunks[h.ref.chunk_id(1)] = b"damaged"
        async with harness(table) as again:
            await again.fill([0, 1])
            assert again.stored() == {0: piece(0), 1: piece(1)}
            assert again.metrics.chunks_fetched == 1

    anyio.run(play)


def test_all_that_waits_goes_into_one_commit() -> None:
    async def play() -> None:
        async with harness() as h:
            release = threading.Event()
            h.table.before_put = partial(wait_for, release)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(h.fill, [0])
                await until(lambda: h.metrics.ranges_fetched == 1)
                for index in (2, 4, 5):
                    tasks.start_soon(h.fill, [index])
                await until(lambda: h.metrics.ranges_fetched == 4)
                release.set()
            assert h.table.batches == [1, 3]

    anyio.run(play)


def test_a_disk_that_stalls_does_not_hold_up_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachesvc.fill.committer.STALL_SECONDS", 0.05)
    monkeypatch.setattr("cachesvc.fill.committer.TICK_SECONDS", 0.05)

    async def play() -> None:
        async with harness() as h:
            release = threading.Event()
            h.table.before_put = partial(wait_for, release)
            assert await h.fill([0]) == {0: piece(0)}
            assert await h.fill([1]) == {1: piece(1)}
            release.set()
            await until(lambda: h.ref.chunk_id(0) in h.committer.residents)
            assert await h.fill([0]) == {}

    anyio.run(play)


def test_carry_delivers_bytes_that_are_stored_too() -> None:
    async def play() -> None:
        async with harness() as h:
            await h.fill([0])
            delivered = Delivered()
            await h.cache.carry(h.wanted([0, 1]), delivered.take)
            assert delivered == {0: piece(0), 1: piece(1)}

    anyio.run(play)


def test_what_is_refetched_takes_the_place_of_what_is_held() -> None:
    async def play() -> None:
        async with harness() as h:
            await h.fill([0, 1, 2], Corrupting(h.store, 1))
            assert h.stored()[1] != piece(1)
            size = h.committer.residents.size
            assert await h.refetch([1, 1]) == {}
            assert h.stored()[1] == piece(1)
            assert h.stored()[0] != piece(0)
            assert (len(h.committer.residents), h.committer.residents.size) == (3, size)
            assert h.metrics.ranges_fetched == 2

    anyio.run(play)


def test_a_refetch_that_fails_leaves_what_is_held() -> None:
    async def play() -> None:
        async with harness() as h:
            await h.fill([0])
            with pytest.raises(ObjectMissingError):
                await h.refetch([0], FlakyStore(h.store, {1: ObjectMissingError("gone")}))
            assert h.stored() == {0: piece(0)}
            await h.fill([0])
            assert h.metrics.ranges_fetched == 1

    anyio.run(play)


def test_what_many_find_wrong_is_refetched_once() -> None:
    async def play() -> None:
        async with harness() as h:
            await h.fill([0])
            source = GatedSource(h.store)
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(h.refetch, [0], source)
                await anyio.wait_all_tasks_blocked()
                source.opened.set()
            assert source.calls == [(0, 1000)]

    anyio.run(play, backend="trio")


def test_a_refetch_without_room_delivers_and_leaves_nothing_behind() -> None:
    async def play() -> None:
        async with harness() as h:
            await h.fill([0, 1])
            h.table.room = 0
            assert await h.refetch([0]) == {0: piece(0)}
            assert h.stored().keys() == {c for c in (0, 1) if h.ref.chunk_id(c) in held(h)}

    def held(h: Harness) -> Residents:
        return h.committer.residents

    anyio.run(play)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=8), st.sets(st.integers(1, 6)))
def test_whatever_is_asked_and_fails_bytes_are_right(
    requests: list[list[int]], failing: set[int]
) -> None:
    """Concurrent requests over a store that fails now and then: right bytes, or the error."""

    async def play() -> None:
        async with harness() as h:
            source = FlakyStore(h.store, {k: ObjectMissingError("gone") for k in failing})

            async def fill(indices: list[int]) -> None:
                try:
                    assert await h.fill(indices, source) == {}
                except ObjectMissingError:
                    return
                assert all(h.stored()[i] == piece(i) for i in indices)

            async with anyio.create_task_group() as tasks:
                for indices in requests:
                    tasks.start_soon(fill, indices)

    anyio.run(play, backend="trio")


def test_a_chunk_that_gc_evicts_and_a_reader_fetches_at_once_stays() -> None:
    """It is deleted first and put afterwards, though both wait for the same batch."""

    async def play() -> None:
        async with harness() as h:
            await h.fill([0, 2])
            evicted = [h.ref.chunk_id(index) for index in (0, 2)]
            h.committer.touch(evicted)
            release = threading.Event()
            h.table.before_put = partial(wait_for, release)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(h.fill, [4])
                await until(lambda: h.committer._current is not None)
                tasks.start_soon(h.committer.shrink, 0)
                await until(lambda: not any(each in h.committer.residents for each in evicted))
                tasks.start_soon(h.fill, [0])
                await until(lambda: len(h.committer._puts) == 1)
                release.set()
            assert h.stored() == {0: piece(0), 4: piece(4)}
            assert [each in h.committer.residents for each in evicted] == [True, False]

    anyio.run(play, backend="trio")


def test_a_reader_does_not_wait_with_what_is_fetched_ahead() -> None:
    """What is asked for while it waits to be fetched ahead is fetched at once, and once."""

    async def play() -> None:
        async with harness(fetches=2) as h:
            source = GatedSource(h.store)
            async with anyio.create_task_group() as tasks:
                for index in (0, 2, 4):
                    ahead = h.wanted([index], source)
                    tasks.start_soon(h.cache.fill, ahead, Delivered().take, Urgency.PREFETCH)
                    await anyio.wait_all_tasks_blocked()
                assert source.calls == [(0, 1000)]
                tasks.start_soon(h.fill, [4], source)
                await anyio.wait_all_tasks_blocked()
                assert source.calls == [(0, 1000), (4000, 5000)]
                source.opened.set()
            assert source.calls == [(0, 1000), (4000, 5000), (2000, 3000)]

    anyio.run(play, backend="trio")
