"""How far a prefetch has come, as its process reports it and `headrace prefetch` shows it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prefetched:
    """How far prefetching has come. Counts files and their bytes as they are found, then chunks.

    Of `chunk_count` chunks, `filled_count` need no fetch any more, `failed_count` of them since it
    failed; `fetched_size` bytes came. `missing_count` names in a list were no files.
    """

    file_count: int = 0
    file_size: int = 0
    missing_count: int = 0
    chunk_count: int = 0
    filled_count: int = 0
    failed_count: int = 0
    fetched_size: int = 0
    is_listed: bool = False
    is_full: bool = False
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)
