"""Which files were read lately: what tells whether somebody reads them in order.

The workers of a mount map one table: of many readers each worker answers a part, and only together
do they see an order. Who reads in process sees all that it reads, and has a table of its own.
Two processes that write at once may lose a read: that costs time and no byte.
"""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import Final

from vfs.serving.ino import ino_of
from vfs.serving.neighbours import Place
from vfs.serving.sharedtable import Table, shared_table

TRACKS_FILE: Final = "tracks"
FILES: Final = 4096
SLOT: Final = struct.Struct("<Qd")
TURN: Final = struct.Struct("<d")
"""After all files: how many reads there were."""
TABLE_SIZE: Final = FILES * SLOT.size + TURN.size
LATELY: Final = 256
"""So many reads are remembered. A small dataset read at random is soon so full of tracks that what
is beside them is fetched too, rightly if there is room: 480 files of 323 KB keep an accelerator
busy 89 to 97 % of the time, with 96 here 59. Where there is none, 1.41 of 600 files are fetched for
each read through a cache for half of them; 0.97 with 96."""
TURN_OF_A_HIT: Final = 1 / 16
"""What somebody reads at once from the node's cache should not hide who has to wait."""
NEAR: Final = 8
STRIDES: Final = (3, 4)


class Tracks:
    """The files read lately, in a table that may be shared."""

    def __init__(self, table: Table | None = None) -> None:
        """Begin with what *table* says, or with no read."""
        self._table: Table = bytearray(TABLE_SIZE) if table is None else table

    def add(self, place: Place, *, waited: bool) -> None:
        """Take note of a read, and whether it *waited* for what was not here or was on its way."""
        turn = self._turn + (1.0 if waited else TURN_OF_A_HIT)
        self._table[-TURN.size :] = TURN.pack(turn)  # see `sharedtable`
        offset = _offset(place)
        self._table[offset : offset + SLOT.size] = SLOT.pack(ino_of(*place), turn)

    def has(self, place: Place) -> bool:
        """Say whether a file was read lately."""
        return self._has_before(place, self._turn, 0)

    def leads_to(self, place: Place) -> bool:
        """Say whether those before a file were read lately, so that it is read in order.

        These are the two right before it, or half of the eight: readers who take turns need not be
        served in order. Or they are three at a stride.
        """
        has = partial(self._has_before, place, self._turn)
        return (
            (has(1) and has(2))
            or sum(map(has, range(1, NEAR + 1))) >= NEAR // 2
            or any(has(step) and has(2 * step) and has(3 * step) for step in STRIDES)
        )

    @property
    def _turn(self) -> float:
        turn: float = TURN.unpack_from(self._table, TABLE_SIZE - TURN.size)[0]
        return turn

    def _has_before(self, place: Place, turn: float, steps: int) -> bool:
        before = place[0], place[1] - steps
        known: int
        then: float
        known, then = SLOT.unpack_from(self._table, _offset(before))
        # A turn to come is from before somebody's write of the count was lost.
        return known == ino_of(*before) and 0 < then <= turn < then + LATELY


def shared_tracks(directory: Path) -> Tracks:
    """Return the tracks of all who name the same directory."""
    return Tracks(shared_table(directory / TRACKS_FILE, TABLE_SIZE))


def _offset(place: Place) -> int:
    return place[1] % FILES * SLOT.size
