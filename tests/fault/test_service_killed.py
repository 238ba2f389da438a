"""The service dies at any moment: readers see a pause, never an error and never a wrong byte."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from pathlib import Path

import anyio

from cachesvc.chunk import ObjectRef
from cachesvc.client import CacheClient
from cachesvc.config import CacheConfig
from cachesvc.lock import ServiceLock
from cachesvc.objectstore.local import LocalStore
from cachesvc.objectstore.origin import Origin, parse_origin
from cachesvc.store.chunkstore import ChunkStore
from cachesvc.units import MIB
from tests.fakes.service_process import ServiceZygote, service_zygote
from tests.fakes.waiting import until

KILLS = 60
CHUNK_SIZE = 256 * 1024


@dataclass(frozen=True)
class Dataset:
    """Files in a directory, and what is in them."""

    origin: Origin
    files: dict[ObjectRef, bytes]


def make_dataset(directory: Path, seed: int) -> Dataset:
    """Write small and large files, some three times what the cache may hold."""
    rng = random.Random(seed)
    directory.mkdir()
    for number in range(60):
        length = rng.randint(1, 30_000) if number % 2 else rng.randint(100_000, 3 * MIB)
        (directory / f"file-{number}").write_bytes(rng.randbytes(length))
    origin = parse_origin(str(directory))

    async def listed() -> dict[ObjectRef, bytes]:
        store = LocalStore(origin)
        infos = [info async for batch in store.list() for info in batch]
        return {
            ObjectRef(origin.root, info.key, info.size, info.version, CHUNK_SIZE): (
                directory / info.key
            ).read_bytes()
            for info in infos
        }

    return Dataset(origin, anyio.run(listed))


@dataclass
class Readers:
    """Tasks that read random pieces of random files and compare them."""

    client: CacheClient
    dataset: Dataset
    rng: random.Random
    reads: int = 0

    async def read_for_ever(self) -> None:
        files = list(self.dataset.files.items())
        while True:
            ref, content = self.rng.choice(files)
            start = self.rng.randrange(ref.size)
            stop = min(ref.size, start + self.rng.choice([100, 100_000, MIB]))
            assert await self.client.read(0, ref, start, stop) == content[start:stop]
            self.reads += 1


async def kill_again_and_again(zygote: ServiceZygote, readers: Readers) -> None:
    """Kill each service somewhere in the first moments of its life, or of its work."""
    for kills in range(KILLS):
        await until(lambda kills=kills: zygote.starts > kills)  # type: ignore[misc]
        await anyio.sleep(readers.rng.uniform(0, 0.08))
        zygote.kill()


def test_sixty_kills_cost_readers_nothing_but_time(tmp_path: Path) -> None:
    """Killed during fetch, commit and eviction, the cache opens again and every byte is right."""
    dataset = make_dataset(tmp_path / "data", seed=1)
    config = CacheConfig(tmp_path / "cache", size=24 * MIB, free_floor=0)
    logging.getLogger("cachesvc.link").setLevel(logging.ERROR)

    async def play(zygote: ServiceZygote) -> None:
        client = CacheClient(
            config.directory, [dataset.origin], ensure=zygote.ensure_async, deadline_seconds=30
        )
        readers = Readers(client, dataset, random.Random(2))
        async with anyio.create_task_group() as tasks:
            await tasks.start(client.run)
            for _ in range(4):
                tasks.start_soon(readers.read_for_ever)
            await kill_again_and_again(zygote, readers)
            tasks.cancel_scope.cancel()
        assert readers.reads > KILLS

    with service_zygote(config) as zygote:
        anyio.run(play, zygote, backend="trio")
    assert damaged_chunks(config) == []


def damaged_chunks(config: CacheConfig) -> list[str]:
    """Open the cache as the next service would, and return what does not match its checksum."""
    lock = ServiceLock(config)
    store = ChunkStore(config)
    try:
        # Nearly full of a dataset that is larger: there were evictions too.
        assert store.usage().slab_bytes > config.size * 8 // 10
        return [stored.label for stored in store.scan() if not store.verify(stored.chunk)]
    finally:
        store.close()
        lock.close()
