"""Free memory that the host of a virtual machine has given, so that a pass need not wait for it.

Linux offers free blocks of 2 MiB and more to the host two seconds after they became free, and each
page of one that is used again costs the host a fault: 2 to 16 us of what looks like our CPU time.
Fourteen passes that read 240 MiB for the first time right after that took 271 to 352 MB/s and
2,370 to 3,340 us of CPU for each MB, though as many small pages had been touched before each; with
huge pages eight of nine took 419 to 477 MB/s and 1,490 to 1,680 us, and one 308 MB/s.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress

BACKED_SIZE = 1 << 30
"""Bytes: four times the largest working set, for it lies in several places while it is read."""


def back_memory(size: int = BACKED_SIZE) -> None:
    """Touch so much memory, and free it again: the kernel gives what was freed last first."""
    free = os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, touchable(size, free), flags=flags) as memory:
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, len(memory), mmap.PAGESIZE):
            memory[page] = 1


def touchable(size: int, free: int) -> int:
    """Return how much of *size* bytes is touched where so many are free: half of these at most."""
    return min(size, max(free // 2, mmap.PAGESIZE))
