"""Where in the file of its environment a chunk's slabs lie. Pure.

A hint for whoever brings them from the disk, and no more: what a slab holds only LMDB says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from cachesvc.chunk import CHUNK_ID_SIZE, ChunkId
from cachesvc.store.slab import PAGE_SIZE, SlabClass

MAX_RUNS = 32
"""Runs that are told of one chunk: so many slabs has one of the usual size."""
RUN_SIZE = 6
_RUN = struct.Struct(">IH")
PAGE_LIMIT = 1 << 32
"""What lies further back, beyond 16 TiB, is not told."""


@dataclass(frozen=True, slots=True)
class SlabRun:
    """So many slabs of a chunk, in order and without a gap, from one page of the file on."""

    page: int
    count: int


def slab_runs(slabs: SlabClass, count: int, page_of: Callable[[int], int]) -> tuple[SlabRun, ...]:
    """Return the runs in which the *count* slabs of a chunk lie; *page_of* says where one begins.

    Asks for the first and the last, and between them only where those do not fit together.
    """
    pages = slabs.disk_size // PAGE_SIZE
    runs: list[SlabRun] = []
    ends = [(0, page_of(0), count - 1, page_of(count - 1))]
    while ends and len(runs) < MAX_RUNS:
        first, first_page, last, last_page = ends.pop()
        if last_page - first_page == (last - first) * pages:
            runs.append(SlabRun(first_page, last - first + 1))
            continue
        middle = (first + last) // 2
        ends.append((middle + 1, page_of(middle + 1), last, last_page))
        ends.append((first, first_page, middle, page_of(middle)))
    return tuple(runs) if all(run.page < PAGE_LIMIT for run in runs) else ()


def runs_of_chunks(
    slabs: SlabClass, places: Iterable[tuple[bytes, int]]
) -> Iterator[tuple[ChunkId, tuple[SlabRun, ...]]]:
    """Yield the runs of each chunk. *places* are key and offset of all slabs, in order of keys."""
    for chunk, its_places in groupby(places, key=lambda place: place[0][:CHUNK_ID_SIZE]):
        pages = [offset // PAGE_SIZE for _, offset in its_places]
        yield ChunkId(chunk), slab_runs(slabs, len(pages), pages.__getitem__)


def encode_runs(runs: Sequence[SlabRun]) -> bytes:
    """Return `RUN_SIZE` bytes for each run."""
    return b"".join(_RUN.pack(run.page, run.count) for run in runs)


def decode_runs(data: bytes | memoryview) -> tuple[SlabRun, ...]:
    """Return the runs that *data* encodes."""
    return tuple(SlabRun(page, count) for page, count in _RUN.iter_unpack(data))


def slab_ranges(
    data: bytes | memoryview, slabs: SlabClass, start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Yield the half-open ranges of the file where the slabs lie that hold `[start, stop)`.

    *data* are the chunk's runs, encoded. What they do not tell is left out.
    """
    first = start // slabs.slab_size
    end = slabs.slab_count(stop) if start < stop else first
    number = 0
    for page, count in _RUN.iter_unpack(data):
        low, high = max(first, number), min(end, number + count)
        if low < high:
            offset = page * PAGE_SIZE - number * slabs.disk_size
            yield offset + low * slabs.disk_size, offset + high * slabs.disk_size
        number += count
