"""Lays a collected dataset out in a file: breadth first, page by page, the head last.

Knows positions, offsets and the order of the file; not how the dataset was collected. Memory is one
group of packed pages at a time (some 15 MB) beside the dataset itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from vfs.errors import InvalidNameError
from vfs.manifest.collected import HASH_SIZE, CollectedDirectory, shapes
from vfs.manifest.inode import DIRECTORY_TAG, PLACE, RECORD_SIZE, ROOT_POSITION, packed_entry
from vfs.manifest.packing import Packing
from vfs.manifest.page import (
    GROUP_SIZE,
    HASH_PAGE_RECORDS,
    PAGE_RECORDS,
    PAGE_SIZE_LIMIT,
    Group,
    PageEntry,
    digest_of,
    encode_index_page,
    encode_top_index,
    pack_page,
    top_index_size,
)
from vfs.manifest.stored import StoredObject, encode_object
from vfs.manifest.superblock import (
    Superblock,
    TableRoot,
    encode_superblock,
    snapshot_id_of,
    superblock_size,
)


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What a publisher says of a snapshot; see `Superblock`."""

    source: str
    created_ns: int
    message: str = ""
    parent: str | None = None
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole dataset, its directories sealed, and what was counted on the way."""

    root: CollectedDirectory
    file_count: int
    directory_count: int
    symlink_count: int
    hash_count: int
    packing: Packing
    chunk_size: int

    @property
    def inode_count(self) -> int:
        """How many inodes the manifest will have."""
        return self.file_count + self.directory_count + self.symlink_count


@dataclass(frozen=True, slots=True)
class Written:
    """The manifest that was written: `size` is that of its file."""

    snapshot_id: str
    size: int
    file_count: int
    directory_count: int
    symlink_count: int
    total_bytes: int
    root_digest: bytes


class TableWriter:
    """Writes one table's groups to the end of a file, each when it is full."""

    def __init__(self, out: BinaryIO) -> None:
        """Write from where *out* stands."""
        self._out = out
        self._groups: list[Group] = []
        self._entries: list[PageEntry] = []
        self._pages: list[bytes] = []

    def add_page(self, raw: bytes | bytearray, first_name: bytes = b"") -> None:
        """Take the next page."""
        packed = pack_page(raw)
        if max(len(raw), len(packed)) > PAGE_SIZE_LIMIT:
            raise InvalidNameError(
                f"names and versions near {first_name!r} are too long to publish"
            )
        self._pages.append(packed)
        self._entries.append(PageEntry(len(packed), digest_of(packed), first_name))
        if len(self._pages) == GROUP_SIZE:
            self._end_group()

    def finish(self) -> bytes:
        """Write the last group; return the top index."""
        if self._pages:
            self._end_group()
        return encode_top_index(self._groups)

    def _end_group(self) -> None:
        index = encode_index_page(self._entries)
        self._groups.append(Group(self._out.tell(), len(index), digest_of(index)))
        self._out.write(index)
        self._out.writelines(self._pages)
        self._entries.clear()
        self._pages.clear()


class HashPager:
    """Gathers hashes into pages. Numbers them in the order in which they come."""

    def __init__(self) -> None:
        """Begin with hash number 0."""
        self.count = 0
        self._hashes = bytearray()

    def add(self, hashes: bytes | bytearray) -> int:
        """Take the hashes of one object; return the number of the first."""
        first = self.count
        self._hashes += hashes
        self.count += len(hashes) // HASH_SIZE
        return first

    def write(self, table: TableWriter) -> None:
        """Write all of them."""
        page_size = HASH_PAGE_RECORDS * HASH_SIZE
        for start in range(0, len(self._hashes), page_size):
            table.add_page(self._hashes[start : start + page_size])


class InodePager:
    """Gathers records and their names and payloads into pages."""

    def __init__(self, table: TableWriter, inode_count: int) -> None:
        """Expect exactly *inode_count* inodes."""
        self._table = table
        self._left = inode_count
        self._at = 0
        self._begin_page()

    def add(self, entry: bytes | bytearray, parent: int, first: int, name_size: int) -> None:
        """Take the next inode in breadth-first order; *first* is its first child or first hash."""
        records, at = self._records, self._at
        records[at : at + RECORD_SIZE] = entry[:RECORD_SIZE]
        PLACE.pack_into(records, at, parent, first, self._room + len(self._heap))
        if at == 0:
            self._first_name = bytes(entry[RECORD_SIZE : RECORD_SIZE + name_size])
        self._heap += entry[RECORD_SIZE:]
        self._at = at + RECORD_SIZE
        if self._at == self._room:
            self._table.add_page(records + self._heap, self._first_name)
            self._begin_page()

    def _begin_page(self) -> None:
        count = min(self._left, PAGE_RECORDS)
        self._left -= count
        self._room = count * RECORD_SIZE
        self._records = bytearray(self._room)
        self._heap = bytearray()
        self._at = 0
        self._first_name = b""


def write_manifest(out_path: Path, plan: Plan, info: SnapshotInfo) -> Written:
    """Write the manifest of *plan* to *out_path* and return what it became."""
    root_digest, total_bytes = plan.root.digest, plan.root.bytes_below
    block_size = superblock_size(info.source, info.message)
    with out_path.open("wb") as out:
        out.seek(block_size + _top_index_sizes(plan))
        indexes = _write_tables(out, plan)
        size = out.tell()
        inodes, hashes, objects = _table_roots(plan, indexes, block_size)
        superblock = encode_superblock(
            Superblock(
                source=info.source,
                message=info.message,
                created_ns=info.created_ns,
                parent=info.parent,
                chunk_size=plan.chunk_size,
                hashed=info.hashed,
                file_count=plan.file_count,
                directory_count=plan.directory_count,
                symlink_count=plan.symlink_count,
                total_bytes=total_bytes,
                manifest_size=size,
                root_digest=root_digest,
                inodes=inodes,
                hashes=hashes,
                objects=objects,
            )
        )
        out.seek(0)
        out.write(superblock)
        out.writelines(indexes)
    return Written(
        snapshot_id=snapshot_id_of(superblock),
        size=size,
        file_count=plan.file_count,
        directory_count=plan.directory_count,
        symlink_count=plan.symlink_count,
        total_bytes=total_bytes,
        root_digest=root_digest,
    )


def _write_tables(out: BinaryIO, plan: Plan) -> tuple[bytes, bytes, bytes]:
    """Write inodes, hashes and objects; return the top index of each."""
    inodes, hashes, objects = TableWriter(out), TableWriter(out), TableWriter(out)
    pager = HashPager()
    _write_inodes(InodePager(inodes, plan.inode_count), pager, plan)
    inode_index = inodes.finish()
    stored = _numbered(plan, pager)
    pager.write(hashes)
    hash_index = hashes.finish()
    for start in range(0, len(stored), PAGE_RECORDS):
        objects.add_page(b"".join(map(encode_object, stored[start : start + PAGE_RECORDS])))
    return inode_index, hash_index, objects.finish()


def _write_inodes(pager: InodePager, hashes: HashPager, plan: Plan) -> None:
    """Write every inode breadth first, and let each directory's memory go when it is written."""
    root_entry = plan.root.entry()
    next_child = ROOT_POSITION + 1
    pager.add(root_entry, ROOT_POSITION, next_child if plan.root.child_count else 0, 0)
    next_child += plan.root.child_count
    queue = deque([(ROOT_POSITION, plan.root)])
    position = ROOT_POSITION
    while queue:
        parent, directory = queue.popleft()
        entries = directory.entries
        start = 0
        for name_stop, hash_start, stop, tag in shapes(entries, plan.chunk_size):
            position += 1
            first = 0
            if tag == DIRECTORY_TAG:
                child = directory.subdirectories[bytes(entries[start + RECORD_SIZE : name_stop])]
                queue.append((position, child))
                first = next_child if child.child_count else 0
                next_child += child.child_count
            elif hash_start != stop:
                first = hashes.add(entries[hash_start:stop])
            entry = entries[start:hash_start]
            if position in plan.packing:
                entry = packed_entry(entry, plan.packing.run_of(position))
            pager.add(entry, parent, first, name_stop - start - RECORD_SIZE)
            start = stop
        directory.forget()


def _numbered(plan: Plan, hashes: HashPager) -> list[StoredObject]:
    """Return the objects, each knowing where its hashes begin; the hashes follow the files'."""
    return [
        replace(stored, first_hash=hashes.add(own)) if own else stored
        for stored, own in plan.packing.objects
    ]


def _top_index_sizes(plan: Plan) -> int:
    return (
        top_index_size(plan.inode_count, PAGE_RECORDS)
        + top_index_size(plan.hash_count, HASH_PAGE_RECORDS)
        + top_index_size(len(plan.packing.objects), PAGE_RECORDS)
    )


def _table_roots(plan: Plan, indexes: Sequence[bytes], offset: int) -> Iterator[TableRoot]:
    counts = (plan.inode_count, plan.hash_count, len(plan.packing.objects))
    for count, index in zip(counts, indexes, strict=True):
        yield TableRoot(count, offset, digest_of(index))
        offset += len(index)
