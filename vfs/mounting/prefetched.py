"""What `headrace prefetch` asks of the process that does it, and what that reports. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Terms:
    """How to prefetch: at most `bandwidth` bytes a second (0: no bound), and `window_size` bytes
    ahead of the readers.

    Who follows the readers fetches on as they come for what is there, 0 bytes ahead meaning half of
    what the cache has room for; else a full cache is the end, and there is no other bound.
    """

    bandwidth: int = 0
    window_size: int = 0
    follows: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Prefetched:
    """How far prefetching has come. Counts files and their bytes as they are found, then chunks.

    Of `chunk_count` chunks, `filled_count` need no fetch any more, `failed_count` of them since it
    failed, and readers have left `read_count` behind; `fetched_size` bytes came. `missing_count`
    names in a list were no files.
    """

    file_count: int = 0
    file_size: int = 0
    missing_count: int = 0
    chunk_count: int = 0
    filled_count: int = 0
    failed_count: int = 0
    read_count: int = 0
    fetched_size: int = 0
    is_listed: bool = False
    is_full: bool = False
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)
