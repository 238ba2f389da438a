"""Files that were asked for ahead, and files read lately, as all who share a scan see it.

They are the workers of a mount, or processes that read in process. Each has a part of the reads:
only together do they tell whether files are read in order. Each plans the whole of what follows:
who claims a file first has it fetched. They all map one table, in which a file has a place by its
number. What is forgotten because two files have the same place, or two processes wrote at once,
costs time and no byte: the cache service fetches everything once.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final

from vfs.serving.ino import ino_of
from vfs.serving.neighbours import Place

AWAITED_FILE: Final = "awaited"
FILES_AWAITED: Final = 8192
CLAIM_SECONDS: Final = 10.0
"""What was fetched ahead may be gone after that: its lease in the cache ends."""
SLOT: Final = struct.Struct("<Qd")
TURNS: Final = struct.Struct("<d")
"""After all files: how many reads there were."""
TABLE_SIZE: Final = FILES_AWAITED * SLOT.size + TURNS.size
SALT_SIZE: Final = 8
NOBODY: Final = 0
"""The number of no file."""
READ: Final = 1 << 63
"""What sets the number of a file that was read apart from one that is awaited."""
LATELY: Final = 64
"""So many reads are remembered: up to 31 readers may each go through a part of their own. Of 600
files in random order, and a cache for half of them, 0.83 were fetched for each that was read, as
many as had to be where the least recently used one is replaced. With 128 it was 1.30."""
NEAR: Final = 8
"""Files before one that are looked at. If half of them were read lately, it is read in order, as it
is if its next two were: so long as its readers take turns, they need not arrive in order."""


class Claim(IntEnum):
    """What became of the wish to await a file."""

    REFUSED = 0
    """Somebody awaits it."""
    GRANTED = 1
    RENEWED = 2
    """Somebody awaited it, too long ago: it may be gone. If it is here, it is on the account."""


class Awaited:
    """The files awaited by those who share a table, which is this object's own unless given."""

    def __init__(self, table: bytearray | mmap.mmap | None = None, salt: int = 0) -> None:
        """Begin with what *table* says, in which others use another *salt* for other datasets."""
        self._table = bytearray(TABLE_SIZE) if table is None else table
        self._salt = salt

    def claim(self, place: Place, now: float) -> Claim:
        """Await a file from *now* on, unless somebody does; by `time.monotonic`, all have one."""
        number, offset = self._number(place), self._offset(place)
        known, since = SLOT.unpack_from(self._table, offset)
        # Below 0: a claim from before the machine was started anew.
        if known == number and 0 <= now - since < CLAIM_SECONDS:
            return Claim.REFUSED
        SLOT.pack_into(self._table, offset, number, now)
        return Claim.RENEWED if known == number else Claim.GRANTED

    def read(self, place: Place) -> bool:
        """Take note that a file is read; return whether it was awaited."""
        was_awaited = self.release(place)
        turn = self._turn + 1
        TURNS.pack_into(self._table, TABLE_SIZE - TURNS.size, turn)
        SLOT.pack_into(self._table, self._offset(place), self._number(place) ^ READ, turn)
        return was_awaited

    def is_in_order(self, place: Place) -> bool:
        """Say whether those before a file were read lately, by anybody."""
        epoch, position = place
        if all(self._was_read((epoch, position - step)) for step in (1, 2)):
            return True
        near = range(max(0, position - NEAR), position)
        return sum(self._was_read((epoch, each)) for each in near) >= NEAR // 2

    def release(self, place: Place) -> bool:
        """Await a file no more; return whether it was awaited."""
        offset = self._offset(place)
        if SLOT.unpack_from(self._table, offset)[0] != self._number(place):
            return False
        SLOT.pack_into(self._table, offset, NOBODY, 0.0)
        return True

    @property
    def _turn(self) -> float:
        turn: float = TURNS.unpack_from(self._table, TABLE_SIZE - TURNS.size)[0]
        return turn

    def _was_read(self, place: Place) -> bool:
        known: int
        turn: float
        known, turn = SLOT.unpack_from(self._table, self._offset(place))
        return known == self._number(place) ^ READ and self._turn - turn < LATELY

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
    try:
        file = os.open(directory / AWAITED_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, TABLE_SIZE)  # on a full disk a map of holes is a signal
            return Awaited(mmap.mmap(file, TABLE_SIZE), salt)
        finally:
            os.close(file)
    except OSError:
        return Awaited()
