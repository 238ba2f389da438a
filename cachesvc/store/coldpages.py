"""Having large slabs read from the disk at once, where otherwise page after page would be.

To look a slab up touches all its 33 pages, and each that is not in memory costs a read of its own
(2.3 ms a slab), or else, with the device's read-ahead, megabytes around it. Asked for by its place
in the file a slab is one read. As long as everything is in memory this costs two looks at a clock.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cachesvc.store.lmdbenv import Environment, begin_viewing, value_offset
from cachesvc.store.slab import LARGE

SLOW_SECONDS = 0.0001
SLOW_SECONDS_A_SLAB = 0.00002
"""What it takes to look up slabs some of which are on the disk; in memory one takes 5 us."""
ALERT_READS = 64
"""After slabs that were on the disk so many reads ask for theirs first, which costs them 15 us."""


class ColdPages:
    """Asks for slabs of one file. May be used by several threads: a race costs a question."""

    def __init__(self, data: Path) -> None:
        """Ask for parts of the file *data*, and expect all of it to be in memory."""
        self._file: int | None = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
        self._alert = 0

    @property
    def is_alert(self) -> bool:
        """Say whether slabs were on the disk lately."""
        return self._alert > 0

    def note(self, seconds: float, slab_count: int) -> None:
        """Learn what it took to look slabs up, whether or not they had been asked for."""
        if seconds > SLOW_SECONDS + SLOW_SECONDS_A_SLAB * slab_count:
            self._alert = ALERT_READS

    def ask(self, env: Environment, keys: Iterable[bytes]) -> None:
        """Have the kernel read those of the slabs of *env* that are not in memory."""
        if self._file is None:
            return
        self._alert -= 1
        with begin_viewing(env) as txn, txn.cursor() as cursor:
            offsets = [value_offset(cursor) for key in keys if cursor.set_key(key)]
        for start, stop in joined(offsets, LARGE.disk_size):
            os.posix_fadvise(self._file, start, stop - start, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Let go of the file; does nothing the second time."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def joined(offsets: Iterable[int], size: int) -> Iterator[tuple[int, int]]:
    """Yield the half-open ranges of pieces of one *size*, those that follow one another as one."""
    start = stop = -1
    for offset in offsets:
        if offset != stop:
            if stop > start:
                yield start, stop
            start = offset
        stop = offset + size
    if stop > start:
        yield start, stop
