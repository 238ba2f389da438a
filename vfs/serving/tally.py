"""How many reads a worker answered, and what of them was there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Tally:
    """Counts of reads: hits needed no fetch. Bytes are those that the readers got."""

    hits: int = 0
    misses: int = 0
    hit_bytes: int = 0
    miss_bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(
            self.hits + other.hits,
            self.misses + other.misses,
            self.hit_bytes + other.hit_bytes,
            self.miss_bytes + other.miss_bytes,
        )

    def fields(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, int]) -> Tally:
        """Return the counts that `fields` told; what another version left out is zero."""
        return cls(**{name: fields.get(name, 0) for name in cls.__slots__})
