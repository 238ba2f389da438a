"""What readers want: chunks of objects, and how they are grouped to be asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cachesvc.chunk import ChunkId, ObjectRef, Span
from cachesvc.wire import Chunks


@dataclass(frozen=True, slots=True)
class Want:
    """One chunk to be made readable: of which origin and object, and its hash if that is known."""

    origin_index: int
    ref: ObjectRef
    index: int
    expected_hash: int | None = None

    @property
    def chunk(self) -> ChunkId:
        """The chunk's identity."""
        return self.ref.chunk_id(self.index)


def spans_of(ref: ObjectRef, start: int, stop: int) -> Iterator[Span]:
    """Yield the pieces of chunks that make up the bytes `[start, stop)` of an object, in order."""
    for index in range(start // ref.chunk_size, -(-stop // ref.chunk_size)):
        first, last = ref.chunk_range(index)
        yield Span(
            ref.chunk_id(index), last - first, max(start, first) - first, min(stop, last) - first
        )


def wants_of(origin_index: int, ref: ObjectRef, start: int, stop: int) -> list[Want]:
    """Return the chunks in which the bytes `[start, stop)` of an object lie."""
    indices = range(start // ref.chunk_size, -(-stop // ref.chunk_size))
    return [Want(origin_index, ref, index) for index in indices]


def by_object(wants: Sequence[Want], max_count: int) -> Iterator[list[Want]]:
    """Group wants by origin and object, at most *max_count* to a group."""
    groups: dict[tuple[int, bytes], list[Want]] = {}
    for want in wants:
        group = groups.setdefault((want.origin_index, want.ref.digest), [])
        group.append(want)
    for group in groups.values():
        yield from (group[start : start + max_count] for start in range(0, len(group), max_count))


def chunks_in(group: Sequence[Want]) -> Chunks:
    """Return what a message says of chunks of one object."""
    ref = group[0].ref
    indices = [want.index for want in group]
    hashes = [want.expected_hash for want in group]
    return Chunks(
        group[0].origin_index,
        ref.key,
        ref.size,
        ref.version,
        ref.chunk_size,
        indices,
        hashes if any(each is not None for each in hashes) else [],
    )
