"""Which small files are laid end to end in which pack, in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from cachesvc.units import MIB
from vfs.manifest.inode import Inode

PACK_SIZE = 256 * MIB
"""Bytes after which a pack is full: while it is made, it lies in a temporary file of this size."""
PACK_FILES = 32_768
"""Files after which it is full too: a plan of so many takes some 20 MB of memory."""
PACK_BELOW = 1 * MIB
"""Files below this size are packed: from there on a request of its own costs less than a copy."""

LARGEST_PACKED = 16 * MIB
"""The most that files may be below: eight of them are in memory at a time."""


@dataclass(frozen=True, slots=True)
class PackOptions:
    """What to pack: files below a size, those in *order* first, the rest by directory."""

    below: int = PACK_BELOW
    order: Mapping[bytes, int] = field(default_factory=dict)

    def wants(self, file: Inode) -> bool:
        """Say whether *file* is to be packed. An empty one has nothing to fetch."""
        return 0 < file.size < self.below


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file that is to be packed, and its path."""

    path: bytes
    inode: Inode


@dataclass(frozen=True, slots=True)
class PackPlan:
    """The files of one pack that is yet to be made."""

    files: list[SmallFile]

    @property
    def offsets(self) -> list[int]:
        """Where each file begins; after the last, the size of the pack."""
        return list(accumulate((file.inode.size for file in self.files), initial=0))


class Pile:
    """Files as they come, until there are enough for a pack."""

    def __init__(self) -> None:
        """Begin with none."""
        self._files: list[SmallFile] = []
        self._size = 0

    def add(self, file: SmallFile) -> PackPlan | None:
        """Take one more file; return the pack that was full without it, if one was."""
        full = self._size + file.inode.size > PACK_SIZE or len(self._files) == PACK_FILES
        plan = self.rest() if full else None
        self._files.append(file)
        self._size += file.inode.size
        return plan

    def rest(self) -> PackPlan | None:
        """Return what is there as a pack, None if there is nothing, and begin anew."""
        files, self._files, self._size = self._files, [], 0
        return PackPlan(files) if files else None


def order_of(lines: Iterable[bytes]) -> dict[bytes, int]:
    """Return the rank of each path of a list with one path a line; the first of equals counts."""
    ranks: dict[bytes, int] = {}
    for line in lines:
        path = line.rstrip(b"\r\n").removeprefix(b"./")
        if path:
            ranks.setdefault(path, len(ranks))
    return ranks
