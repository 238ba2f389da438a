"""The order in which a collected dataset is numbered. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from vfs.manifest.collected import CollectedDirectory, shapes
from vfs.manifest.inode import (
    DIRECTORY_TAG,
    PLACE,
    RECORD_SIZE,
    ROOT_POSITION,
    Inode,
    Kind,
    decode_inode,
)

BATCH_COUNT: Final = 1024
"""Files that are decoded at a time, some 600 bytes each."""


def files_in_order(
    root: CollectedDirectory, chunk_size: int
) -> Iterator[tuple[bytes, list[Inode]]]:
    """Yield the path of each sealed directory and files in it, breadth first.

    A large directory comes in several batches. The files have the positions that they are written
    at; nothing is changed or forgotten.
    """
    queue = deque([(ROOT_POSITION, b"", root)])
    position = ROOT_POSITION
    while queue:
        parent, prefix, directory = queue.popleft()
        files = []
        start = 0
        for name_stop, hash_start, stop, tag in shapes(directory.entries, chunk_size):
            position += 1
            if tag == DIRECTORY_TAG:
                name = bytes(directory.entries[start + RECORD_SIZE : name_stop])
                queue.append((position, prefix + name + b"/", directory.subdirectories[name]))
            else:
                inode = _decoded(directory.entries[start:hash_start], position, parent)
                if inode.kind is Kind.FILE:
                    files.append(inode)
            start = stop
            if len(files) == BATCH_COUNT:
                yield prefix[:-1], files
                files = []
        if files:
            yield prefix[:-1], files


def _decoded(entry: bytearray, position: int, parent: int) -> Inode:
    """Return a child as the inode that it will be, but for the number of its first hash."""
    PLACE.pack_into(entry, 0, parent, 0, RECORD_SIZE)
    return decode_inode(bytes(entry), 0, position)
