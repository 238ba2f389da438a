"""What a source holds, as a stream of batches: the values and the seam that both listings share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from vfs.snapshots.names import Skipped

BATCH_COUNT = 4096
"""Entries in a batch, more or less: some 20 ms of work."""


class ListedKind(IntEnum):
    """What was found at a path."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2


class Listed(NamedTuple):
    """One thing found; *path* is relative to the source, without a slash at its ends.

    `version` is a file's in the store (see `ObjectRef`), `target` what a symlink points to. A
    NamedTuple, because a million are made: 0.43 us each against 1.14 us of a frozen dataclass.
    """

    kind: ListedKind
    path: bytes
    size: int
    mtime_ns: int
    mode: int
    version: str | None = None
    target: bytes = b""


class Listing(Protocol):
    """One pass over a source."""

    skipped: Skipped

    def batches(self) -> AsyncIterator[Sequence[Listed]]:
        """Yield all there is, parents and children in any order, keeping as little as possible."""
        ...

    def visible(self, batch: Sequence[Listed]) -> Iterator[Listed]:
        """Yield *batch* without the files that a directory hides. To be asked after the pass."""
        ...
