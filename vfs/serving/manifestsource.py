"""A manifest's bytes by way of the node's cache: it is one more immutable object."""

from __future__ import annotations

from cachesvc.chunk import ObjectRef
from cachesvc.client import CacheClient
from vfs.errors import ManifestForeignError
from vfs.manifest.tree import ByteSource, Tree
from vfs.serving.extent import REPOSITORY
from vfs.snapshots.repository import StoredSnapshot, key_of

MANIFEST_CHUNK_SIZE = 256 * 1024
"""Less than a data chunk: a mount wants the superblock and one page of any dataset."""


class CachedManifest:
    """One snapshot's manifest (`vfs.manifest.tree.ByteSource`); its id stands for a version."""

    def __init__(self, client: CacheClient, root: str, snapshot: StoredSnapshot) -> None:
        """Read *snapshot*'s manifest from the client's repository, whose root is *root*."""
        self._client = client
        self._size = snapshot.manifest_size
        self._ref = manifest_ref(root, snapshot)

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`, fewer only where the manifest ends."""
        stop = min(stop, self._size)
        return await self._client.read(REPOSITORY, self._ref, start, stop) if start < stop else b""

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        """Return what `read` would, from the repository where the node's cache has *bad*.

        These chunks have no hash or version by which the cache could tell that they are damaged.
        """
        stop = min(stop, self._size)
        if start >= stop:
            return b""
        return await self._client.reread(REPOSITORY, self._ref, start, stop, bad)


def manifest_ref(root: str, snapshot: StoredSnapshot) -> ObjectRef:
    """Return the object that *snapshot*'s manifest is, in the repository whose root is *root*."""
    key = key_of(snapshot.snapshot_id)
    return ObjectRef(root, key, snapshot.manifest_size, None, MANIFEST_CHUNK_SIZE)


async def open_cached(
    client: CacheClient, source: str, repository: str, snapshot: StoredSnapshot
) -> Tree:
    """Open *snapshot* by way of the cache; *source* and *repository* are roots."""
    manifest = CachedManifest(client, repository, snapshot)
    return await open_tree(manifest, source, repository, snapshot)


async def open_tree(
    manifest: ByteSource, source: str, repository: str, snapshot: StoredSnapshot
) -> Tree:
    """Open *snapshot*, whose bytes *manifest* has, its id checked.

    Raises ManifestForeignError for a snapshot of another source.
    """
    tree = await Tree.open(manifest, snapshot.snapshot_id)
    check_is_of(source, tree, repository)
    return tree


def check_is_of(source: str, tree: Tree, repository: str) -> None:
    """Raise ManifestForeignError unless *tree* is of *source*: else its keys mean other objects."""
    if tree.superblock.source != source:
        raise ManifestForeignError(
            f"snapshot {tree.snapshot_id} in {repository} is of {tree.superblock.source}: "
            f"publish {source} to mount it"
        )
