"""A directory while its dataset is being collected: its children, packed end to end. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from vfs.errors import NameCollisionError
from vfs.manifest.inode import HASHED_BIT, RECORD_SIZE, encode_directory
from vfs.manifest.page import digest_of

IMPLICIT_MODE: Final = 0o755
HASH_SIZE: Final = 8
_SHAPE: Final = struct.Struct("<20xI8xQ22xBB")
"""Of a record: payload size, size, name size, tag."""


class CollectedDirectory:
    """The children of one directory, in any order until it is sealed.

    A child is its record, name, payload and chunk hashes: no Python object for each. After
    `seal`, they are sorted by name, subdirectories among them, and `digest` covers them all.
    """

    __slots__ = (
        "bytes_below",
        "child_count",
        "digest",
        "entries",
        "explicit",
        "files_below",
        "last_name",
        "mode",
        "mtime_ns",
        "name",
        "parent",
        "sorted",
        "subdirectories",
    )

    def __init__(self, name: bytes, parent: CollectedDirectory | None) -> None:
        """Make a directory that was only implied by a path below it, so far."""
        self.name = name
        self.parent = parent
        self.mode = IMPLICIT_MODE
        self.mtime_ns = 0
        self.explicit = False
        self.entries = bytearray()
        self.sorted = True
        self.last_name = b""
        self.child_count = 0
        self.subdirectories: dict[bytes, CollectedDirectory] = NO_SUBDIRECTORIES
        self.files_below = 0
        self.bytes_below = 0
        self.digest = b""

    @property
    def path(self) -> bytes:
        """The path from the root."""
        names = [self.name]
        above = self.parent
        while above is not None:
            names.append(above.name)
            above = above.parent
        return b"/".join(names[-2::-1])

    def append(self, name: bytes, entry: bytes, mtime_ns: int) -> None:
        """Take one more child."""
        self.entries += entry
        self.child_count += 1
        if name <= self.last_name:
            self.sorted = False
        self.last_name = name
        if mtime_ns > self.mtime_ns and not self.explicit:
            self.mtime_ns = mtime_ns

    def subdirectory(self, name: bytes) -> CollectedDirectory | None:
        """Return the subdirectory of that name, if there is one yet."""
        return self.subdirectories.get(name)

    def add_subdirectory(self, name: bytes) -> CollectedDirectory:
        """Make a subdirectory."""
        if self.subdirectories is NO_SUBDIRECTORIES:
            self.subdirectories = {}
        made = CollectedDirectory(name, self)
        self.subdirectories[name] = made
        return made

    def seal(self, chunk_size: int) -> None:
        """Sort the children and compute the digest; all subdirectories are sealed already.

        Raises NameCollisionError when two children have the same name.
        """
        for name, child in self.subdirectories.items():
            self.append(name, child.entry(), child.mtime_ns)
            self.files_below += child.files_below
            self.bytes_below += child.bytes_below
        if not self.sorted:
            self._sort(chunk_size)
        self.digest = digest_of(self.entries)

    def forget(self) -> None:
        """Let the children go."""
        self.entries = bytearray()
        self.subdirectories = NO_SUBDIRECTORIES

    def entry(self) -> bytes:
        """Return this sealed directory as a child of its parent."""
        return encode_directory(
            self.name,
            self.mtime_ns,
            self.mode,
            digest=self.digest,
            child_count=self.child_count,
            subdirectory_count=len(self.subdirectories),
            files_below=self.files_below,
            bytes_below=self.bytes_below,
        )

    def _sort(self, chunk_size: int) -> None:
        entries = self.entries
        starts = [0]
        names = []
        for name_stop, _, stop, _ in shapes(entries, chunk_size):
            names.append(bytes(entries[starts[-1] + RECORD_SIZE : name_stop]))
            starts.append(stop)
        order = sorted(range(len(names)), key=names.__getitem__)
        for left, right in pairwise(order):
            if names[left] == names[right]:
                raise collision(self.path + b"/" + names[left] if self.parent else names[left])
        view = memoryview(entries)
        self.entries = bytearray().join(view[starts[n] : starts[n + 1]] for n in order)
        self.sorted = True


NO_SUBDIRECTORIES: Final[dict[bytes, CollectedDirectory]] = {}
"""Shared by all directories that have none: an empty dict each would be 64 bytes each."""


def shapes(entries: bytearray, chunk_size: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield of each child where name, payload and all of it stop, and its tag."""
    at, end = 0, len(entries)
    while at < end:
        payload_size, size, name_size, tag = _SHAPE.unpack_from(entries, at)
        name_stop = at + RECORD_SIZE + name_size
        hash_start = at = name_stop + payload_size
        if tag & HASHED_BIT:
            at += -(-size // chunk_size) * HASH_SIZE
        yield name_stop, hash_start, at, tag


def collision(path: bytes) -> NameCollisionError:
    """Return the error that says which path came twice."""
    return NameCollisionError(
        f"{path!r} stands for two things: a snapshot can hold one; rename or leave out the other"
    )
