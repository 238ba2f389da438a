"""The seam to object storage: what every engine offers, and the values that cross it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of one object: `size` in bytes, `version` as in `ObjectRef`."""

    key: str
    size: int
    version: str | None
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Write only when nothing is there (`If-None-Match: *`)."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Write only over this version (`If-Match`)."""

    version: str


Condition = IfAbsent | IfMatch

Body = bytes | memoryview
"""What came of an object: a view where an engine's own memory holds it, as a copy costs."""


class ObjectStore(Protocol):
    """Objects below one root. Keys are relative to it and never leave it.

    Every method raises only `StoreError` leaves and `OutsideOriginError`, makes one attempt, and
    may be cancelled. `RetryingStore` adds retries and deadlines.
    """

    @property
    def root(self) -> str:
        """The canonical URL of the root, endpoint included; part of every object's identity."""
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Return what the store knows of one object."""
        ...

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return a small object whole, with the version of the very bytes returned."""
        ...

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> Body:
        """Return exactly the bytes `[start, stop)` of that version of the object.

        Raises ObjectChangedError when the object is another version, StoreUnavailableError when
        the store sent too few bytes or another range than was asked for.
        """
        ...

    def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield batches of objects whose key starts with *prefix*; any order, keys unaltered."""
        ...

    async def put(self, key: str, data: bytes) -> None:
        """Write a small object, whatever was there."""
        ...

    async def put_file(self, key: str, path: Path) -> None:
        """Upload a local file of any size. Nobody sees the object before all of it is there."""
        ...

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        """Write a small object if *condition* holds, atomically; return its new version.

        Raises ConditionFailedError when it does not hold.
        """
        ...

    async def aclose(self) -> None:
        """Release connections. The store is not used after this."""
        ...
