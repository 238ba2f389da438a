"""Bringing slabs from the cache's disk: what a hit needs in one go, and more where reads go on.

Slabs are mapped without read-ahead. The kernel would bring as much around each page that is missing
as its device is set to, 8 MiB on a RAID of eight disks: many times what random reads need, and
where memory is short it drives out what others will read.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from cachesvc.chunk import DIGEST_SIZE, Span, following
from cachesvc.store.diskstep import CHUNKS_AHEAD, DiskStep, is_covered, next_step
from cachesvc.store.index import RECORD, run_and_length_in, slab_runs_in
from cachesvc.store.layout import data_file, slabs_path
from cachesvc.store.place import slab_ranges
from cachesvc.store.slab import CLASSES, LARGE, PAGE_SIZE, SMALL, SlabClass, class_of

OBJECTS_FOLLOWED: Final = 256
WATCHFUL_HITS: Final = 256
"""So many hits in a row with all in memory, and one does not look any more whether that is so."""
SLOW_SECONDS: Final = 50e-6
"""Only after one that takes longer it is asked whether a page came from the disk."""
BLOCK: Final = 128 * 1024
"""A disk brings so much in little more time than a page: small slabs come with their neighbours.

No more is asked for at once: Linux drops what exceeds both the device's read-ahead, mostly 128 KiB,
and its largest request (`force_page_cache_ra`), and each page of that is then read by itself. Where
both were set to 128 KiB 240 MiB came at 152 MB/s in one go, and come at 950.
"""

Bytes = bytes | memoryview
Get = Callable[[bytes], memoryview | None]
"""Looks up a key of the index."""


class Paging:
    """The files of a cache's slabs, as one process reads them from the disk."""

    def __init__(self, directory: Path) -> None:
        """Open the files in *directory*."""
        with ExitStack() as undo:
            self._files: Mapping[SlabClass, int] = {
                slabs: _opened(data_file(slabs_path(directory, slabs)), undo) for slabs in CLASSES
            }
            self._opened = undo.pop_all()
        self._byte = [bytearray(1)]
        self._watching = WATCHFUL_HITS
        self._faults = 0
        self._can_tell = True
        self._steps: OrderedDict[bytes, DiskStep] = OrderedDict()

    @property
    def is_watchful(self) -> bool:
        """Say whether `need` is worth being told: where all is in memory it is a waste of 3 us."""
        return self._watching > 0

    def took(self, seconds: float) -> None:
        """Learn how long it took to find the slabs of a hit: did it wait for the disk?"""
        if seconds > SLOW_SECONDS:
            before, self._faults = self._faults, major_faults()
            if self._faults != before:
                self._watching = WATCHFUL_HITS

    def need(self, span: Span, record: Bytes, get: Get) -> bool:
        """Have the disk bring what is not in memory of *span*, whose chunk has this *record*.

        Where an object is read in order, what follows comes too, of the next chunks that *get*
        finds in the index. Returns whether all was in memory, as far as the kernel tells.
        """
        is_all_here = self._has_all(span, record)
        if not is_all_here:
            self._bring(span, record, get)
        if is_all_here or not self._can_tell:
            self._watching -= 1
            return True
        self._watching = WATCHFUL_HITS
        return False

    def close(self) -> None:
        """Close the files."""
        self._opened.close()

    def _has_all(self, span: Span, record: Bytes) -> bool:
        """Say whether a span is in memory, from the last page of every large slab and the first.

        It takes the kernel 0.7 us to say whether a page is here, and 2.2 us to find all 33 of a
        slab, which mostly come and go together. The last one is asked for first, and is on its way
        then: the 32 before it come in one request, where after the first it would take two.
        """
        slabs = class_of(span.chunk_length)
        return all(
            self._is_here(self._files[slabs], page)
            for start, stop in slab_ranges(slab_runs_in(record), slabs, span.start, span.stop)
            for page in (*range(stop - PAGE_SIZE, start, -LARGE.disk_size), start)
        )

    def _is_here(self, file: int, offset: int) -> bool:
        """Say whether a page is in memory. If it is not, it is on its way from then on."""
        try:
            os.preadv(file, self._byte, offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:  # as on tmpfs and some layered file systems
            self._can_tell = False
            return False
        return True

    def _bring(self, span: Span, record: Bytes, get: Get) -> None:
        """Bring a span, and where it begins a step all of that."""
        chunk, length = span.chunk, span.chunk_length
        start, stop = span.start, self._end_of_step(span)
        for _ in range(1 + CHUNKS_AHEAD):
            self._read(class_of(length), slab_runs_in(record), start, min(stop, length))
            if stop <= length:
                return
            chunk = following(chunk)
            found = get(RECORD + chunk)
            if found is None:
                return
            start, stop = 0, stop - length
            record, length = found, run_and_length_in(found)[1]

    def _end_of_step(self, span: Span) -> int:
        """Return up to where to bring, in the chunk of *span* or after it, and remember it."""
        digest = span.chunk[:DIGEST_SIZE]
        before = self._steps.pop(digest, None)
        if before is not None and is_covered(before, span):
            self._steps[digest] = before
            return span.stop
        step = self._steps[digest] = next_step(before, span)
        if len(self._steps) > OBJECTS_FOLLOWED:
            self._steps.popitem(last=False)
        return step.stop

    def _read(self, slabs: SlabClass, runs: Bytes, start: int, stop: int) -> None:
        """Have bytes of a chunk read, and do not wait for them."""
        for low, high in slab_ranges(runs, slabs, start, stop):
            begin, end = _whole_blocks(low, high) if slabs is SMALL else (low, high)
            for piece in range(begin, end, BLOCK):
                size = min(BLOCK, end - piece)
                os.posix_fadvise(self._files[slabs], piece, size, os.POSIX_FADV_WILLNEED)


def major_faults() -> int:
    """Return how many page faults of this process had to wait for a disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _whole_blocks(start: int, stop: int) -> tuple[int, int]:
    return start - start % BLOCK, stop + -stop % BLOCK


def _opened(path: Path, undo: ExitStack) -> int:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    undo.callback(os.close, file)
    # Or else to ask whether a page is here would have many read that are not.
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    return file
