"""Which chunks the store holds, which of them must stay, and which go next. Pure.

Joins the eviction policy, the leases and the watermarks, so that one question has one answer. The
time is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cachesvc.chunk import ChunkId
from cachesvc.fill.lease import Leases
from cachesvc.store.nextuse import NextUsePolicy
from cachesvc.units import MIB

FULL_SECONDS = 30.0
"""How long a full disk is believed to stay full."""

_EVICTION_SIZE = 32 * MIB
"""Bytes evicted with one batch while there is still room: keeps a batch short."""


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Sizes in bytes: eviction starts above `high`, stops at `low`, and keeps below `capacity`."""

    low: int
    high: int
    capacity: int

    @classmethod
    def of(cls, capacity: int) -> Watermarks:
        """Start evicting at 95 % of *capacity* and stop at 90 %."""
        return cls(capacity * 90 // 100, capacity * 95 // 100, capacity)


class Residents:
    """The chunks in the store, as the eviction policy sees them.

    What `victims` returns counts as gone: the caller deletes it.
    """

    def __init__(self, policy: NextUsePolicy, leases: Leases, capacity: int) -> None:
        """Begin with an empty store that may hold *capacity* bytes."""
        self._policy = policy
        self._leases = leases
        self._marks = Watermarks.of(capacity)
        self._full_marks = self._marks
        self._full_until = 0.0
        self._evicting = False
        self._hot: set[ChunkId] = set()
        self._marked: set[ChunkId] = set()
        self._doubtful: set[ChunkId] = set()

    def __contains__(self, chunk: object) -> bool:
        """Say whether a chunk is stored."""
        return chunk in self._policy

    def __len__(self) -> int:
        """Return how many chunks are stored."""
        return self._policy.count

    @property
    def size(self) -> int:
        """Bytes that the stored chunks take."""
        return self._policy.size

    @property
    def planned_count(self) -> int:
        """How many chunks are kept for readers that announced their order."""
        return self._policy.planned_count

    def restore(self, chunk: ChunkId, size: int, *, hot: bool, doubtful: bool) -> None:
        """Count a chunk that was found in the store at its start; call in order of admission."""
        self._policy.restore(chunk, size, hot)
        if hot:
            self._marked.add(chunk)
        if doubtful:
            self._doubtful.add(chunk)

    def is_doubtful(self, chunk: ChunkId) -> bool:
        """Say whether a chunk must be verified before it is read."""
        return chunk in self._doubtful

    def is_readable(self, chunk: ChunkId) -> bool:
        """Say whether a chunk is stored and need not be verified first."""
        return chunk in self._policy and chunk not in self._doubtful

    def trust(self, chunk: ChunkId) -> None:
        """Take note that a chunk was verified."""
        self._doubtful.discard(chunk)

    def admit(self, chunk: ChunkId, size: int, now: float) -> None:
        """Count a chunk that was just stored, and keep it until it was read.

        It may lie in the place of another under the same name, which is then gone.
        """
        self.drop(chunk)
        self._policy.admit(chunk, size)
        self._leases.grant(chunk, size, now)

    def touch(self, chunk: ChunkId) -> None:
        """Take note that a chunk was read: it counts as used, and its lease ends."""
        if chunk in self._policy:
            self._leases.release(chunk)
            self._policy.touch(chunk)
            if chunk not in self._marked and self._policy.hot(chunk):
                self._hot.add(chunk)

    def replan(self, chunks: Iterable[ChunkId]) -> None:
        """Take note that somebody announced to read *chunks*, stored or not."""
        self._policy.replan(chunks)

    def drop(self, chunk: ChunkId) -> None:
        """Forget a chunk that turned out to be missing or damaged."""
        self._policy.forget(chunk)
        self._let_go(chunk)

    def newly_hot(self) -> list[ChunkId]:
        """Return the chunks that became hot since the last call."""
        hot, self._hot = list(self._hot), set()
        self._marked.update(hot)
        return hot

    @property
    def newly_hot_count(self) -> int:
        """How many chunks `newly_hot` would return."""
        return len(self._hot)

    def due(self, incoming: int, now: float) -> list[ChunkId]:
        """Return the victims that must go before *incoming* bytes come."""
        marks = self._full_marks if now < self._full_until else self._marks
        size = self._policy.size + incoming
        self._evicting = size > (marks.low if self._evicting else marks.high)
        if not self._evicting and not self._policy.too_many:
            return []
        needed = max(min(size - marks.low, _EVICTION_SIZE), size - marks.capacity, 0)
        return self.victims(needed, now)

    def victims(self, needed_size: int, now: float) -> list[ChunkId]:
        """Return chunks that take at least *needed_size* bytes, or all that may go."""
        victims = list(self._policy.victims(needed_size, self._leases.held(now)))
        for chunk in victims:
            self._let_go(chunk)
        return victims

    def disk_full(self, now: float) -> None:
        """Take what is stored now for the capacity, until the disk may have room again."""
        self._full_marks = Watermarks.of(min(self._policy.size, self._marks.capacity))
        self._full_until = now + FULL_SECONDS

    def _let_go(self, chunk: ChunkId) -> None:
        """Forget what is known of a chunk beside the policy."""
        self._leases.release(chunk)
        self._hot.discard(chunk)
        self._marked.discard(chunk)
        self._doubtful.discard(chunk)
