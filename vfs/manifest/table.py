"""Reads the pages of a manifest's tables, each checked once, and keeps the latest in memory.

Knows offsets, digests and memory; not what a record means.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from vfs.errors import ManifestError
from vfs.manifest.page import (
    GROUP_SIZE,
    Group,
    IndexPage,
    damaged,
    decode_index_page,
    decode_top_index,
    page_count,
    top_index_size,
    unpack_page,
)
from vfs.manifest.superblock import TableRoot

INDEX_PAGES_KEPT: Final = 64
"""Index pages in memory: more than one binary search over all groups ever touches."""

V = TypeVar("V")


class ByteSource(Protocol):
    """Where a manifest's bytes come from."""

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`, fewer only where the manifest ends."""
        ...

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        """Return what `read` would, from where they lie: it gave *bad*, which cannot be right."""
        ...


async def read_decoded(
    source: ByteSource, start: int, stop: int, decode: Callable[[bytes], V]
) -> V:
    """Return what *decode* makes of the bytes `[start, stop)`.

    Bytes that it refuses are read once more: the damage may be on the way here, or in a cache.
    """
    data = await source.read(start, stop)
    with suppress(ManifestError):
        return decode(data)
    return decode(await source.reread(start, stop, data))


class NotInMemoryError(Exception):
    """A page has to be read first. Never leaves `Tree`: it says what to wait for."""

    def __init__(self, page: int | None, group: int) -> None:
        """Miss a page of records, or only the index page of its group when *page* is None."""
        super().__init__(page, group)
        self.page = page
        self.group = group


class LruCache(Generic[V]):
    """The values used last, by number, while their sizes add up to at most *limit*; never none."""

    def __init__(self, limit: int) -> None:
        """Keep nothing yet."""
        self._limit = limit
        self._size = 0
        self._values: OrderedDict[int, tuple[V, int]] = OrderedDict()

    @property
    def size(self) -> int:
        """The sum of the sizes of the values kept."""
        return self._size

    def get(self, number: int) -> V | None:
        """Return a value, which is the latest used now, or None."""
        found = self._values.get(number)
        if found is None:
            return None
        self._values.move_to_end(number)
        return found[0]

    def put(self, number: int, value: V, size: int) -> None:
        """Keep a value, and let the ones used longest ago go."""
        replaced = self._values.pop(number, None)
        if replaced is not None:
            self._size -= replaced[1]
        self._values[number] = (value, size)
        self._size += size
        while self._size > self._limit and len(self._values) > 1:
            self._size -= self._values.popitem(last=False)[1][1]


class PageReader:
    """Reads byte ranges of one manifest, whole or not at all, and counts them."""

    def __init__(self, source: ByteSource, file_size: int) -> None:
        """Read a manifest of *file_size* bytes."""
        self._source = source
        self.file_size = file_size
        self.pages_read = 0

    async def read(self, start: int, length: int, decode: Callable[[bytes], V]) -> V:
        """Return what *decode* makes of exactly *length* bytes from *start*."""
        if start + length > self.file_size:
            raise damaged("it points outside the file")
        self.pages_read += 1

        def decode_whole(data: bytes) -> V:
            if len(data) != length:
                raise damaged("the file is truncated")
            return decode(data)

        return await read_decoded(self._source, start, start + length, decode_whole)


class PagedTable:
    """One table of a manifest: raw pages by number, and the name of the first record of each."""

    def __init__(
        self,
        reader: PageReader,
        root: TableRoot,
        *,
        page_records: int,
        record_size: int,
        cache_size: int,
    ) -> None:
        """Read the table at *root*, whose records have at least *record_size* bytes."""
        self.record_count = root.record_count
        self._reader = reader
        self._root = root
        self._page_records = page_records
        self._record_size = record_size
        self._page_count = page_count(root.record_count, page_records)
        self._groups: tuple[Group, ...] | None = None
        self._indexes: LruCache[IndexPage] = LruCache(INDEX_PAGES_KEPT)
        self._pages: LruCache[bytes] = LruCache(cache_size)

    @property
    def memory_size(self) -> int:
        """Bytes of pages in memory."""
        return self._pages.size

    def page_nowait(self, number: int) -> bytes | None:
        """Return a page that is in memory, or None."""
        return self._pages.get(number)

    def demand_page(self, number: int) -> bytes:
        """Return a page that is in memory; raises NotInMemoryError when it is not."""
        page = self._pages.get(number)
        if page is None:
            raise NotInMemoryError(number, number // GROUP_SIZE)
        return page

    def demand_first_name(self, number: int) -> bytes:
        """Return the name of a page's first record, from the index in memory."""
        group, place = divmod(number, GROUP_SIZE)
        index = self._indexes.get(group)
        if index is None:
            raise NotInMemoryError(None, group)
        return index.entries[place].first_name

    async def load(self, missing: NotInMemoryError) -> None:
        """Read what *missing* says is missing."""
        if missing.page is None:
            await self._index(missing.group)
        else:
            await self.page(missing.page)

    async def page(self, number: int) -> bytes:
        """Return a page, read and checked if it is not in memory."""
        kept = self._pages.get(number)
        if kept is not None:
            return kept
        group, place = divmod(number, GROUP_SIZE)
        index = await self._index(group)
        entry = index.entries[place]
        least_size = self._records_in(number) * self._record_size
        unpack = partial(unpack_page, digest=entry.digest, least_size=least_size)
        page = await self._reader.read(index.offsets[place], entry.length, unpack)
        self._pages.put(number, page, len(page))
        return page

    async def _index(self, number: int) -> IndexPage:
        kept = self._indexes.get(number)
        if kept is not None:
            return kept
        group = (await self._top_index())[number]
        count = min(GROUP_SIZE, self._page_count - number * GROUP_SIZE)
        decode = partial(
            decode_index_page, group=group, count=count, file_size=self._reader.file_size
        )
        index = await self._reader.read(group.offset, group.index_length, decode)
        self._indexes.put(number, index, 1)
        return index

    async def _top_index(self) -> tuple[Group, ...]:
        if self._groups is None:
            size = top_index_size(self._root.record_count, self._page_records)
            decode = partial(
                decode_top_index, digest=self._root.index_digest, file_size=self._reader.file_size
            )
            self._groups = await self._reader.read(self._root.index_offset, size, decode)
        return self._groups

    def _records_in(self, page: int) -> int:
        return min(self._page_records, self.record_count - page * self._page_records)
