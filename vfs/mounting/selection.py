"""The chunks of chosen files of a snapshot, in the order in which they are to be fetched.

Names are looked up in the manifest, by way of the node's cache. Nothing asks the mount itself.

Iterators here are no async generators: trio warns of those that a reader leaves before their end.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import trio

from cachesvc.chunk import ObjectRef
from cachesvc.client import CacheClient, Want
from vfs.manifest.inode import Extent, Inode, Kind
from vfs.manifest.tree import Tree
from vfs.mounting.patterns import PathPattern
from vfs.serving.extent import REPOSITORY, SOURCE
from vfs.serving.layout import ORIGIN_OF_PLACE
from vfs.serving.manifestsource import MANIFEST_CHUNK_SIZE
from vfs.snapshots.repository import key_of

LINES_AT_ONCE = 256


class Chosen(NamedTuple):
    """A file, and its path from the root."""

    path: bytes
    inode: Inode


class FilesByPattern:
    """The files of a snapshot that match a pattern: directory by directory, each sorted by name."""

    def __init__(self, tree: Tree, pattern: PathPattern) -> None:
        """Begin at the pattern's base."""
        self._tree = tree
        self._pattern = pattern
        self._directories: deque[tuple[Inode, bytes, int]] = deque()
        self._found: Iterator[Chosen] | None = None

    def __aiter__(self) -> FilesByPattern:
        """Iterate once."""
        return self

    async def __anext__(self) -> Chosen:
        """Return the next file that matches."""
        while True:
            for chosen in self._found or ():
                return chosen
            if self._found is None:
                self._found = iter(await self._first())
            elif self._directories:
                self._found = iter(await self._more())
            else:
                raise StopAsyncIteration

    async def _first(self) -> list[Chosen]:
        """Look up the base, which may be a file itself."""
        base = await self._tree.resolve(self._pattern.base)
        return [] if base is None else self._sorted_out([(self._pattern.base, base)])

    async def _more(self) -> list[Chosen]:
        """Read the next page of a directory."""
        directory, path, start = self._directories.popleft()
        children = await self._tree.children_from(directory, start)
        if children:
            self._directories.appendleft((directory, path, start + len(children)))
        prefix = path + b"/" if path else b""
        return self._sorted_out([(prefix + child.name, child) for child in children])

    def _sorted_out(self, inodes: Iterable[tuple[bytes, Inode]]) -> list[Chosen]:
        """Return the files that match; remember the directories."""
        files = []
        for path, inode in inodes:
            if inode.kind is Kind.DIRECTORY:
                self._directories.append((inode, path, 0))
            elif inode.kind is Kind.FILE and self._pattern.matches(path):
                files.append(Chosen(path, inode))
        return files


class FilesByName:
    """The files that a list names, one path a line; `missing_count` lines name none.

    A path is relative to the root, or below the directory where the snapshot is mounted.
    """

    def __init__(self, tree: Tree, lines: Iterable[bytes], mountpoint: Path) -> None:
        """Read *lines* as they are needed."""
        self._tree = tree
        self._lines = iter(lines)
        self._read: Iterator[bytes] = iter(())
        self._above = os.fsencode(mountpoint) + b"/"
        self.missing_count = 0

    def __aiter__(self) -> FilesByName:
        """Iterate once."""
        return self

    async def __anext__(self) -> Chosen:
        """Return the next file."""
        while (line := await self._next_line()) is not None:
            path = line.rstrip(b"\r\n").removeprefix(self._above)
            names = [name for name in path.split(b"/") if name not in {b"", b"."}]
            found = await self._file_at(names)
            if found is not None:
                return found
            self.missing_count += bool(names)
        raise StopAsyncIteration

    async def _next_line(self) -> bytes | None:
        """Return the next line, None at the end. Lines may come from a pipe, so a thread reads."""
        for line in self._read:
            return line
        some = islice(self._lines, LINES_AT_ONCE)
        self._read = iter(await trio.to_thread.run_sync(list, some, abandon_on_cancel=True))
        return next(self._read, None)

    async def _file_at(self, names: Sequence[bytes]) -> Chosen | None:
        """Return the file at a path, None when there is none."""
        path = b"/".join(names)
        inode = await self._tree.resolve(path) if names else None
        return Chosen(path, inode) if inode is not None and inode.kind is Kind.FILE else None


class WantedFiles:
    """The chunks of files, one file after the other, and how many there were so far."""

    def __init__(self, tree: Tree, client: CacheClient, files: AsyncIterator[Chosen]) -> None:
        """Find the chunks by the manifest."""
        self._tree = tree
        self._client = client
        self._files = files
        self._ready: Iterator[Want] = iter(())
        self.file_count = 0
        self.file_size = 0

    def __aiter__(self) -> WantedFiles:
        """Iterate once."""
        return self

    async def __anext__(self) -> Want:
        """Return the next chunk."""
        while True:
            for want in self._ready:
                return want
            chosen = await anext(self._files)
            self.file_count += 1
            self.file_size += chosen.inode.size
            self._ready = iter(await file_wants(self._tree, self._client, chosen))


async def file_wants(tree: Tree, client: CacheClient, chosen: Chosen) -> list[Want]:
    """Return the chunks of a file, in order, with their hashes where the manifest has any."""
    inode = chosen.inode
    if inode.size == 0:
        return []
    if inode.extent is not None:
        return await _packed_wants(tree, client, inode.extent)
    key, chunk_size = os.fsdecode(chosen.path), tree.superblock.chunk_size
    ref = client.ref(SOURCE, key, inode.size, inode.version, chunk_size)
    hashes = await tree.contents.chunk_hashes(inode, 0, ref.chunk_count)
    return _wants(SOURCE, ref, range(ref.chunk_count), hashes)


async def _packed_wants(tree: Tree, client: CacheClient, extent: Extent) -> list[Want]:
    """Return the chunks of the object of which a file is a run."""
    stored = await tree.contents.object_of(extent)
    origin, size = ORIGIN_OF_PLACE[stored.place], stored.chunk_size
    ref = client.ref(origin, stored.key, stored.size, stored.version, size)
    indices = range(extent.offset // size, -(-(extent.offset + extent.length) // size))
    hashes = await tree.contents.object_hashes(stored, indices.start, indices.stop)
    return _wants(origin, ref, indices, hashes)


def _wants(origin: int, ref: ObjectRef, indices: range, hashes: Sequence[int] | None) -> list[Want]:
    """Return the wants of some chunks of an object."""
    if hashes is None:
        return [Want(origin, ref, index) for index in indices]
    return [Want(origin, ref, index, known) for index, known in zip(indices, hashes, strict=True)]


def manifest_wants(tree: Tree, client: CacheClient) -> list[Want]:
    """Return the chunks of the snapshot's own manifest."""
    size = tree.superblock.manifest_size
    ref = client.ref(REPOSITORY, key_of(tree.snapshot_id), size, None, MANIFEST_CHUNK_SIZE)
    return [Want(REPOSITORY, ref, index) for index in range(ref.chunk_count)]
