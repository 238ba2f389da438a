"""A directory of files, read through a real cache service: where tests of the cache start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from cachesvc.ask import ask_service
from cachesvc.chunk import CHUNK_SIZE, ObjectRef
from cachesvc.client import CacheClient
from cachesvc.config import CacheConfig
from cachesvc.objectstore.local import LocalStore
from cachesvc.objectstore.origin import Origin, parse_origin
from cachesvc.units import MIB
from tests.fakes.service_process import ServiceZygote, service_zygote


@dataclass(frozen=True)
class CachedDirectory:
    """Files in `source`, and services for them."""

    source: Path
    zygote: ServiceZygote

    @property
    def config(self) -> CacheConfig:
        """The configuration of the service."""
        return self.zygote.config

    @property
    def origin(self) -> Origin:
        """The files as an origin."""
        return parse_origin(str(self.source))

    @asynccontextmanager
    async def client(self, deadline_seconds: float = 20.0) -> AsyncIterator[CacheClient]:
        """A connected client. One process must not have two at a time."""
        client = CacheClient(
            self.config.directory,
            [self.origin],
            ensure=self.zygote.ensure_async,
            deadline_seconds=deadline_seconds,
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(client.run)
            yield client
            tasks.cancel_scope.cancel()

    async def write(self, key: str, data: bytes, chunk_size: int = CHUNK_SIZE) -> ObjectRef:
        """Write a file and return the reference to this version of it."""
        path = self.source / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        info = await LocalStore(self.origin).head(key)
        return ObjectRef(self.origin.root, key, info.size, info.version, chunk_size)

    async def stats(self) -> dict[str, Any]:
        """What the service says of itself."""
        return await ask_service(self.config.directory, "stats")

    async def stop(self) -> None:
        """Stop the service cleanly and wait for its end."""
        await ask_service(self.config.directory, "stop")
        await anyio.to_thread.run_sync(self.zygote.wait)


@contextmanager
def cached_directory(
    tmp_path: Path, size: int = 64 * MIB, free_floor: int = 0
) -> Iterator[CachedDirectory]:
    """An empty directory with a small cache of its own."""
    source = tmp_path / "source"
    source.mkdir()
    config = CacheConfig(tmp_path / "cache", size=size, free_floor=free_floor)
    with service_zygote(config) as zygote:
        yield CachedDirectory(source, zygote)
