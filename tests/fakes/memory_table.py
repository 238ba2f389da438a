"""A chunk store in a dict, which can be full or broken (`cachesvc.fill.batch.ChunkTable`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cachesvc.chunk import ChunkId, checksum
from cachesvc.errors import CacheFullError
from cachesvc.store.chunkstore import ChunkState, NewChunk, StoredChunk, Usage
from cachesvc.store.slab import stored_size


def nothing() -> None:
    """Do nothing before a put."""


class MemoryTable:
    """Keeps copies. `room` is the number of bytes it takes; `before_put` runs in the thread."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.generation = b"memory"
        self.chunks: dict[ChunkId, bytes] = {}
        self.sums: dict[ChunkId, int] = {}
        self.room = room
        self.broken: Exception | None = None
        self.before_put: Callable[[], None] = nothing
        self.batches: list[int] = []
        self.closed = False

    def verify(self, chunk: ChunkId) -> bool:
        data = self.chunks.get(chunk)
        if data is not None and checksum(data) == self.sums[chunk]:
            return True
        self.delete([chunk])
        return False

    def put(self, entries: Sequence[NewChunk]) -> None:
        self.before_put()
        if self.broken is not None:
            raise self.broken
        self.delete([entry.chunk for entry in entries])
        incoming = sum(stored_size(len(entry.data)) for entry in entries)
        if self.usage().slab_bytes + incoming > self.room:
            raise CacheFullError("no room")
        self.batches.append(len(entries))
        for entry in entries:
            self.chunks[entry.chunk] = bytes(entry.data)
            self.sums[entry.chunk] = checksum(entry.data)

    def delete(self, chunks: Sequence[ChunkId]) -> None:
        for chunk in chunks:
            self.chunks.pop(chunk, None)

    def read(self, chunk: ChunkId) -> bytes | None:
        return self.chunks.get(chunk)

    def usage(self) -> Usage:
        lengths = [len(data) for data in self.chunks.values()]
        slab_bytes = sum(map(stored_size, lengths))
        return Usage(len(lengths), sum(lengths), slab_bytes, slab_bytes)

    def scan(self) -> Iterator[StoredChunk]:
        for chunk, data in self.chunks.items():
            size = stored_size(len(data))
            yield StoredChunk(chunk, len(data), size, ChunkState.UNVERIFIED, False, "")

    def mark_hot(self, chunks: Sequence[ChunkId]) -> None:
        pass

    def check_readers(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def discard(self) -> None:
        self.close()
        self.chunks.clear()
