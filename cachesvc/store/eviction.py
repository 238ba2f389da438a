"""Which chunks to evict: S3-FIFO, on bytes and on a count. Pure: no clock, no I/O.

New chunks pass through a small queue first, so that one pass over a large dataset evicts itself;
what is used again before it leaves, or comes back soon after, is kept in the main queue.

The first touch tells of the read for which a chunk was fetched, and is no use yet, however late it
is told. One pass over a chunk touches it many times. So time is counted in bytes admitted, and all
touches within a hundredth of the capacity are one use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Set

from cachesvc.chunk import ChunkId

MAX_USES = 3
SMALL_SHARE = 10
"""The small queue is a tenth of the whole."""
ONE_USE_SHARE = 100


class EvictionPolicy:
    """Knows every chunk that is stored, and in which order they should go."""

    def __init__(self, capacity: int, max_count: int) -> None:
        """Begin empty, for a store of *capacity* bytes and *max_count* chunks."""
        self.capacity = capacity
        self.max_count = max_count
        self._small = _Queue()
        self._main = _Queue()
        self._ghosts = _Ghosts(capacity, max_count)
        self._admitted_size = 0

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return self._small.size + self._main.size

    @property
    def count(self) -> int:
        """Number of all chunks."""
        return len(self._small) + len(self._main)

    @property
    def too_many(self) -> bool:
        """Whether there are more chunks than may be: `victims` then yields some for any size."""
        return self.count > self.max_count

    def __contains__(self, chunk: object) -> bool:
        """Return whether a chunk is stored."""
        return chunk in self._small or chunk in self._main

    def admit(self, chunk: ChunkId, size: int) -> None:
        """Take note that a chunk was stored; for one that was already, that it was used."""
        if chunk in self:
            self.touch(chunk)
            return
        self._admitted_size += size
        queue = self._main if self._ghosts.take(chunk) else self._small
        queue.append(chunk, _Entry(size, None))

    def restore(self, chunk: ChunkId, size: int, hot: bool) -> None:
        """Take note of a chunk found at the start; call in the order of admission."""
        queue = self._main if hot else self._small
        queue.append(chunk, _Entry(size, self._admitted_size))

    def touch(self, chunk: ChunkId) -> None:
        """Take note that a chunk was used."""
        entry = self._small.get(chunk) or self._main.get(chunk)
        if entry is None:
            return
        if entry.used_at is None:
            entry.used_at = self._admitted_size
        elif (self._admitted_size - entry.used_at) * ONE_USE_SHARE > self.capacity:
            entry.uses = min(entry.uses + 1, MAX_USES)
            entry.used_at = self._admitted_size

    def forget(self, chunk: ChunkId) -> None:
        """Take note that a chunk is gone for another reason than eviction."""
        if chunk in self:
            self.take(chunk)

    def take(self, chunk: ChunkId) -> int:
        """Forget a chunk that is stored, and return its size."""
        return (self._small if chunk in self._small else self._main).remove(chunk)

    def hot(self, chunk: ChunkId) -> bool:
        """Return whether a chunk proved worth keeping."""
        entry = self._small.get(chunk)
        return chunk in self._main or (entry is not None and entry.uses > 0)

    def victims(
        self, needed_size: int, pinned: Set[ChunkId], needed_count: int = 0
    ) -> Iterator[ChunkId]:
        """Choose chunks of *needed_size* bytes together, fewer where the rest is *pinned*.

        They count as gone when this returns. Yields more where there are too many chunks, or
        *needed_count* of them are asked for.
        """
        chosen: list[ChunkId] = []
        aside: list[tuple[_Queue, ChunkId, _Entry]] = []
        goal = self.size - needed_size
        goal_count = min(self.max_count, self.count - needed_count)
        aside_size = 0
        while self.size + aside_size > goal or self.count + len(aside) > goal_count:
            queue = self._next_queue()
            if queue is None:
                break
            chunk, entry = queue.pop()
            if chunk in pinned:
                aside.append((queue, chunk, entry))
                aside_size += entry.size
            elif not self._spares(queue, chunk, entry):
                chosen.append(chunk)
        for queue, chunk, entry in reversed(aside):
            queue.append_left(chunk, entry)
        return iter(chosen)

    def _next_queue(self) -> _Queue | None:
        """Return the queue that is to lose a chunk."""
        small_is_large = (
            self._small.size * SMALL_SHARE > self.size
            or len(self._small) * SMALL_SHARE > self.max_count
        )
        order = (self._small, self._main) if small_is_large else (self._main, self._small)
        return next((queue for queue in order if len(queue)), None)

    def _spares(self, queue: _Queue, chunk: ChunkId, entry: _Entry) -> bool:
        """Put a chunk that was used back into the main queue; remember one that goes unused."""
        if entry.uses == 0:
            if queue is self._small:
                self._ghosts.add(chunk, entry.size)
            return False
        entry.uses = entry.uses - 1 if queue is self._main else 0
        self._main.append(chunk, entry)
        return True


class _Entry:
    """One chunk: its size, its uses since they last saved it, and when it was read last."""

    __slots__ = ("size", "used_at", "uses")

    def __init__(self, size: int, used_at: int | None) -> None:
        self.size = size
        self.used_at = used_at
        self.uses = 0


class _Queue:
    """Chunks in the order of their coming, and their size together."""

    def __init__(self) -> None:
        self._entries: OrderedDict[ChunkId, _Entry] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, chunk: object) -> bool:
        return chunk in self._entries

    def get(self, chunk: ChunkId) -> _Entry | None:
        return self._entries.get(chunk)

    def append(self, chunk: ChunkId, entry: _Entry) -> None:
        self._entries[chunk] = entry
        self.size += entry.size

    def append_left(self, chunk: ChunkId, entry: _Entry) -> None:
        self.append(chunk, entry)
        self._entries.move_to_end(chunk, last=False)

    def pop(self) -> tuple[ChunkId, _Entry]:
        chunk, entry = self._entries.popitem(last=False)
        self.size -= entry.size
        return chunk, entry

    def remove(self, chunk: ChunkId) -> int:
        size = self._entries.pop(chunk).size
        self.size -= size
        return size


class _Ghosts:
    """Names of chunks that went unused, as many as the store has room for."""

    def __init__(self, capacity: int, max_count: int) -> None:
        self._capacity = capacity
        self._max_count = max_count
        self._sizes: OrderedDict[ChunkId, int] = OrderedDict()
        self._size = 0

    def add(self, chunk: ChunkId, size: int) -> None:
        self._sizes[chunk] = size
        self._size += size
        while self._size > self._capacity or len(self._sizes) > self._max_count:
            self._size -= self._sizes.popitem(last=False)[1]

    def take(self, chunk: ChunkId) -> bool:
        """Return whether a chunk is remembered, and forget it."""
        size = self._sizes.pop(chunk, None)
        self._size -= size or 0
        return size is not None
