"""Publishing: list a source, write the manifest, upload it, and only then move the ref.

Killed at any moment, a publisher leaves the old ref as it was: the manifest is made in an unlinked
temporary file, appears in the repository whole or not at all, and is named last, by one conditional
write.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from cachesvc.errors import ObjectMissingError, UsageError
from cachesvc.objectstore.protocol import ObjectStore
from vfs.errors import ManifestError, SourceEmptyError, SourceNamesError
from vfs.manifest.builder import ManifestBuilder, SnapshotInfo, Written
from vfs.manifest.packing import Packing
from vfs.manifest.tree import Tree
from vfs.snapshots.dataset import DEFAULT_REF, DEFAULT_REPOSITORY, Dataset, opened
from vfs.snapshots.hashing import chunk_hashes
from vfs.snapshots.listing import Listed, ListedKind, Listing
from vfs.snapshots.locallisting import LocalListing
from vfs.snapshots.names import Skipped
from vfs.snapshots.objectlisting import ObjectListing
from vfs.snapshots.packplan import PackOptions
from vfs.snapshots.packs import Packer
from vfs.snapshots.refs import Ref, StoredRef, check_ref_name, new_ref
from vfs.snapshots.repository import Repository, StoredSnapshot
from vfs.snapshots.spool import Spool, scratch_space, temporary_path

log = logging.getLogger(__name__)


class Step(StrEnum):
    """What publishing is busy with; each step is counted in a unit of its own."""

    LIST = "listing"
    HASH = "hashing"
    SORT = "sorting"
    PACK = "packing"
    WRITE = "writing the manifest"
    UPLOAD = "uploading the manifest"


class Progress(Protocol):
    """Who is told how far publishing has come."""

    def begin(self, step: Step, total: int | None) -> None:
        """Say that *step* begins, and how much of it there is, if that is known."""
        ...

    def advance(self, amount: int) -> None:
        """Say that *amount* more is done: bytes when hashing or packing, else entries."""
        ...


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What to publish as. With `strict`, names that cannot be shown are an error.

    Without `packing` every file is read where it lies in the source.
    """

    ref: str = DEFAULT_REF
    message: str = ""
    hashed: bool = False
    strict: bool = False
    packing: PackOptions | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """How many of a snapshot's files lie in packs, and what was packed for it."""

    file_count: int
    files_packed: int
    packs_made: int


NOT_PACKED = Packed(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Published:
    """What came of it. `moved` is false when the ref already named the same content.

    `written` tells of the source as it was found; `snapshot_id` and `manifest_size` are of the
    snapshot that the ref names now.
    """

    snapshot_id: str
    manifest_size: int
    ref: str
    moved: bool
    written: Written
    skipped: Skipped
    listing_seconds: float
    packed: Packed = NOT_PACKED


async def publish(dataset: Dataset, options: PublishOptions, progress: Progress) -> Published:
    """Publish what the dataset's source holds now, as the next snapshot of a ref.

    Raises RefConflictError when another publisher moved the ref meanwhile.
    """
    check_ref_name(options.ref)
    async with opened(dataset.source) as store, opened(dataset.repository) as snapshots:
        listing = listing_of(dataset, store)
        return await Publication(store, listing, Repository(snapshots), options, progress).run()


class Publication:
    """One run of a publisher: its steps, in order."""

    def __init__(
        self,
        store: ObjectStore,
        listing: Listing,
        repository: Repository,
        options: PublishOptions,
        progress: Progress,
    ) -> None:
        """Publish from *store*, as *listing* sees it, to *repository*."""
        self._store = store
        self._listing = listing
        self._repository = repository
        self._options = options
        self._progress = progress

    async def run(self) -> Published:
        """List, write, upload, move; the ref as it is now is the one that this run builds on."""
        base = await self._repository.ref(self._options.ref)
        with scratch_space(), closing(Spool()) as spool, temporary_path() as manifest:
            listing_seconds = await self._list(spool)
            builder = await self._build(spool)
            before = await self._base_tree(base)
            packing, packed = await self._pack(builder, before)
            written = await self._write(builder, packing, manifest, base)
            unmoved = base and self._unmoved(written, before, packed, base.ref)
            ref = unmoved or await self._name(written, manifest, base)
        return Published(
            snapshot_id=ref.snapshot_id,
            manifest_size=ref.manifest_size,
            ref=ref.name,
            moved=unmoved is None,
            written=written,
            skipped=self._listing.skipped,
            listing_seconds=listing_seconds,
            packed=packed,
        )

    async def _list(self, spool: Spool) -> float:
        started = time.monotonic()
        self._progress.begin(Step.LIST, None)
        async for batch in self._listing.batches():
            spool.append(batch)
            self._progress.advance(len(batch))
        if not spool.entry_count:
            raise SourceEmptyError(f"{self._store.root} holds no objects: check the URL")
        return time.monotonic() - started

    async def _build(self, spool: Spool) -> ManifestBuilder:
        builder = ManifestBuilder()
        hashed = self._options.hashed
        if hashed:
            self._progress.begin(Step.HASH, spool.file_bytes)
        else:
            self._progress.begin(Step.SORT, spool.entry_count)
        for batch in spool.batches():
            entries = list(self._listing.visible(batch))
            hashes = await self._hashes(entries)
            await anyio.to_thread.run_sync(add_entries, builder, entries, hashes)
            if not hashed:
                self._progress.advance(len(batch))
        self._check_names()
        return builder

    async def _hashes(self, entries: Sequence[Listed]) -> Sequence[bytes | None]:
        if not self._options.hashed:
            return [None] * len(entries)
        return await chunk_hashes(self._store, entries, self._progress.advance)

    def _check_names(self) -> None:
        lines = list(self._listing.skipped.lines())
        if lines and self._options.strict:
            raise SourceNamesError(f"not everything can be shown: {'; '.join(lines)}")

    async def _base_tree(self, base: StoredRef | None) -> Tree | None:
        """Return the snapshot that this run builds on, None where there is nothing to build on."""
        if base is None:
            return None
        found = StoredSnapshot(base.ref.snapshot_id, base.ref.manifest_size)
        try:
            tree = await self._repository.open_found(found)
        except (ManifestError, ObjectMissingError) as exc:
            log.warning("%s cannot be compared with: %s", base.ref.account, exc)
            return None
        return tree if tree.superblock.source == self._store.root else None

    async def _pack(
        self, builder: ManifestBuilder, before: Tree | None
    ) -> tuple[Packing | None, Packed]:
        if self._options.packing is None:
            return None, NOT_PACKED
        self._progress.begin(Step.PACK, None)
        packer = Packer(
            self._store, self._repository, self._options.packing, self._progress.advance
        )
        packing = await packer.run(builder, before)
        return packing, Packed(packing.file_count, packer.files_packed, packer.packs_made)

    async def _write(
        self,
        builder: ManifestBuilder,
        packing: Packing | None,
        path: Path,
        base: StoredRef | None,
    ) -> Written:
        self._progress.begin(Step.WRITE, None)
        info = SnapshotInfo(
            source=self._store.root,
            message=self._options.message,
            parent=None if base is None else base.ref.snapshot_id,
            created_ns=time.time_ns(),
            hashed=self._options.hashed,
        )
        return await anyio.to_thread.run_sync(builder.write, path, info, packing)

    @staticmethod
    def _unmoved(written: Written, before: Tree | None, packed: Packed, ref: Ref) -> Ref | None:
        """Return the ref if it names this very content already, and nothing was packed anew."""
        if before is None or packed.packs_made:
            return None
        return ref if before.superblock.root_digest == written.root_digest else None

    async def _name(self, written: Written, path: Path, base: StoredRef | None) -> Ref:
        self._progress.begin(Step.UPLOAD, None)
        snapshot = StoredSnapshot(written.snapshot_id, written.size)
        await self._repository.add(snapshot, path)
        previous = None if base is None else base.ref.snapshot_id
        ref = new_ref(self._options.ref, snapshot.snapshot_id, snapshot.manifest_size, previous)
        await self._repository.move(base, ref)
        return ref


def add_entries(
    builder: ManifestBuilder, entries: Sequence[Listed], hashes: Sequence[bytes | None]
) -> None:
    """Hand a batch of entries to *builder*."""
    for (kind, path, size, mtime_ns, mode, version, target), table in zip(
        entries, hashes, strict=True
    ):
        if kind is ListedKind.FILE:
            builder.add_file(path, size, mtime_ns, mode, version, table)
        elif kind is ListedKind.DIRECTORY:
            builder.add_directory(path, mtime_ns, mode)
        else:
            builder.add_symlink(path, target, mtime_ns, mode)


def listing_of(dataset: Dataset, store: ObjectStore) -> Listing:
    """Return the pass over the dataset's source that suits it, its repository left out."""
    left_out = frozenset({DEFAULT_REPOSITORY.encode(), *repository_inside(dataset)})
    if dataset.source.protocol == "file":
        return LocalListing(dataset.source.address, left_out)
    return ObjectListing(store, left_out)


def repository_inside(dataset: Dataset) -> Iterator[bytes]:
    """Yield the repository's path within the source, if it lies there."""
    source, repository = dataset.source.url.rstrip("/"), dataset.repository.url
    if repository.rstrip("/") == source:
        raise UsageError(
            f"{source} cannot be its own repository: leave --repo out, or name another"
        )
    if repository.startswith(source + "/"):
        yield repository[len(source) + 1 :].encode("utf-8", "surrogateescape")
