"""A client announces in which order it will read; the service fetches and keeps accordingly."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from cachesvc.chunk import ObjectRef
from cachesvc.client import CacheClient, PlanState, Progress, Want
from cachesvc.errors import ObjectMissingError
from cachesvc.units import MIB
from tests.fakes.cached_directory import CachedDirectory, cached_directory
from tests.fakes.waiting import until

SIZE = 100_000
FILES = 40
Play = Callable[[CacheClient, list[ObjectRef]], Awaitable[None]]


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[CachedDirectory]:
    with cached_directory(tmp_path) as directory:
        yield directory


def play(cached: CachedDirectory, function: Play, count: int = FILES) -> None:
    """Run a function with a connected client and the references of some files."""

    async def connected() -> None:
        refs = [await cached.write(f"file-{n}", os.urandom(SIZE)) for n in range(count)]
        async with cached.client() as client:
            await function(client, refs)

    anyio.run(connected, backend="trio")


def wants(refs: list[ObjectRef]) -> list[Want]:
    return [Want(0, ref, 0) for ref in refs]


async def reached(client: CacheClient, *states: PlanState, read_count: int = 0) -> Progress:
    """Wait until a plan is in one of these states, and so many reads of it are over."""
    progress = None
    with anyio.fail_after(20):
        while True:
            progress = await client.progressed(progress)
            if progress.state in states and progress.read_count >= read_count:
                return progress


def test_what_was_announced_is_fetched(cached: CachedDirectory) -> None:
    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        client.announce_nowait(wants(refs))
        progress = await reached(client, PlanState.DONE)
        assert (progress.filled_count, progress.failed_count) == (FILES, 0)
        assert progress.fetched_size == FILES * SIZE
        assert [await client.cached_bytes(ref) for ref in refs] == [SIZE] * FILES

    play(cached, test)


def test_an_order_that_is_made_up_as_it_goes_is_fetched_meanwhile(cached: CachedDirectory) -> None:
    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        async def going_on() -> AsyncIterator[Want]:
            for number in range(3000):
                yield Want(0, refs[number % FILES], 0)
            async with anyio.create_task_group():
                await until(is_cached)

        async def is_cached() -> bool:
            return await client.cached_bytes(refs[0]) == SIZE

        with anyio.fail_after(20):
            await client.announce(going_on())
        assert client.announced_count == 3000
        assert (await reached(client, PlanState.DONE)).filled_count == 3000

    play(cached, test)


def test_the_window_moves_with_the_reader(cached: CachedDirectory) -> None:
    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        client.announce_nowait(wants(refs), window_size=10 * SIZE)
        progress = await reached(client, PlanState.WAITING)
        assert 5 <= progress.filled_count <= 10
        for number, ref in enumerate(refs):
            assert len(await client.read(0, ref, 0, SIZE)) == SIZE
            if number % 5 == 0:
                await until(lambda number=number: is_ahead(number))  # type: ignore[misc]
        await reached(client, PlanState.DONE, read_count=FILES)

    async def is_ahead(number: int) -> bool:
        stats = await cached.stats()
        return bool(stats["chunks_fetched"] >= min(FILES, number + 4))

    play(cached, test)


def test_a_read_that_fails_is_over_too(cached: CachedDirectory) -> None:
    """Else who leaves bad files out would be waited for."""

    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        for number in range(FILES - 5, FILES):
            (cached.source / f"file-{number}").unlink()
        client.announce_nowait(wants(refs))
        for ref in refs[:-5]:
            await client.read(0, ref, 0, SIZE)
        for ref in refs[-5:]:
            with pytest.raises(ObjectMissingError):
                await client.read(0, ref, 0, SIZE)
        await reached(client, PlanState.DONE, read_count=FILES)

    play(cached, test)


def test_a_read_of_bytes_that_are_carried_is_a_read_too(cached: CachedDirectory) -> None:
    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        client.announce_nowait(wants(refs))
        await reached(client, PlanState.DONE)
        client._map.close()
        for ref in refs:
            await client.read(0, ref, 0, SIZE)
        await reached(client, PlanState.DONE, read_count=FILES)

    play(cached, test)


def test_another_order_takes_the_place_of_the_first(cached: CachedDirectory) -> None:
    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        client.announce_nowait(wants(refs[:20]), window_size=2 * SIZE)
        await reached(client, PlanState.WAITING)
        client.announce_nowait(wants(refs[20:]))
        assert (await reached(client, PlanState.DONE)).filled_count == 20
        assert (await cached.stats())["reads_announced_now"] == 20
        client.withdraw_nowait()
        await until(is_nothing_announced)

    async def is_nothing_announced() -> bool:
        return bool((await cached.stats())["reads_announced_now"] == 0)

    play(cached, test)


def test_a_plan_ends_with_its_client(cached: CachedDirectory) -> None:
    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        client.announce_nowait(wants(refs))
        await reached(client, PlanState.DONE)

    play(cached, test)

    async def is_nothing_announced() -> bool:
        return bool((await cached.stats())["reads_announced_now"] == 0)

    anyio.run(until, is_nothing_announced)


def test_what_cannot_be_fetched_is_told(cached: CachedDirectory) -> None:
    async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
        (cached.source / "file-3").unlink()
        client.announce_nowait([*wants(refs), Want(7, refs[0], 0)])
        progress = await reached(client, PlanState.DONE)
        assert (progress.filled_count, progress.failed_count) == (FILES + 1, 2)
        assert progress.error[0] in {"ObjectMissingError", "ProtocolError"}
        assert await client.cached_bytes(refs[4]) == SIZE

    play(cached, test)


def test_where_nothing_can_be_stored_nothing_is_fetched_in_vain(tmp_path: Path) -> None:
    with cached_directory(tmp_path, free_floor=1 << 60) as cached:

        async def test(client: CacheClient, refs: list[ObjectRef]) -> None:
            client.announce_nowait(wants(refs), bandwidth=10 * SIZE)
            await reached(client, PlanState.FULL)
            assert (await cached.stats())["chunks_fetched"] < FILES / 2

        play(cached, test)


def test_a_shuffled_epoch_keeps_what_the_next_one_needs_first(tmp_path: Path) -> None:
    """The cache holds half of the files; the order of two epochs is known."""
    count = 60
    rng = random.Random(3)

    async def test(cached: CachedDirectory, client: CacheClient) -> None:
        big = [await cached.write(f"big-{n}", os.urandom(MIB)) for n in range(count)]
        epochs = [rng.sample(big, count) for _ in range(4)]
        fetched: list[int] = []
        for epoch, following in pairwise(epochs):
            before = (await cached.stats())["chunks_fetched"]
            client.announce_nowait(wants(epoch + following), window_size=4 * MIB)
            for ref in epoch:
                await client.read(0, ref, 0, ref.size)
            fetched.append((await cached.stats())["chunks_fetched"] - before)
        assert fetched[0] >= count
        # Half must be fetched, the window reaches into the next epoch, and watermarks leave room.
        assert max(fetched[1:]) < 0.72 * count

    with cached_directory(tmp_path, size=36 * MIB) as cached:
        play(cached, lambda client, _: test(cached, client), count=1)
