"""The cache service's settings, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cachesvc.units import GIB, MIB


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Where the cache lies, how large it may be, and the bounds within which it fetches."""

    directory: Path
    size: int = 50 * GIB
    """Capacity in bytes of slabs; eviction keeps below it."""
    free_floor: int = 1 * GIB
    """Free bytes that the cache always leaves on its file system."""
    max_chunks: int = 1_000_000
    """Bounds the memory of the eviction policy."""
    fetches: int = 128
    """Ranges in flight to object storage, at most. Small ones behind 30 ms keep one thread busy
    only if they are many, and cost it less the more of them it finds each time it looks: 1,500
    files of 110 KB in order come at 635, 942, 1,125 a second with 32, 64, 128 from the beginning,
    and at no more with 256, for 1,489, 973, 783 us of all servers' CPU each (medians of 6 by
    turns)."""
    fetch_bytes: int = 128 * MIB
    """Bytes of ranges in flight, the ones not yet stored included."""
    queued_fills: int = 4096
    """Chunks that may wait for their turn; past it the clients are not read from."""
    deadline_seconds: float = 60.0
    """One fetch, all retries included."""

    @property
    def socket(self) -> Path:
        """The unix socket on which the service listens."""
        return self.directory / "socket"

    @property
    def lock(self) -> Path:
        """The file whose lock says that a service is running."""
        return self.directory / "lock"
