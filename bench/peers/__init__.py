"""Things that show a dataset as a directory, measured beside one another.

A new peer is one module here with one class that fits `Peer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Mounted(Protocol):
    """A dataset that a peer shows right now."""

    @property
    def path(self) -> Path:
        """The directory to read."""
        ...

    def forget(self) -> None:
        """Make the kernel drop the files' pages. The peer's own cache keeps what it has."""
        ...

    def servers(self) -> Mapping[str, Sequence[int]]:
        """Return the pids of the processes that serve it, by role."""
        ...


class Peer(Protocol):
    """One way to show a directory's files somewhere."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        ...

    def mounted(self, dataset: Path, scratch: Path) -> AbstractContextManager[Mounted]:
        """Show *dataset* for the length of a block, with all state below *scratch*."""
        ...
