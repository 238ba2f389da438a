"""`python -m bench.download URL DIRECTORY CONNECTIONS`: copies all objects below a URL."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from obstore.store import S3Store

from bench.upload import bucket_store


async def download(store: S3Store, directory: Path, connections: int) -> None:
    """Copy every object, so many at once."""
    room = asyncio.Semaphore(connections)
    async with asyncio.TaskGroup() as tasks:
        async for batch in store.list():
            for listed in batch:
                await room.acquire()
                copied = tasks.create_task(copy(store, listed["path"], directory))
                copied.add_done_callback(lambda _: room.release())


async def copy(store: S3Store, key: str, directory: Path) -> None:
    """Copy one object."""
    path = directory / key
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = await store.get_async(key)
    with path.open("wb", buffering=0) as file:
        async for part in answer.stream(min_chunk_size=1 << 20):
            file.write(part)


if __name__ == "__main__":
    asyncio.run(
        download(bucket_store(sys.argv[1], os.environ), Path(sys.argv[2]), int(sys.argv[3]))
    )
    # All is on the disk; obstore's threads abort the interpreter now and then while it ends.
    os._exit(0)
