"""Which bytes a file may have at a moment, while the versions of a dataset change. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Content(Protocol):
    """What readers of a directory may find."""

    def names(self) -> Sequence[str]:
        """Return the files."""
        ...

    def possible(self, name: str, since: float, until: float) -> Collection[bytes]:
        """Return the hashes that a file may have which was opened between two moments."""
        ...


@dataclass(frozen=True, slots=True)
class Unchanging:
    """Every file has one hash for ever."""

    hashes: Mapping[str, bytes]

    def names(self) -> Sequence[str]:
        """Return the files."""
        return sorted(self.hashes)

    def possible(self, name: str, since: float, until: float) -> Collection[bytes]:
        """Return the one hash."""
        return (self.hashes[name],)


@dataclass(slots=True)
class Change:
    """From some moment until another a switch was on its way to a version."""

    version: int
    began: float
    ended: float = math.inf


class Switching:
    """Files of several versions, of which a mount shows one after another."""

    def __init__(self, versions: Sequence[Mapping[str, bytes]]) -> None:
        """Know the hashes of each version, which all have the same files; the first is shown."""
        self._versions = versions
        self._changes = [Change(0, -math.inf, -math.inf)]

    @property
    def next_version(self) -> int:
        """The version after the one that is shown or on its way; after the last the first."""
        return (self._changes[-1].version + 1) % len(self._versions)

    def begin(self, version: int, moment: float) -> None:
        """Take note that from now on *version* may be shown, and the one before it still."""
        self._changes.append(Change(version, moment))

    def end(self, moment: float) -> None:
        """Take note that the version before is shown no more."""
        self._changes[-1].ended = moment

    def names(self) -> Sequence[str]:
        """Return the files."""
        return sorted(self._versions[0])

    def possible(self, name: str, since: float, until: float) -> Collection[bytes]:
        """Return the hashes in all versions that may have been shown between two moments."""
        return {self._versions[version][name] for version in self._shown(since, until)}

    def _shown(self, since: float, until: float) -> set[int]:
        """A version may be seen from the moment its switch begins until the next one has ended."""
        changes = list(self._changes)
        ends = [later.ended for later in changes[1:]] + [math.inf]
        return {
            change.version
            for change, end in zip(changes, ends, strict=True)
            if change.began <= until and since <= end
        }
