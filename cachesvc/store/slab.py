"""How a chunk is cut into slabs of one fixed size, and what it takes on disk. Pure.

LMDB takes values of one size at full speed for ever; mixed sizes fragment its free list until
writes are a hundred times slower. So each chunk lies in slabs of one size, the last one padded, and
each class of slabs is an environment of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cachesvc.chunk import ChunkId, Span

PAGE_SIZE = 4096
PAGE_HEADER_SIZE = 16
"""LMDB begins a value that does not fit a B-tree node on a page of its own, after this header."""

Data = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, eq=False)
class SlabClass:
    """Slabs of one size, in one environment called `name`. There are only those of `CLASSES`."""

    name: str
    slab_size: int

    @property
    def disk_size(self) -> int:
        """Bytes of file that one slab takes."""
        return -(-(self.slab_size + PAGE_HEADER_SIZE) // PAGE_SIZE) * PAGE_SIZE

    def slab_count(self, length: int) -> int:
        """Return how many slabs hold a chunk of *length* bytes."""
        return -(-length // self.slab_size)


SMALL = SlabClass("small", PAGE_SIZE - PAGE_HEADER_SIZE)
LARGE = SlabClass("large", 128 * 1024)
CLASSES = (SMALL, LARGE)

SMALL_CHUNK_SIZE = 64 * 1024
"""Chunks up to this size lie in small slabs.

Measured on 64 KiB chunks, small against large slabs: 88 against 117 us of CPU to write and evict
one, half the disk, 17 views to a chunk instead of one. At 110 KB large slabs win.
"""


def class_of(length: int) -> SlabClass:
    """Return the class in which a chunk of *length* bytes lies: the length alone decides."""
    return SMALL if length <= SMALL_CHUNK_SIZE else LARGE


def stored_size(length: int) -> int:
    """Return the bytes of file that a chunk of *length* bytes takes, padding included."""
    slabs = class_of(length)
    return slabs.slab_count(length) * slabs.disk_size


def slab_keys(chunk: ChunkId, length: int) -> Iterator[bytes]:
    """Yield the keys of the slabs of a chunk, in order."""
    return (
        chunk + number.to_bytes(2, "big") for number in range(class_of(length).slab_count(length))
    )


def slabs_of(chunk: ChunkId, data: Data) -> Iterator[tuple[bytes, Data]]:
    """Yield the slabs of a chunk as (key, value), each value of the full slab size."""
    size = class_of(len(data)).slab_size
    view = memoryview(data)
    for number, key in enumerate(slab_keys(chunk, len(data))):
        piece = view[number * size : (number + 1) * size]
        yield key, piece if len(piece) == size else bytes(piece).ljust(size, b"\0")


def slab_pieces(span: Span) -> Iterator[tuple[bytes, int, int]]:
    """Yield (slab key, start, stop) for each slab that holds bytes of *span*, in order."""
    size = class_of(span.chunk_length).slab_size
    offset = span.start
    while offset < span.stop:
        number, start = divmod(offset, size)
        stop = min(size, start + span.stop - offset)
        yield span.chunk + number.to_bytes(2, "big"), start, stop
        offset += stop - start
