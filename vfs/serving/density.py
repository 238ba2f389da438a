"""When random reads lie so close that what is between them is worth fetching. Pure.

Who read n times here and there will read about n times more. Each read of something missing waits
32 ms, and a chunk of 4 MiB takes 14 ms of a network of 300 MB/s: from half a read a chunk on
it pays to fetch them all. Counted by regions, large files have some that are read often, and
nothing beyond a region is fetched on a whim.

By a model with 24 connections of 80 MB/s, 300 MB/s together, and 128 KiB at random out of 150 MB:

one reader, 150 reads: 1.3 s and 156 MB, without this 2.6 s and 153 MB;
one reader, 50 reads: 1.2 s and 156 MB, without this 1.5 s and 69 MB;
four readers, 150 reads: 0.66 s and 161 MB, without this 0.76 s and 155 MB;
20 reads: the same.

Small files that are read at random out of a pack are random reads of the pack. Its chunks are of 1
MiB: by the same model who waits for one waits 43 ms, and it takes 3 ms of the network.
"""

from __future__ import annotations

REGION_CHUNKS = 64
LONE_READS_A_CHUNK = 0.6
"""A little more than pays: 20 reads out of 150 MB should move nothing in vain."""
FETCHED_AT_A_TIME = 2
"""Chunks asked for at each lone read from then on: another one says that it was right."""
PACKED_CHUNKS = 0.2
"""Of a pack's region so much must be here. By the model a twelfth would pay, but where all is new,
no more than four times what was read should come in vain."""


def region_of(index: int, chunk_count: int) -> range:
    """Return the chunks that are counted together with the chunk number *index*."""
    start = index - index % REGION_CHUNKS
    return range(start, min(start + REGION_CHUNKS, chunk_count))


def is_dense(region: range, lone_reads: int) -> bool:
    """Say whether so many lone reads are reason enough to fetch a region of a file whole."""
    return lone_reads > LONE_READS_A_CHUNK * len(region)


def is_dense_pack(region: range, chunks_here: int) -> bool:
    """Say whether so many chunks that are here are reason enough to fetch a region of a pack."""
    return chunks_here > PACKED_CHUNKS * len(region)


class DenseRegions:
    """How far the dense regions of one file were asked for: each chunk once."""

    def __init__(self) -> None:
        """Have asked for nothing."""
        self._asked: dict[int, int] = {}

    def advance(self, region: range) -> range:
        """Return the chunks of a dense region to ask for now."""
        start = self._asked.get(region.start, region.start)
        stop = min(start + FETCHED_AT_A_TIME, region.stop)
        self._asked[region.start] = stop
        return range(start, stop)
