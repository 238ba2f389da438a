"""Files that were asked for ahead and that nobody has read yet, as all who share a scan see it.

They are the workers of a mount, or processes that read in process. Each has a part of the reads and
plans the whole of it: who claims a file first has it fetched. They all map one table, in which a
file has a place by its number. What is forgotten because two files have the same place, or two
processes wrote at once, costs time and no byte: the cache service fetches everything once.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final

from vfs.serving.ino import ino_of
from vfs.serving.neighbours import Place
from vfs.serving.sharedtable import Table, shared_table

AWAITED_FILE: Final = "awaited"
FILES_AWAITED: Final = 8192
CLAIM_SECONDS: Final = 10.0
"""What was fetched ahead may be gone after that: its lease in the cache ends."""
SLOT: Final = struct.Struct("<Qd")
TABLE_SIZE: Final = FILES_AWAITED * SLOT.size
SALT_SIZE: Final = 8
NOBODY: Final = 0
"""The number of no file."""


class Claim(IntEnum):
    """What became of the wish to await a file."""

    REFUSED = 0
    """Somebody awaits it."""
    GRANTED = 1
    RENEWED = 2
    """Somebody awaited it, too long ago: it may be gone. If it is here, it is on the account."""


class Awaited:
    """The files awaited by those who share a table, which is this object's own unless given."""

    def __init__(self, table: Table | None = None, salt: int = 0) -> None:
        """Begin with what *table* says, in which others use another *salt* for other datasets."""
        self._table: Table = bytearray(TABLE_SIZE) if table is None else table
        self._salt = salt

    def claim(self, place: Place, now: float) -> Claim:
        """Await a file from *now* on, unless somebody does; by `time.monotonic`, all have one."""
        number, offset = self._number(place), self._offset(place)
        known, since = SLOT.unpack_from(self._table, offset)
        # Below 0: a claim from before the machine was started anew.
        if known == number and 0 <= now - since < CLAIM_SECONDS:
            return Claim.REFUSED
        self._write(offset, number, now)
        return Claim.RENEWED if known == number else Claim.GRANTED

    def release(self, place: Place) -> bool:
        """Await a file no more; return whether it was awaited."""
        offset = self._offset(place)
        if SLOT.unpack_from(self._table, offset)[0] != self._number(place):
            return False
        self._write(offset, NOBODY, 0.0)
        return True

    def _write(self, offset: int, number: int, since: float) -> None:
        self._table[offset : offset + SLOT.size] = SLOT.pack(number, since)  # see `sharedtable`

    def _number(self, place: Place) -> int:
        return ino_of(*place) ^ self._salt

    def _offset(self, place: Place) -> int:
        """Return where a file has its place: files in order have theirs in order."""
        return (place[1] + self._salt) % FILES_AWAITED * SLOT.size


def shared_awaited(directory: Path, snapshot_id: str = "") -> Awaited:
    """Return the table of all who name the same directory, or one's own where that cannot be.

    Who shares a directory and may read another snapshot says which it is.
    """
    salt = int.from_bytes(hashlib.blake2b(snapshot_id.encode(), digest_size=SALT_SIZE).digest())
    return Awaited(shared_table(directory / AWAITED_FILE, TABLE_SIZE), salt)
