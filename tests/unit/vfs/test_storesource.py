"""A manifest's bytes, read from a real store in blocks."""

from __future__ import annotations

import os
import random
from pathlib import Path

import anyio
import pytest

from cachesvc.objectstore.local import LocalStore
from cachesvc.objectstore.origin import parse_origin
from vfs.errors import ManifestDamagedError
from vfs.snapshots.storesource import BLOCK_SIZE, BLOCKS_KEPT, StoreSource


class CountingStore(LocalStore):
    """A local store that counts its reads."""

    reads = 0

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        self.reads += 1
        return await super().get_range(key, start, stop, version)


def store_with(root: Path, data: bytes) -> CountingStore:
    (root / "manifest").write_bytes(data)
    return CountingStore(parse_origin(str(root)))


def test_any_range_is_read_right(tmp_path: Path) -> None:
    data = os.urandom(3 * BLOCK_SIZE + 100)
    source = StoreSource(store_with(tmp_path, data), "manifest", len(data))
    chance = random.Random(1)

    async def read() -> None:
        for _ in range(100):
            start, stop = chance.randrange(len(data)), chance.randrange(len(data) + 50)
            assert await source.read(start, stop) == data[start:stop]
        assert await source.read(len(data), len(data) + 1) == b""

    anyio.run(read)


def test_neighbours_come_with_one_request(tmp_path: Path) -> None:
    store = store_with(tmp_path, bytes(BLOCK_SIZE))
    source = StoreSource(store, "manifest", BLOCK_SIZE)

    async def read() -> None:
        for start in range(0, BLOCK_SIZE, 1000):
            await source.read(start, start + 1000)

    anyio.run(read)
    assert store.reads == 1


def test_only_the_latest_blocks_are_kept(tmp_path: Path) -> None:
    size = (BLOCKS_KEPT + 1) * BLOCK_SIZE
    store = store_with(tmp_path, bytes(size))
    source = StoreSource(store, "manifest", size)

    async def read() -> None:
        await source.read(0, size)
        await source.read(size - 1, size)
        assert store.reads == BLOCKS_KEPT + 1
        await source.read(0, 1)
        assert store.reads == BLOCKS_KEPT + 2

    anyio.run(read)


def test_a_manifest_that_is_shorter_than_its_ref_says_is_damaged(tmp_path: Path) -> None:
    source = StoreSource(store_with(tmp_path, b"short"), "manifest", 100)
    with pytest.raises(ManifestDamagedError, match="manifest is truncated"):
        anyio.run(source.read, 0, 10)


def test_what_is_read_again_is_fetched_anew(tmp_path: Path) -> None:
    data = bytes(3 * BLOCK_SIZE)
    store = store_with(tmp_path, data)
    source = StoreSource(store, "manifest", len(data))

    async def read() -> None:
        assert await source.read(0, len(data)) == data
        mended = os.urandom(len(data))
        store_with(tmp_path, mended)
        start, stop = BLOCK_SIZE - 10, BLOCK_SIZE + 10
        assert await source.read(start, stop) == bytes(20)
        assert await source.reread(start, stop, bytes(20)) == mended[start:stop]
        assert store.reads == 3 + 2

    anyio.run(read)
