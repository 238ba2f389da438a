"""Files that were asked for ahead and that nobody has read yet, as all workers of a mount see it.

The workers share the reads of each scan, and each plans the whole of it: who claims a file first
has it fetched. They all map one table, in which a file has a place by its number. What is forgotten
because two files have the same place, or two workers wrote at once, costs time and no byte: the
cache service fetches everything once.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from vfs.serving.ino import ino_of
from vfs.serving.neighbours import Place

AWAITED_FILE: Final = "awaited"
FILES_AWAITED: Final = 8192
CLAIM_SECONDS: Final = 10.0
"""What was fetched ahead may be gone after that: its lease in the cache ends."""
SLOT: Final = struct.Struct("<Qd")
TABLE_SIZE: Final = FILES_AWAITED * SLOT.size
NOBODY: Final = 0
"""The number of no file."""


class Awaited:
    """The files awaited by those who share a table, which is this object's own unless given."""

    def __init__(self, table: bytearray | mmap.mmap | None = None) -> None:
        """Begin with what *table* says."""
        self._table = bytearray(TABLE_SIZE) if table is None else table

    def claim(self, place: Place, now: float) -> bool:
        """Await a file from *now* on, False if anybody does; by `time.monotonic`, all have one."""
        number, offset = ino_of(*place), _offset(place)
        known, since = SLOT.unpack_from(self._table, offset)
        if known == number and now - since < CLAIM_SECONDS:
            return False
        SLOT.pack_into(self._table, offset, number, now)
        return True

    def release(self, place: Place) -> bool:
        """Await a file no more; return whether it was awaited."""
        offset = _offset(place)
        if SLOT.unpack_from(self._table, offset)[0] != ino_of(*place):
            return False
        SLOT.pack_into(self._table, offset, NOBODY, 0.0)
        return True


def shared_awaited(directory: Path) -> Awaited:
    """Return the table of all who name the same directory, or one's own where that cannot be."""
    try:
        file = os.open(directory / AWAITED_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, TABLE_SIZE)  # on a full disk a map of holes is a signal
            return Awaited(mmap.mmap(file, TABLE_SIZE))
        finally:
            os.close(file)
    except OSError:
        return Awaited()


def _offset(place: Place) -> int:
    """Return where a file has its place: files in order have theirs in order."""
    return place[1] % FILES_AWAITED * SLOT.size
