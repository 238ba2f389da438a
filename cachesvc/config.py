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
    fetches: int = 32
    """Ranges in flight to object storage."""
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
