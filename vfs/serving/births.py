"""The inode numbers of places that had one already in an earlier epoch, as far as remembered."""

from __future__ import annotations

from array import array
from typing import Final

from vfs.serving.ino import Ino
from vfs.serving.recent import Recent

PAGE_BITS: Final = 10
PAGE_MASK: Final = (1 << PAGE_BITS) - 1
PAGES_REMEMBERED: Final = 1024
"""Pages of 8 KiB: a million places, when those are neighbours."""


class Births:
    """Number by place, which is `epoch << 40 | position` too; eight bytes for each neighbour."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._pages: Recent[int, array[int]] = Recent(PAGES_REMEMBERED)

    def get(self, place: Ino) -> Ino | None:
        """Return the number of what lies at *place*, None when it is not remembered."""
        page = self._pages.get(place >> PAGE_BITS)
        born = page[place & PAGE_MASK] if page else 0
        return Ino(born) if born else None

    def put(self, place: Ino, born: Ino) -> None:
        """Remember that what lies at *place* has the number *born*."""
        page = self._pages.get(place >> PAGE_BITS)
        if page is None:
            page = array("Q", bytes(8 << PAGE_BITS))
            self._pages.put(place >> PAGE_BITS, page)
        page[place & PAGE_MASK] = born
