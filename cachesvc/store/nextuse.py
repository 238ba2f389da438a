"""Which chunks to evict where readers said in what order they will read. Pure: no clock, no I/O.

Chunks that no reader announced are left to S3-FIFO. Of the others, the one that is needed latest
goes first (Belady's rule, which no order of eviction can beat). What goes first of both kinds:

1. what nobody announced, down to a tenth of the capacity: there lie the pages of manifests;
2. what is announced and not being fetched ahead yet, the latest first;
3. the rest of what nobody announced;
4. what was fetched ahead, the latest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Protocol

from cachesvc.chunk import ChunkId
from cachesvc.store.eviction import EvictionPolicy

UNPLANNED_SHARE = 10
"""What nobody announced keeps a tenth of the capacity from what is not needed soon."""
_LOOKS_PER_ADMISSION = 2
_LOOKS_PER_EVICTION = 256
_MOST_LOOKS = 4096
_SPARE_ENTRIES = 1024


class NextUse(NamedTuple):
    """When a chunk is needed next: the larger `due`, the later."""

    due: int
    is_soon: bool


class Schedule(Protocol):
    """What readers announced."""

    def next_use(self, chunk: ChunkId) -> NextUse | None:
        """Return when a chunk is needed next, None when nobody announced that it is."""
        ...


_Entry = tuple[int, ChunkId, int]
"""When a chunk is due, negated, so that the latest comes first; the chunk; its size."""


class NextUsePolicy:
    """Knows every chunk that is stored, and in which order they should go.

    When a chunk is due may change without notice: a plan is withdrawn, a reader leaves something
    out. So what is believed is looked at again before it costs a chunk its place, and a hand goes
    round all announced chunks with every admission and eviction.
    """

    def __init__(self, unplanned: EvictionPolicy, schedule: Schedule) -> None:
        """Leave what *schedule* does not know to *unplanned*, which has the bounds of both."""
        self._unplanned = unplanned
        self._schedule = schedule
        self._planned: dict[ChunkId, _Entry] = {}
        self._planned_size = 0
        self._latest: list[_Entry] = []
        self._hand: list[ChunkId] = []

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return self._unplanned.size + self._planned_size

    @property
    def count(self) -> int:
        """Number of all chunks."""
        return self._unplanned.count + len(self._planned)

    @property
    def planned_count(self) -> int:
        """Number of chunks that are kept for an announced reader."""
        return len(self._planned)

    @property
    def too_many(self) -> bool:
        """Whether there are more chunks than may be: `victims` then yields some for any size."""
        return self.count > self._unplanned.max_count

    def __contains__(self, chunk: object) -> bool:
        """Return whether a chunk is stored."""
        return chunk in self._planned or chunk in self._unplanned

    def admit(self, chunk: ChunkId, size: int) -> None:
        """Take note that a chunk was stored; for one that was already, that it was used."""
        self._look_again(_LOOKS_PER_ADMISSION)
        if chunk in self:
            self.touch(chunk)
        else:
            self._place(chunk, size)

    def restore(self, chunk: ChunkId, size: int, hot: bool) -> None:
        """Take note of a chunk found at the start; call in the order of admission.

        Asks no schedule, so it may be called in a thread.
        """
        self._unplanned.restore(chunk, size, hot)

    def touch(self, chunk: ChunkId) -> None:
        """Take note that a chunk was used, which the schedule knows already."""
        if chunk in self._planned:
            self._look_at(chunk)
        elif chunk in self._unplanned:
            self._unplanned.touch(chunk)
            self.replan([chunk])

    def replan(self, chunks: Iterable[ChunkId]) -> None:
        """Take note that somebody announced *chunks*, stored or not."""
        for chunk in chunks:
            if chunk in self._planned:
                self._look_at(chunk)
            elif chunk in self._unplanned and self._schedule.next_use(chunk) is not None:
                self._place(chunk, self._unplanned.take(chunk))

    def forget(self, chunk: ChunkId) -> None:
        """Take note that a chunk is gone for another reason than eviction."""
        if chunk in self:
            self._take(chunk)

    def hot(self, chunk: ChunkId) -> bool:
        """Return whether a chunk proved worth keeping, whatever was announced."""
        return self._unplanned.hot(chunk)

    def victims(self, needed_size: int, pinned: Set[ChunkId]) -> Iterator[ChunkId]:
        """Choose chunks of *needed_size* bytes together, fewer where the rest is *pinned*.

        They count as gone when this returns. Yields more where there are too many chunks.
        """
        self._look_again(_LOOKS_PER_EVICTION)
        goal_size = self.size - needed_size
        chosen: list[ChunkId] = []
        for choose in (
            self._least_wanted,
            self._later,
            self._unannounced,
            self._fetched_ahead,
            self._unannounced,  # what turned out just now to be announced no longer
        ):
            size, count = self.size - goal_size, self.count - self._unplanned.max_count
            if size > 0 or count > 0:
                chosen += choose(size, count, pinned)
        return iter(chosen)

    # The four kinds of victims, in order -------------------------------------------------------

    def _least_wanted(self, size: int, _: int, pinned: Set[ChunkId]) -> Iterator[ChunkId]:
        """Choose of what nobody announced, but leave it its tenth."""
        spared = self._unplanned.capacity // UNPLANNED_SHARE if self._planned else 0
        return self._unplanned.victims(max(0, min(size, self._unplanned.size - spared)), pinned)

    def _later(self, size: int, count: int, pinned: Set[ChunkId]) -> Iterator[ChunkId]:
        """Choose of what is announced and not needed soon."""
        return self._latest_first(size, count, pinned, even_soon=False)

    def _unannounced(self, size: int, count: int, pinned: Set[ChunkId]) -> Iterator[ChunkId]:
        """Choose of all that nobody announced."""
        return self._unplanned.victims(max(0, size), pinned, count)

    def _fetched_ahead(self, size: int, count: int, pinned: Set[ChunkId]) -> Iterator[ChunkId]:
        """Choose of all that is announced."""
        return self._latest_first(size, count, pinned, even_soon=True)

    def _latest_first(
        self, size: int, count: int, pinned: Set[ChunkId], *, even_soon: bool
    ) -> Iterator[ChunkId]:
        """Yield announced chunks, the one that is needed latest first."""
        aside: list[_Entry] = []
        while (size > 0 or count > 0) and (entry := self._pop_latest(even_soon=even_soon)):
            _, chunk, chunk_size = entry
            if chunk in pinned:
                aside.append(entry)
                continue
            self._take(chunk)
            size, count = size - chunk_size, count - 1
            yield chunk
        for entry in aside:
            heappush(self._latest, entry)

    def _pop_latest(self, *, even_soon: bool) -> _Entry | None:
        """Return the entry of the chunk that is needed latest, by what is announced now."""
        while self._latest:
            entry = heappop(self._latest)
            due, chunk, _ = entry
            if self._planned.get(chunk) is not entry:
                continue
            use = self._schedule.next_use(chunk)
            if use is None or use.due != -due:
                self._place(chunk, self._take(chunk))
            elif use.is_soon and not even_soon:
                heappush(self._latest, entry)
                return None
            else:
                return entry
        return None

    # Who belongs where -------------------------------------------------------------------------

    def _place(self, chunk: ChunkId, size: int) -> None:
        """Put a chunk that is nowhere where it belongs by what is announced now."""
        use = self._schedule.next_use(chunk)
        if use is None:
            self._unplanned.admit(chunk, size)
            return
        entry = (-use.due, chunk, size)
        self._planned[chunk] = entry
        self._planned_size += size
        heappush(self._latest, entry)
        if len(self._latest) > 2 * len(self._planned) + _SPARE_ENTRIES:
            self._latest = list(self._planned.values())
            heapify(self._latest)

    def _take(self, chunk: ChunkId) -> int:
        """Take a stored chunk from where it is and return its size."""
        entry = self._planned.pop(chunk, None)
        if entry is None:
            return self._unplanned.take(chunk)
        self._planned_size -= entry[2]
        return entry[2]

    def _look_again(self, count: int) -> None:
        """Look at some announced chunks in turn, at more while many are announced no longer."""
        looks = moved = 0
        while looks < count or (looks < 2 * moved and looks < _MOST_LOOKS):
            if not self._hand:
                self._hand = list(self._planned)
                self._hand.reverse()
            if not self._hand:
                return
            looks += 1
            moved += self._look_at(self._hand.pop())

    def _look_at(self, chunk: ChunkId) -> bool:
        """Put a chunk elsewhere if it is due at another time than believed; say whether it was."""
        entry = self._planned.get(chunk)
        if entry is None:
            return False
        use = self._schedule.next_use(chunk)
        if use is not None and use.due == -entry[0]:
            return False
        self._place(chunk, self._take(chunk))
        return True
