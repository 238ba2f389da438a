"""A service that ends: for another one in its directory, or to come back with what it knew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import anyio

from cachesvc.chunk import ObjectRef
from cachesvc.client import CacheClient
from cachesvc.lock import ServiceLock
from cachesvc.units import MIB
from tests.fakes.cached_directory import CachedDirectory, cached_directory
from tests.fakes.waiting import until


def test_a_service_whose_directory_was_taken_over_ends_and_leaves_it_alone(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        cached.zygote.ensure()
        first = Path(f"/proc/{cached.zygote.pid}")
        cached.config.directory.rename(tmp_path / "old")
        other = ServiceLock(cached.config)
        cached.config.socket.touch()
        await until(lambda: not first.exists())
        assert other.is_in_place()
        assert cached.config.socket.exists()
        other.close()
        shutil.rmtree(tmp_path / "old")

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_hot_chunks_stay_hot_across_a_restart(tmp_path: Path) -> None:
    """What was read again before a clean stop outlives a pass over new data after it."""

    async def play(cached: CachedDirectory) -> None:
        async with cached.client() as client:
            hot = await cached.write("hot", bytes(range(256)) * 4000)
            await reported_read(cached, client, hot)
            for number in range(4):
                await read_new(cached, client, f"before-{number}")
            # The first report may be of what was read before; the second is of this one alone.
            await reported_read(cached, client, hot)
            await reported_read(cached, client, hot)
        await cached.stop()
        async with cached.client() as client:
            for number in range(20):
                await read_new(cached, client, f"after-{number}")
            assert await client.cached_bytes(hot) == hot.size
            assert (await cached.stats())["chunks_evicted"] > 0

    with cached_directory(tmp_path, size=32 * MIB) as cached:
        anyio.run(play, cached, backend="trio")


async def reported_read(cached: CachedDirectory, client: CacheClient, ref: ObjectRef) -> None:
    """Read an object and return when reads were reported to the service since."""
    before = await touches(cached)
    await client.read(0, ref, 0, ref.size)

    async def has_grown() -> bool:
        return await touches(cached) > before

    await until(has_grown)


async def touches(cached: CachedDirectory) -> int:
    """Return how many reads were reported to the service."""
    return int((await cached.stats())["chunks_touched"])


async def read_new(cached: CachedDirectory, client: CacheClient, name: str) -> None:
    """Write a file of a chunk's size and read it once."""
    ref = await cached.write(name, os.urandom(3 * MIB))
    await client.read(0, ref, 0, ref.size)
