"""What the service does when its directory, its disk or its database is not what it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import anyio
import pytest

from cachesvc.errors import CacheBusyError
from cachesvc.lock import ServiceLock
from cachesvc.store.layout import data_file, index_path, slabs_path, store_path
from cachesvc.store.slab import LARGE, SMALL
from cachesvc.units import MIB
from tests.fakes.cached_directory import CachedDirectory, cached_directory
from tests.fakes.waiting import until

DATA = os.urandom(300_000)


def test_a_second_service_refuses_the_directory(tmp_path: Path) -> None:
    with cached_directory(tmp_path) as cached:
        cached.zygote.ensure()
        with pytest.raises(CacheBusyError, match="another cache service"):
            ServiceLock(cached.config)


def test_only_its_user_can_connect(tmp_path: Path) -> None:
    with cached_directory(tmp_path) as cached:
        cached.zygote.ensure()
        assert cached.config.socket.stat().st_mode & 0o777 == 0o600


def test_a_clean_restart_keeps_what_is_stored(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        ref = await cached.write("file", DATA)
        async with cached.client() as client:
            await client.read(0, ref, 0, len(DATA))
        await cached.stop()
        (cached.source / "file").unlink()
        async with cached.client() as client:
            assert await client.read(0, ref, 0, len(DATA)) == DATA

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_after_a_kill_what_is_stored_is_verified_and_kept(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        ref = await cached.write("file", DATA)
        async with cached.client() as client:
            await client.read(0, ref, 0, len(DATA))
            (cached.source / "file").unlink()
            cached.zygote.kill()
            await until(lambda: cached.zygote.starts == 2)
            assert await client.read(0, ref, 0, len(DATA)) == DATA
        assert (await cached.stats())["ranges_fetched"] == 0

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_a_chunk_that_was_damaged_before_a_kill_is_fetched_again(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        ref = await cached.write("file", DATA)
        async with cached.client() as client:
            await client.read(0, ref, 0, len(DATA))
        cached.zygote.kill()
        cached.zygote.wait()
        damage(data_file(slabs_path(cached.config.directory, LARGE)))
        async with cached.client() as client:
            assert await client.read(0, ref, 0, len(DATA)) == DATA
        assert (await cached.stats())["chunks_rejected"] == 1

    def damage(path: Path) -> None:
        content = path.read_bytes()
        place = content.index(DATA[1000:1100])
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"damaged")

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_without_room_on_the_disk_bytes_are_handed_out(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        ref = await cached.write("file", DATA * 40)
        async with cached.client() as client:
            for _ in range(2):
                assert await client.read(0, ref, 0, ref.size) == DATA * 40
        stats = await cached.stats()
        assert (stats["chunk_count"], stats["chunks_carried"]) == (0, 2 * ref.chunk_count)

    with cached_directory(tmp_path, free_floor=1 << 60) as cached:
        anyio.run(play, cached, backend="trio")


def test_a_removed_directory_is_a_pause_and_a_new_cache(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        ref = await cached.write("file", DATA)
        async with cached.client() as client:
            await client.read(0, ref, 0, ref.size)
            before = (await cached.stats())["generation"]
            shutil.rmtree(cached.config.directory)
            other = await cached.write("other", DATA)
            assert await client.read(0, other, 0, other.size) == DATA
            await until(lambda: renewed(cached, before))
            assert await client.read(0, ref, 0, ref.size) == DATA
            assert cached.zygote.starts == 1

    async def renewed(cached: CachedDirectory, before: str) -> bool:
        if not cached.config.socket.exists():
            return False
        return bool((await cached.stats()).get("generation", before) != before)

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_a_removed_store_is_begun_anew_and_read_from_the_map(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        ref = await cached.write("file", DATA)
        async with cached.client() as client:
            await client.read(0, ref, 0, ref.size)
            shutil.rmtree(store_path(cached.config.directory))

            async def is_mapped_again() -> bool:
                assert await client.read(0, ref, 0, ref.size) == DATA
                is_mapped = bool(await client.cached_bytes(ref))
                return is_mapped and store_path(cached.config.directory).exists()

            await until(is_mapped_again)

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


@pytest.mark.parametrize("victim", ["index", SMALL.name, LARGE.name])
def test_a_database_that_is_no_database_is_thrown_away(tmp_path: Path, victim: str) -> None:
    async def play(cached: CachedDirectory) -> None:
        ref = await cached.write("file", DATA)
        async with cached.client() as client:
            await client.read(0, ref, 0, ref.size)
        await cached.stop()
        path = data_file(index_path(cached.config.directory).parent / victim)
        path.write_bytes(b"garbage" * 10_000)
        async with cached.client() as client:
            assert await client.read(0, ref, 0, ref.size) == DATA
            assert await client.cached_bytes(ref) == ref.size

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_a_dataset_larger_than_the_cache_is_read_through_it(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        async with cached.client() as client:
            for number in range(30):
                data = os.urandom(3 * MIB)
                ref = await cached.write(f"{number}", data)
                assert await client.read(0, ref, 0, ref.size) == data
        stats = await cached.stats()
        assert stats["chunks_evicted"] > 0
        assert stats["slab_bytes"] <= cached.config.size
        assert stats["chunks_carried"] == 0

    with cached_directory(tmp_path, size=32 * MIB) as cached:
        anyio.run(play, cached, backend="trio")
