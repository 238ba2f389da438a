"""A repository: where a dataset's snapshots and refs lie in object storage.

refs/<name>        which snapshot a name means now (see `refs`)
snapshots/<id>     one manifest, immutable
packs/<id>         small files laid end to end, named by what is in it
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cachesvc.errors import ObjectMissingError
from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.protocol import ObjectStore
from vfs.errors import AmbiguousSnapshotError, SnapshotMissingError
from vfs.manifest.superblock import Superblock
from vfs.manifest.tree import Tree
from vfs.snapshots.dataset import DEFAULT_REF, Dataset, opened
from vfs.snapshots.refs import REF_NAME, SNAPSHOT_ID, Ref, StoredRef, move_ref, read_ref, read_refs
from vfs.snapshots.storesource import StoreSource

SNAPSHOT_PREFIX = "snapshots/"
PACK_PREFIX = "packs/"
SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot that was found in a repository: its id and how long its manifest is."""

    snapshot_id: str
    manifest_size: int


class Repository:
    """Snapshots and refs over one object store, which belongs to the caller."""

    def __init__(self, store: ObjectStore) -> None:
        """Look into *store*, whose root is the repository's."""
        self._store = store

    @property
    def root(self) -> str:
        """Where the repository lies, for messages."""
        return self._store.root

    async def ref(self, name: str) -> StoredRef | None:
        """Return the ref *name*, or None when there is none."""
        return await read_ref(self._store, name)

    async def refs(self) -> list[Ref]:
        """Return all refs, sorted by name."""
        found = [stored.ref async for stored in read_refs(self._store)]
        return sorted(found, key=lambda ref: ref.name)

    async def move(self, expected: StoredRef | None, wanted: Ref) -> None:
        """Put *wanted* where *expected* is, or raise RefConflictError naming the winner."""
        await move_ref(self._store, expected, wanted)

    async def add(self, snapshot: StoredSnapshot, manifest: Path) -> None:
        """Upload a manifest; nobody sees it before it is whole."""
        await self._store.put_file(key_of(snapshot.snapshot_id), manifest)

    async def add_pack(self, pack_id: str, size: int, pack: Path) -> None:
        """Upload a pack, unless it is there: another publisher may have got as far as that."""
        key = pack_key(pack_id)
        if not await self.has(key, size):
            await self._store.put_file(key, pack)

    async def has(self, key: str, size: int) -> bool:
        """Say whether an object of that size is there."""
        try:
            return (await self._store.head(key)).size == size
        except ObjectMissingError:
            return False

    async def find(self, name: str) -> StoredSnapshot:
        """Return the snapshot that *name* means: a ref, a whole id, or the unique start of one."""
        return await self.find_whole(name) or await self._with_prefix(name)

    async def find_whole(self, name: str) -> StoredSnapshot | None:
        """Return the snapshot that *name* means as a ref or a whole id, without listing any."""
        if SNAPSHOT_ID.fullmatch(name):
            return await self._with_id(name)
        stored = await self.ref(name) if REF_NAME.fullmatch(name) else None
        if stored is None:
            return None
        return StoredSnapshot(stored.ref.snapshot_id, stored.ref.manifest_size)

    async def open(self, name: str) -> Tree:
        """Open the snapshot that *name* means, its id checked."""
        found = await self.find(name)
        return await self.open_found(found)

    async def open_found(self, found: StoredSnapshot) -> Tree:
        """Open a snapshot that was found."""
        source = StoreSource(self._store, key_of(found.snapshot_id), found.manifest_size)
        return await Tree.open(source, found.snapshot_id)

    async def history(self, name: str, limit: int | None) -> AsyncIterator[tuple[str, Superblock]]:
        """Yield the snapshot that *name* means and the ones it was built on, at most *limit*.

        The history ends where a snapshot was removed.
        """
        found: StoredSnapshot | None = await self.find(name)
        while found is not None:
            block = (await self.open_found(found)).superblock
            yield found.snapshot_id, block
            limit = None if limit is None else limit - 1
            found = await self._parent(block) if limit != 0 else None

    async def _parent(self, block: Superblock) -> StoredSnapshot | None:
        if block.parent is None:
            return None
        try:
            return await self._with_id(block.parent)
        except SnapshotMissingError:
            return None

    async def _with_id(self, snapshot_id: str) -> StoredSnapshot:
        try:
            info = await self._store.head(key_of(snapshot_id))
        except ObjectMissingError as exc:
            raise self._missing(snapshot_id) from exc
        return StoredSnapshot(snapshot_id, info.size)

    async def _with_prefix(self, prefix: str) -> StoredSnapshot:
        if len(prefix) < SHORTEST_PREFIX or not set(prefix) <= set("0123456789abcdef"):
            raise self._missing(prefix)
        found = [snapshot async for snapshot in self._starting_with(prefix)]
        if not found:
            raise self._missing(prefix)
        if len(found) > 1:
            ids = ", ".join(sorted(snapshot.snapshot_id for snapshot in found)[:3])
            raise AmbiguousSnapshotError(
                f"{prefix!r} is the start of {len(found)} snapshots ({ids}): give more of the id"
            )
        return found[0]

    async def _starting_with(self, prefix: str) -> AsyncIterator[StoredSnapshot]:
        async for batch in self._store.list(SNAPSHOT_PREFIX + prefix):
            for info in batch:
                snapshot_id = info.key.removeprefix(SNAPSHOT_PREFIX)
                if SNAPSHOT_ID.fullmatch(snapshot_id):
                    yield StoredSnapshot(snapshot_id, info.size)

    def _missing(self, name: str) -> SnapshotMissingError:
        return SnapshotMissingError(
            f"{self.root} has no snapshot or ref {name!r}: `headrace refs` lists the refs"
        )


@asynccontextmanager
async def opened_repository(origin: Origin) -> AsyncIterator[Repository]:
    """Open the repository at *origin* for the length of a block."""
    async with opened(origin) as store:
        yield Repository(store)


def key_of(snapshot_id: str) -> str:
    """Return where the snapshot's manifest lies in its repository."""
    return SNAPSHOT_PREFIX + snapshot_id


def pack_key(pack_id: str) -> str:
    """Return where a pack lies in its repository."""
    return PACK_PREFIX + pack_id


async def published_snapshot(dataset: Dataset) -> StoredSnapshot | None:
    """Return the snapshot that *dataset* names; None when it names none and was never published."""
    async with opened(dataset.repository) as store:
        repository = Repository(store)
        if dataset.snapshot is not None:
            return await repository.find(dataset.snapshot)
        stored = await repository.ref(DEFAULT_REF)
        if stored is None:
            return None
        return StoredSnapshot(stored.ref.snapshot_id, stored.ref.manifest_size)
