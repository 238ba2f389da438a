"""One snapshot's tree of inodes, read from its manifest page by page.

Every question has a path that does not wait while the pages are in memory: the `_nowait` methods,
which the others try first. Nothing a manifest says is followed before it is checked: whatever
bytes it is made of, an answer is right for a tree that the manifest describes, or a ManifestError.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final, TypeVar

from vfs.errors import StaleInodeError
from vfs.manifest.contents import Contents
from vfs.manifest.inode import (
    RECORD_SIZE,
    ROOT_POSITION,
    Inode,
    decode_inode,
    name_at,
)
from vfs.manifest.page import PAGE_RECORDS, damaged
from vfs.manifest.siblings import NO_SIBLINGS, Siblings, decode_siblings, name_sizes
from vfs.manifest.superblock import (
    SUPERBLOCK_SIZE_LIMIT,
    Superblock,
    decode_superblock,
    size_in_prefix,
    snapshot_id_of,
)
from vfs.manifest.table import (
    ByteSource,
    NotInMemoryError,
    PagedTable,
    PageReader,
    read_decoded,
)

__all__ = ["ByteSource", "NotLoaded", "Tree"]

CACHE_SIZE: Final = 16 << 20
"""Bytes of inode pages in memory: some 190 pages, 190,000 inodes."""

R = TypeVar("R")
Fitting = Callable[[bytes], int]
ReadChildren = Callable[[Inode, int], Awaitable[Sequence[Inode]]]


class NotLoaded(Enum):
    """The answer of a `_nowait` method whose page is not in memory: ask the waiting twin."""

    NOT_LOADED = "not loaded"


class Tree:
    """The inodes of one snapshot by position, name or path. Open with `Tree.open`.

    What lies in files is told by `contents`.
    """

    def __init__(
        self, reader: PageReader, superblock: Superblock, snapshot_id: str, cache_size: int
    ) -> None:
        """Wrap a manifest whose superblock was read and checked."""
        self.superblock = superblock
        self.snapshot_id = snapshot_id
        self._reader = reader
        self._last_position = superblock.inode_count
        self._inodes = PagedTable(
            reader,
            superblock.inodes,
            page_records=PAGE_RECORDS,
            record_size=RECORD_SIZE,
            cache_size=cache_size,
        )
        self.contents = Contents(reader, superblock)

    @classmethod
    async def open(
        cls, source: ByteSource, snapshot_id: str | None, cache_size: int = CACHE_SIZE
    ) -> Tree:
        """Read the superblock and the root's page; check that it is *snapshot_id*, unless None.

        Raises ManifestError leaves, and what *source* raises.
        """
        decode = partial(_decode_head, snapshot_id=snapshot_id)
        superblock, found_id = await read_decoded(source, 0, SUPERBLOCK_SIZE_LIMIT, decode)
        reader = PageReader(source, superblock.manifest_size)
        tree = cls(reader, superblock, found_id, cache_size)
        if (await tree.inode(ROOT_POSITION)).digest != superblock.root_digest:
            raise damaged("its superblock and its root disagree")
        return tree

    @property
    def pages_read(self) -> int:
        """How many pages, index pages among them, were read so far."""
        return self._reader.pages_read

    @property
    def memory_size(self) -> int:
        """Bytes of inode pages in memory."""
        return self._inodes.memory_size

    # By position

    def inode_nowait(self, position: int) -> Inode | None:
        """Return the inode at *position*, or None when its page is not in memory.

        Raises StaleInodeError when the snapshot has no such position.
        """
        number, index = divmod(position - 1, PAGE_RECORDS)
        page = self._inodes.page_nowait(number)
        if page is None or position > self._last_position:
            self._check_position(position)
            return None
        return decode_inode(page, index, position)

    async def inode(self, position: int) -> Inode:
        """Return the inode at *position*. Raises StaleInodeError when there is none."""
        self._check_position(position)
        number, index = divmod(position - 1, PAGE_RECORDS)
        return decode_inode(await self._inodes.page(number), index, position)

    def path_of_nowait(self, position: int) -> bytes | None:
        """Return the path from the root, or None when not all of its pages are in memory."""
        names = []
        inode = self.inode_nowait(position)
        while inode is not None and inode.position != ROOT_POSITION:
            names.append(inode.name)
            parent = self.inode_nowait(inode.parent)
            inode = parent and self._claiming(parent, inode)
        return None if inode is None else b"/".join(reversed(names))

    async def path_of(self, position: int) -> bytes:
        """Return the path from the root, `b""` for the root itself.

        Climbs one inode at a time, so that a path may lie on more pages than memory holds.
        """
        names = []
        inode = await self.inode(position)
        while inode.position != ROOT_POSITION:
            names.append(inode.name)
            inode = self._claiming(await self.inode(inode.parent), inode)
        return b"/".join(reversed(names))

    def _claiming(self, parent: Inode, child: Inode) -> Inode:
        """Return *parent*, which must count *child* among its children.

        Climbing ends: `decode_inode` has seen that a parent's position is lower than its child's.
        """
        first, stop = self._range(parent)
        if not first <= child.position < stop:
            raise _misplaced(child.position)
        return parent

    # By name

    def lookup_nowait(self, parent: Inode, name: bytes) -> Inode | NotLoaded | None:
        """Return the child *name* of *parent*; None when there is none; or NOT_LOADED."""
        try:
            return self._lookup(parent, name)
        except NotInMemoryError:
            return NotLoaded.NOT_LOADED

    async def lookup(self, parent: Inode, name: bytes) -> Inode | None:
        """Return the child *name* of *parent*, or None: at most one inode page is read."""
        return await self._loading(lambda: self._lookup(parent, name))

    async def resolve(self, path: bytes) -> Inode | None:
        """Return what lies at *path*; `b""` is the root. Symlinks are not followed."""
        inode = await self.inode(ROOT_POSITION)
        for name in path.split(b"/") if path else ():
            found = await self.lookup(inode, name)
            if found is None:
                return None
            inode = found
        return inode

    def _lookup(self, parent: Inode, name: bytes) -> Inode | None:
        first, stop = self._range(parent)
        if first == stop:
            return None
        start = first - 1  # records count from 0
        last_page = (stop - 2) // PAGE_RECORDS
        number = start // PAGE_RECORDS
        if number != last_page:
            number = self._page_that_may_hold(name, number, last_page)
        page = self._inodes.demand_page(number)
        base = number * PAGE_RECORDS
        low, high = max(start - base, 0), min(stop - 1 - base, PAGE_RECORDS)
        index = bisect_left(range(high), name, lo=low, key=partial(name_at, page))
        if index == high or name_at(page, index) != name:
            return None
        return _child(page, index, base + index + 1, parent)

    def _page_that_may_hold(self, name: bytes, low: int, high: int) -> int:
        """Return the last of the pages whose first name is not after *name*, or *low*."""
        first_name = self._inodes.demand_first_name
        while low < high:
            middle = (low + high + 1) // 2
            if first_name(middle) <= name:
                low = middle
            else:
                high = middle - 1
        return low

    # Listings

    def children(self, parent: Inode, start: int = 0) -> AsyncIterator[Sequence[Inode]]:
        """Yield the children from number *start* on, sorted by name, page by page."""
        return _Listing(self.children_from, parent, start)

    async def children_from(self, parent: Inode, start: int) -> Sequence[Inode]:
        """Return the children from *start* to the end of their page; none after the last."""
        return await self._loading(lambda: self._children(parent, start))

    def siblings_nowait(self, parent: Inode, start: int, fitting: Fitting) -> Siblings | None:
        """Return the same as `siblings`, or None when their page is not in memory."""
        try:
            return self._siblings(parent, start, fitting)
        except NotInMemoryError:
            return None

    async def siblings(self, parent: Inode, start: int, fitting: Fitting) -> Siblings:
        """Return children from *start* on that lie on one page; none only after the last.

        *fitting* says how many it should be at most, from the lengths of their names.
        """
        return await self._loading(lambda: self._siblings(parent, start, fitting))

    def _siblings(self, parent: Inode, start: int, fitting: Fitting) -> Siblings:
        at, stop, page = self._page_of_children(parent, start)
        index = (at - 1) % PAGE_RECORDS
        count = fitting(name_sizes(page, index, stop - at))
        if count == 0:
            return NO_SIBLINGS
        after = self._name_before(at) if start > 0 else b""
        return decode_siblings(page, index, count, at, parent=parent.position, after=after)

    def _name_before(self, position: int) -> bytes:
        """Return the name of the record before, or b"" when its page is not in memory."""
        number, index = divmod(position - 2, PAGE_RECORDS)
        page = self._inodes.page_nowait(number)
        return b"" if page is None else name_at(page, index)

    def _page_of_children(self, parent: Inode, start: int) -> tuple[int, int, bytes]:
        """Return the positions of the children from *start* on that lie on one page, and it."""
        first, stop = self._range(parent)
        at = first + start
        if at >= stop:
            return at, at, b""
        number = (at - 1) // PAGE_RECORDS
        page = self._inodes.demand_page(number)
        return at, min(stop, (number + 1) * PAGE_RECORDS + 1), page

    def _children(self, parent: Inode, start: int) -> Sequence[Inode]:
        at, stop, page = self._page_of_children(parent, start)
        index = (at - 1) % PAGE_RECORDS
        batch = []
        last_name = b""
        for position in range(at, stop):
            child = _child(page, index, position, parent)
            if child.name <= last_name:
                raise _misplaced(position)
            last_name = child.name
            batch.append(child)
            index += 1
        return batch

    # Common to all

    async def _loading(self, ask: Callable[[], R]) -> R:
        """Ask, read what turns out to be missing, and ask again until nothing is."""
        while True:
            try:
                return ask()
            except NotInMemoryError as missing:
                await self._inodes.load(missing)

    def _range(self, parent: Inode) -> tuple[int, int]:
        """Return the positions `[first, stop)` of the children, all after *parent* and existing."""
        first = parent.first_child
        stop = first + parent.child_count
        if stop > self._last_position + 1:
            raise _misplaced(parent.position)
        return first, stop

    def _check_position(self, position: int) -> None:
        if not 0 < position <= self._last_position:
            raise StaleInodeError(f"snapshot {self.snapshot_id} has no inode {position}")


class _Listing:
    """A directory's children, page by page.

    No async generator: trio warns of those that a reader leaves before their end.
    """

    def __init__(self, read: ReadChildren, parent: Inode, start: int) -> None:
        self._read = read
        self._parent = parent
        self._start = start
        self._last_name = b""

    def __aiter__(self) -> _Listing:
        return self

    async def __anext__(self) -> Sequence[Inode]:
        batch = await self._read(self._parent, self._start)
        if not batch:
            raise StopAsyncIteration
        if batch[0].name <= self._last_name:
            raise _misplaced(batch[0].position)
        self._start += len(batch)
        self._last_name = batch[-1].name
        return batch


def _decode_head(head: bytes, snapshot_id: str | None) -> tuple[Superblock, str]:
    """Return the superblock that *head* begins with, and its id."""
    block = head[: size_in_prefix(head)]
    return decode_superblock(block, snapshot_id), snapshot_id_of(block)


def _child(page: bytes, index: int, position: int, parent: Inode) -> Inode:
    child = decode_inode(page, index, position)
    if child.parent != parent.position:
        raise _misplaced(position)
    return child


def _misplaced(position: int) -> Exception:
    return damaged(f"inode {position} is not where its parent or its siblings say")
