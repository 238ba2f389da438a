"""The service dies in the middle of an announced order: its client announces the rest again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import anyio

from cachesvc.client import PlanState, Want
from tests.fakes.cached_directory import CachedDirectory, cached_directory
from tests.fakes.waiting import until

COUNT = 60
SIZE = 100_000
KILLS = 3


def test_an_announced_order_survives_the_service(tmp_path: Path) -> None:
    """The reader does nothing: all is fetched, by whichever service is there in the end."""
    logging.getLogger("cachesvc.link").setLevel(logging.ERROR)

    async def play(cached: CachedDirectory) -> None:
        async with cached.client() as client:
            refs = [await cached.write(f"file-{n}", os.urandom(SIZE)) for n in range(COUNT)]
            client.announce_nowait([Want(0, ref, 0) for ref in refs], bandwidth=10 * SIZE)

            async def is_fetched(number: int) -> bool:
                return await client.cached_bytes(refs[number]) == SIZE

            for kills in range(1, KILLS + 1):
                await until(lambda kills=kills: is_fetched(10 * kills))  # type: ignore[misc]
                cached.zygote.kill()
            progress = await client.progressed()
            with anyio.fail_after(30):
                while progress.state != PlanState.DONE:
                    progress = await client.progressed(progress)
            assert (progress.filled_count, progress.failed_count) == (COUNT, 0)
            assert [await client.cached_bytes(ref) for ref in refs] == [SIZE] * COUNT
            assert cached.zygote.starts == KILLS + 1

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")


def test_what_was_read_before_the_service_died_is_not_announced_again(tmp_path: Path) -> None:
    """A cache that holds a tenth: what the reader left behind would be fetched in vain."""
    logging.getLogger("cachesvc.link").setLevel(logging.ERROR)
    count = 1400

    async def play(cached: CachedDirectory) -> None:
        async with cached.client() as client:
            refs = [await cached.write(f"file-{n}", os.urandom(100)) for n in range(count)]
            client.announce_nowait([Want(0, ref, 0) for ref in refs], window_size=400_000)
            progress = None
            for ref in refs[:1200]:
                await client.read(0, ref, 0, 100)
            with anyio.fail_after(20):
                while progress is None or progress.read_count < 1100:
                    progress = await client.progressed(progress)
            cached.zygote.kill()
            await until(lambda: is_announced_anew(cached))
            with anyio.fail_after(20):
                while progress.filled_count < 1100:
                    progress = await client.progressed(progress)
            assert progress.read_count >= 1024

    async def is_announced_anew(cached: CachedDirectory) -> bool:
        return (
            cached.zygote.starts == 2
            and (await cached.stats())["reads_announced_now"] == count - 1024
        )

    with cached_directory(tmp_path) as cached:
        anyio.run(play, cached, backend="trio")
