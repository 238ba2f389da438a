"""Things that show a dataset as a directory, measured beside one another.

A new peer is one module here with one class that fits `Peer`, named in `bench.peers.all`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from bench.site import Stored


class PeerUnavailableError(Exception):
    """A peer cannot run here; says why."""


class PeerFailedError(Exception):
    """A peer that should run here did not do what it was asked."""


class Cache(StrEnum):
    """What of a dataset lies on the node when it is mounted."""

    EMPTY = "empty"
    KEPT = "kept"
    ON_DISK = "on disk"
    """Kept, but none of it in memory."""


class Mounted(Protocol):
    """A dataset that a peer shows right now."""

    @property
    def path(self) -> Path:
        """The directory to read."""
        ...

    @property
    def mount_seconds(self) -> float:
        """How long its command took until there was something to read."""
        ...

    def pids(self) -> Sequence[int]:
        """Return the processes that serve it."""
        ...


@runtime_checkable
class Announcing(Mounted, Protocol):
    """A mount that may be told what will be read."""

    def announced(self, paths: Sequence[str]) -> AbstractContextManager[None]:
        """Tell in which order *paths* will be read, and be ready for that during the block."""
        ...


@runtime_checkable
class Mortal(Mounted, Protocol):
    """A mount that processes serve which may die."""

    def serving(self) -> Sequence[int]:
        """Return those who answer the kernel, without whoever would start them again."""
        ...


@runtime_checkable
class Remountable(Mortal, Protocol):
    """One that can be mounted anew when they are dead."""

    @property
    def is_watched(self) -> bool:
        """Whether a process of its own starts them again."""
        ...

    def remount(self) -> None:
        """Take off what is left of the mount and mount again at the same place."""
        ...


class Offer(Protocol):
    """A dataset that a peer is ready to mount, again and again."""

    def mounted(self, cache: Cache) -> AbstractContextManager[Mounted]:
        """Show it for the length of a block, by new processes, which have only *cache*."""
        ...


class Peer(Protocol):
    """One way to read a dataset that lies in object storage."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        ...

    def version(self) -> str:
        """Return its version, or raise `PeerUnavailableError`."""
        ...

    def settings(self) -> str:
        """Return how it is run."""
        ...

    def offered(self, stored: Stored, scratch: Path) -> AbstractContextManager[Offer]:
        """Do once for *stored* what this peer wants done, with all its state below *scratch*."""
        ...


class LocalMounted(Protocol):
    """A local dataset that is shown right now."""

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


class LocalPeer(Protocol):
    """One way to show a local directory's files somewhere else."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        ...

    def mounted(self, dataset: Path, scratch: Path) -> AbstractContextManager[LocalMounted]:
        """Show *dataset* for the length of a block, with all state below *scratch*."""
        ...
