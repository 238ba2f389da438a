"""A service that ends: for another one in its directory, or to come back with what it knew."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import anyio

from cachesvc.chunk import MIB
from cachesvc.client import CacheClient
from cachesvc.lock import ServiceLock
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
            await client.read(0, hot, 0, hot.size)
            await until(partial(touched, cached, 1))
            for number in range(4):
                await read_new(cached, client, f"before-{number}")
            await client.read(0, hot, 0, hot.size)
            await until(partial(touched, cached, 6))
        await cached.stop()
        async with cached.client() as client:
            for number in range(20):
                await read_new(cached, client, f"after-{number}")
            assert await client.cached_bytes(hot) == hot.size
            assert (await cached.stats())["chunks_evicted"] > 0

    with cached_directory(tmp_path, size=32 * MIB) as cached:
        anyio.run(play, cached, backend="trio")


async def touched(cached: CachedDirectory, count: int) -> bool:
    """Say whether so many reads were reported to the service."""
    return bool((await cached.stats())["chunks_touched"] >= count)


async def read_new(cached: CachedDirectory, client: CacheClient, name: str) -> None:
    """Write a file of a chunk's size and read it once."""
    ref = await cached.write(name, os.urandom(3 * MIB))
    await client.read(0, ref, 0, ref.size)
