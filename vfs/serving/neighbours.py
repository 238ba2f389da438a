"""Reading that goes on from file to file: files of a directory have positions in order. Pure.

A scan is one reader or several that go through the same files in order, which their `tracks` tell.
Shuffled reading is in order by chance only, and what chance may cost is bounded by the `Allowance`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachesvc.units import MIB

SCANS_WATCHED = 16
"""Scans at a time; the one that was idle longest makes room."""
REACH = 16
"""Positions that readers of one scan may be ahead of each other: as many read side by side."""
LATE = 64
"""Positions that the last of them may be behind the first, if what it reads is here."""
FIRST_WIDTH = 4
WIDTH_LIMIT = 512
"""Files that a scan is ahead of its readers, at most."""
WINDOW_SIZE = 32 * MIB
"""Bytes that it is ahead, at most: eight ranges of 4 MiB, or 300 files of 110 KB."""

ALLOWANCE = 64 * MIB
"""Bytes fetched ahead that nobody has read yet, at most, over all scans of a worker."""
ALLOWANCE_SHARE = 8
"""For each so many bytes that are read one of those that never were is forgiven."""

Place = tuple[int, int]
"""Epoch and position of a file."""


@dataclass(eq=False, slots=True)
class Scan:
    """Reads near each other: the last position, and how far ahead of it files were asked for.

    `warm` means that all that was asked for lately was here: then it asks for nothing more until
    something is missing.
    """

    epoch: int
    end: int
    planned: int
    mean_size: float
    width: int = FIRST_WIDTH
    warm: bool = False
    extended_at: int = -1

    def distance(self, place: Place, *, missed: bool) -> int | None:
        """Return how far a read is from the next one in order; None when it is none of this.

        Who *missed* far behind the others is no straggler of theirs.
        """
        epoch, position = place
        late = REACH if missed else LATE
        if epoch != self.epoch or not self.end - late <= position <= self.end + REACH:
            return None
        return abs(position - self.end - 1)

    def note(self, position: int, size: int) -> None:
        """Learn that a file is read."""
        self.mean_size += (size - self.mean_size) / 8
        self.end = max(self.end, position)
        self.planned = max(self.planned, self.end + 1)

    @property
    def is_due(self) -> bool:
        """Whether the next batch of files should be asked for, if they are read in order.

        It comes when half of the window is left, so that adjacent bytes are one request, and when
        there is progress: who reads one file again and again wants no more.
        """
        is_low = 2 * (self.planned - self.end - 1) <= self.width
        return is_low and not self.warm and self.end > self.extended_at

    def extend(self) -> range:
        """Return the positions to fetch ahead now; the next time there will be more."""
        start, self.planned = self.planned, self.end + 1 + self.width
        self.extended_at = self.end
        self.width = min(2 * self.width, self._widest)
        return range(start, self.planned)

    def missed(self) -> None:
        """Learn that a file was not here: what follows may not be either."""
        if self.warm:
            self.warm, self.planned, self.width = False, self.end + 1, FIRST_WIDTH
            self.extended_at = self.end - 1

    @property
    def _widest(self) -> int:
        return int(min(WIDTH_LIMIT, max(FIRST_WIDTH, WINDOW_SIZE / max(1.0, self.mean_size))))


class Scans:
    """The scans that go on, the latest first."""

    def __init__(self) -> None:
        """Watch none yet."""
        self._scans: list[Scan] = []

    def find(self, place: Place, *, missed: bool) -> Scan | None:
        """Return the scan that a read at *place* is nearest to, if it is part of one."""
        found = None
        nearest = LATE + REACH
        for scan in self._scans:
            distance = scan.distance(place, missed=missed)
            if distance is not None and distance < nearest:
                found, nearest = scan, distance
        if found is not None and found is not self._scans[0]:
            self._scans.remove(found)
            self._scans.insert(0, found)
        return found

    def begin(self, place: Place, size: int) -> Scan:
        """Begin a scan whose first read, at *place*, is still to be noted."""
        epoch, position = place
        scan = Scan(epoch, position - 1, position, float(size))
        self._scans.insert(0, scan)
        del self._scans[SCANS_WATCHED:]
        return scan


class Allowance:
    """What may still be fetched ahead, by the bytes that were and that nobody has read.

    What is read is paid back, to the worker that answers, whichever had it fetched. So all that
    workers ever fetch in vain is an `ALLOWANCE` each, and one byte for each `ALLOWANCE_SHARE` that
    were read. What was evicted before it was read is paid back too: whether it is gone or on its
    way only the cache service knows.
    """

    def __init__(self) -> None:
        """Begin with all of it."""
        self._left = float(ALLOWANCE)

    def take(self, size: int) -> bool:
        """Spend on a file of *size* bytes; False when there is not enough left."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def note(self, size: int, *, was_awaited: bool) -> None:
        """Learn that a file is read, and whether somebody had spent on it."""
        earned = size * was_awaited + size / ALLOWANCE_SHARE
        self._left = min(float(ALLOWANCE), self._left + earned)
