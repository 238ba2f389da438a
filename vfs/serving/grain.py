"""Two grains of one file: whole chunks for what is read in order, fine ones for reads alone. Pure.

The first read that falls alone into a chunk brings fine chunks. The next one brings fine chunks as
well, and the whole chunk behind its reader's back: two of them mean that more will come. Many in
one region bring all of it (`density`).

By 128 KiB at random out of 150 MB, one reader, 30 ms to the first byte and 80 MB/s: 20 reads move
19 MB in 0.7 s (with whole chunks alone 67 MB in 1.6 s), 200 reads 156 MB in 3.4 s (150 MB in 4.2
s). If it took eight reads to bring the whole chunk, 200 would move 50 MB, but in 7 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from cachesvc.chunk import ChunkId, ObjectRef
from vfs.serving.extent import ExtentSpan, PlacedExtent, file_spans

FINE_SIZE = 128 << 10
"""What reads here and there mostly ask for, and one slab of the cache. It takes 32 ms to come where
4 MiB take 82."""
LONE_READ_LIMIT = 512 << 10
"""A read of so many bytes is one of several in order: the kernel reads ahead."""


def with_fine_grain(extent: PlacedExtent) -> PlacedExtent:
    """Return *extent* with a fine grain, if its object has several chunks that can be divided."""
    whole = extent.object
    if whole.chunk_count < 2 or whole.chunk_size % FINE_SIZE:
        return extent
    return replace(extent, fine=replace(extent, object=replace(whole, chunk_size=FINE_SIZE)))


def mixed(
    pieces: Sequence[ExtentSpan], readable: Callable[[ChunkId], bool]
) -> Iterator[ExtentSpan]:
    """Yield the same bytes in whole chunks where these can be read, else in fine ones."""
    for piece in pieces:
        if piece.extent.fine is None or readable(piece.span.chunk):
            yield piece
        else:
            yield from _divided(piece, piece.extent.fine)


def has_fine_grain(pieces: Sequence[ExtentSpan]) -> bool:
    """Say whether some of *pieces* may be here in fine chunks."""
    return any(piece.extent.fine is not None for piece in pieces)


def is_known(piece: ExtentSpan, readable: Callable[[ChunkId], bool]) -> bool:
    """Say whether some fine chunk of the chunk that *piece* is of can be read: it is no news."""
    fine = piece.extent.fine
    if fine is None:
        return False
    indices = fine_chunks(piece.extent.object, range(piece.index, piece.index + 1))
    return any(readable(fine.object.chunk_id(index)) for index in indices)


def fine_chunks(whole: ObjectRef, indices: range) -> range:
    """Return the numbers of the fine chunks of some adjacent chunks."""
    start = whole.chunk_range(indices.start)[0]
    stop = whole.chunk_range(indices.stop - 1)[1]
    return range(start // FINE_SIZE, -(-stop // FINE_SIZE))


def bytes_here(extent: PlacedExtent, whole: Mapping[int, int], fine: Mapping[int, int]) -> int:
    """Count the bytes of an object by the lengths of its chunks that are here, of either grain."""
    ratio = extent.object.chunk_size // FINE_SIZE
    alone = (length for index, length in fine.items() if index // ratio not in whole)
    return sum(whole.values()) + sum(alone)


def _divided(piece: ExtentSpan, fine: PlacedExtent) -> Iterator[ExtentSpan]:
    start = piece.index * piece.extent.object.chunk_size + piece.span.start
    return file_spans([fine], start - fine.offset, piece.span.stop - piece.span.start)
