"""What files consist of, read from a manifest: the hashes of chunks, and the objects of extents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from vfs.manifest.inode import Extent, Inode
from vfs.manifest.page import HASH_PAGE_RECORDS, PAGE_RECORDS, damaged
from vfs.manifest.stored import LEAST_OBJECT_SIZE, StoredObject, decode_objects
from vfs.manifest.superblock import Superblock
from vfs.manifest.table import LruCache, PagedTable, PageReader

OBJECTS_KEPT: Final = 4096
"""Decoded objects in memory, some 400 bytes each: packs of a terabyte."""
_CACHE_SIZE: Final = 1 << 20
_HASH_SIZE: Final = 8


class Contents:
    """The tables of one manifest that inodes and extents refer to."""

    def __init__(self, reader: PageReader, superblock: Superblock) -> None:
        """Read them with *reader* where *superblock* says that they lie."""
        self._chunk_size = superblock.chunk_size
        table = partial(PagedTable, reader, cache_size=_CACHE_SIZE)
        self._hashes = table(
            superblock.hashes, page_records=HASH_PAGE_RECORDS, record_size=_HASH_SIZE
        )
        self._objects = table(
            superblock.objects, page_records=PAGE_RECORDS, record_size=LEAST_OBJECT_SIZE
        )
        self._stored: LruCache[StoredObject] = LruCache(OBJECTS_KEPT)

    async def chunk_hashes(self, inode: Inode, start: int, stop: int) -> Sequence[int] | None:
        """Return the xxh3 of a file's own chunks `[start, stop)`; None when there are none."""
        if not inode.hashed:
            return None
        chunk_size = self._chunk_size
        return await self._hash_range(inode.first, inode.size, chunk_size, start, stop)

    async def object_hashes(
        self, stored: StoredObject, start: int, stop: int
    ) -> Sequence[int] | None:
        """Return the xxh3 of a stored object's chunks `[start, stop)`; None when there are none."""
        if stored.first_hash is None:
            return None
        first, chunk_size = stored.first_hash, stored.chunk_size
        return await self._hash_range(first, stored.size, chunk_size, start, stop)

    def object_of_nowait(self, extent: Extent) -> StoredObject | None:
        """Return the object that an extent is a run of, or None when it must be read first."""
        stored = self._stored.get(extent.number)
        return None if stored is None else _holding(stored, extent)

    async def object_of(self, extent: Extent) -> StoredObject:
        """Return the object that an extent is a run of; the run lies within it."""
        stored = self._stored.get(extent.number)
        if stored is None:
            if extent.number >= self._objects.record_count:
                raise damaged(f"it names object {extent.number}, which it does not have")
            number, index = divmod(extent.number, PAGE_RECORDS)
            page = await self._objects.page(number)
            count = min(PAGE_RECORDS, self._objects.record_count - number * PAGE_RECORDS)
            stored = decode_objects(page, count)[index]
            self._stored.put(extent.number, stored, 1)
        return _holding(stored, extent)

    async def _hash_range(
        self, first: int, size: int, chunk_size: int, start: int, stop: int
    ) -> Sequence[int]:
        chunk_count = -(-size // chunk_size)
        if first + chunk_count > self._hashes.record_count:
            raise damaged("it names chunk hashes which it does not have")
        return [
            await self._hash(number)
            for number in range(first + start, first + min(stop, chunk_count))
        ]

    async def _hash(self, number: int) -> int:
        page, index = divmod(number, HASH_PAGE_RECORDS)
        at = index * _HASH_SIZE
        return int.from_bytes((await self._hashes.page(page))[at : at + _HASH_SIZE], "little")


def _holding(stored: StoredObject, extent: Extent) -> StoredObject:
    """Return *stored*, in which *extent* must lie."""
    if extent.offset + extent.length > stored.size:
        raise damaged(f"an extent ends after its object {stored.key!r}")
    return stored
