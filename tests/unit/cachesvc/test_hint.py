"""What the service is told of by whoever does not wait for it."""

from __future__ import annotations

import os
from pathlib import Path

import anyio

from cachesvc.chunk import ObjectRef
from cachesvc.hint import hint
from cachesvc.objectstore.origin import parse_origin
from cachesvc.want import wants_of
from tests.fakes.cached_directory import CachedDirectory, cached_directory
from tests.fakes.waiting import until

DATA = os.urandom(250_000)
CHUNK_SIZE = 100_000


def test_what_was_hinted_at_is_here_when_it_is_asked_for(tmp_path: Path) -> None:
    async def play(cached: CachedDirectory) -> None:
        async def has_two() -> bool:
            return bool((await cached.stats())["chunks_admitted"] == 2)

        ref = await cached.write("file", DATA, CHUNK_SIZE)
        await cached.zygote.ensure_async()
        hint(cached.config.directory, cached.origin, 20.0, wants_of(0, ref, 0, CHUNK_SIZE + 1))
        await until(has_two)
        async with cached.client() as client:
            assert await client.read(0, ref, 0, 2 * CHUNK_SIZE) == DATA[: 2 * CHUNK_SIZE]
        assert (await cached.stats())["chunks_fetched"] == 2

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_where_no_service_runs_nobody_is_told(tmp_path: Path) -> None:
    origin = parse_origin(str(tmp_path))
    ref = ObjectRef(origin.root, "file", len(DATA), None)
    hint(tmp_path, origin, 20.0, wants_of(0, ref, 0, 1))
    assert not list(tmp_path.iterdir())
