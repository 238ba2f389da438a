"""From a range of a file to spans of chunks of the objects that hold it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cachesvc.chunk import ObjectRef, Span

SOURCE = 0
REPOSITORY = 1
"""The numbers of a mount's two origins: a manifest may name objects of no third."""


@dataclass(frozen=True, slots=True)
class PlacedExtent:
    """Bytes `[offset, offset + length)` of `object`, which lies in the origin number `origin`.

    `fine` is the same in smaller chunks, where there is one: for reads here and there.
    """

    origin: int
    object: ObjectRef
    offset: int
    length: int
    fine: PlacedExtent | None = None

    @property
    def is_packed(self) -> bool:
        """Whether its object holds other bytes too."""
        return self.length < self.object.size


@dataclass(frozen=True, slots=True)
class ExtentSpan:
    """One piece of a read: the chunk number `index` of an extent's object, and which bytes."""

    extent: PlacedExtent
    index: int
    span: Span


def chunk_spans(offset: int, length: int, chunk_size: int) -> Iterator[tuple[int, int, int]]:
    """Yield `(index, start, stop)` for each chunk that `[offset, offset + length)` touches, in
    order.

    `start` and `stop` are relative to the chunk; the pieces are disjoint and tile the range.
    """
    end = offset + length
    while offset < end:
        index, start = divmod(offset, chunk_size)
        stop = min(chunk_size, start + end - offset)
        yield index, start, stop
        offset += stop - start


def file_spans(extents: Sequence[PlacedExtent], offset: int, length: int) -> Iterator[ExtentSpan]:
    """Yield the pieces of `[offset, offset + length)` of a file that consists of *extents*, in
    order.

    What lies past the last extent yields nothing.
    """
    for extent in extents:
        if length <= 0:
            return
        if offset >= extent.length:
            offset -= extent.length
            continue
        piece = min(length, extent.length - offset)
        yield from _extent_spans(extent, extent.offset + offset, piece)
        length -= piece
        offset = 0


def _extent_spans(extent: PlacedExtent, start: int, length: int) -> Iterator[ExtentSpan]:
    target = extent.object
    for index, first, stop in chunk_spans(start, length, target.chunk_size):
        low, high = target.chunk_range(index)
        yield ExtentSpan(extent, index, Span(target.chunk_id(index), high - low, first, stop))
