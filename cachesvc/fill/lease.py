"""Which chunks must stay because they were just brought for somebody to read. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass

from cachesvc.chunk import ChunkId


@dataclass(frozen=True, slots=True)
class _Lease:
    size: int
    until: float


class Leases:
    """Leases end when their chunk is read, when their time is over, or when they hold too much.

    The bound on bytes keeps a small cache from being filled with leases: the oldest lapse first.
    """

    def __init__(self, max_size: int, seconds: float) -> None:
        """Hold at most *max_size* bytes, each chunk for at most *seconds*."""
        self._max_size = max_size
        self._seconds = seconds
        self._leases: OrderedDict[ChunkId, _Lease] = OrderedDict()
        self._size = 0

    def grant(self, chunk: ChunkId, size: int, now: float) -> None:
        """Keep *chunk*, which takes *size* bytes, for a while from *now* on."""
        self.release(chunk)
        self._leases[chunk] = _Lease(size, now + self._seconds)
        self._size += size
        while self._size > self._max_size:
            self.release(next(iter(self._leases)))

    def release(self, chunk: ChunkId) -> None:
        """End the lease of *chunk*, if it has one."""
        lease = self._leases.pop(chunk, None)
        if lease is not None:
            self._size -= lease.size

    def held(self, now: float) -> Set[ChunkId]:
        """Return the chunks that must stay at the time *now*."""
        while self._leases:
            chunk = next(iter(self._leases))
            if self._leases[chunk].until > now:
                break
            self.release(chunk)
        return self._leases.keys()
