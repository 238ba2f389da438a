"""A manifest's bytes by way of the node's cache: it is one more immutable object."""

from __future__ import annotations

from cachesvc.chunk import ObjectRef
from cachesvc.client import CacheClient
from vfs.snapshots.repository import key_of

MANIFEST_CHUNK_SIZE = 256 * 1024
"""Less than a data chunk: a mount wants the superblock and one page of any dataset."""


class CachedManifest:
    """One snapshot's manifest (`vfs.manifest.tree.ByteSource`); its id stands for a version."""

    def __init__(
        self, client: CacheClient, origin: int, root: str, snapshot_id: str, size: int
    ) -> None:
        """Read the manifest of *size* bytes from the origin number *origin* with that *root*."""
        self._client = client
        self._origin = origin
        self._size = size
        self._ref = ObjectRef(root, key_of(snapshot_id), size, None, MANIFEST_CHUNK_SIZE)

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`, fewer only where the manifest ends."""
        stop = min(stop, self._size)
        return (
            await self._client.read(self._origin, self._ref, start, stop) if start < stop else b""
        )

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        """Return what `read` would, from the repository where the node's cache has *bad*.

        These chunks have no hash or version by which the cache could tell that they are damaged.
        """
        stop = min(stop, self._size)
        if start >= stop:
            return b""
        return await self._client.reread(self._origin, self._ref, start, stop, bad)
