"""What a hit has the disk bring, asked of the kernel by real readers of a real store."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cachesvc.chunk import ChunkId, ObjectRef, Span
from cachesvc.config import CacheConfig
from cachesvc.store import paging
from cachesvc.store.chunkreader import ChunkReader
from cachesvc.store.chunkstore import ChunkStore, NewChunk
from cachesvc.store.layout import data_file, slabs_path
from cachesvc.store.paging import BLOCK
from cachesvc.store.slab import CLASSES, LARGE, PAGE_SIZE
from cachesvc.units import MIB
from tests.fakes.chunks import SIX_CHUNKS, bytes_of, new_chunk, span_at, span_of
from tests.fakes.reader_process import reader_process

CHUNK_SIZE = SIX_CHUNKS.chunk_size
SLAB = LARGE.slab_size
WAIT_SECONDS = 10.0


def stored(directory: Path, chunks: Sequence[NewChunk]) -> None:
    """Store chunks, and let none of their slabs be in memory."""
    store = ChunkStore(CacheConfig(directory, size=64 * MIB, free_floor=0))
    store.put(chunks)
    store.close()
    for slabs in CLASSES:
        drop_pages(data_file(slabs_path(directory, slabs)))


def drop_pages(path: Path) -> None:
    """Let nothing of a file be in memory: the kernel keeps pages that somebody just looks at."""
    deadline = time.monotonic() + WAIT_SECONDS
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while bytes_in_memory(path):
            if time.monotonic() > deadline:
                pytest.skip("what lies in memory has no disk to come from")
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_in_memory(path: Path) -> int:
    """Return how much of a file is in memory. To try reading it would bring it there."""
    words = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(path)]
    return int(subprocess.run(words, check=True, capture_output=True, timeout=WAIT_SECONDS).stdout)


def advised(reader: ChunkReader, spans: Sequence[Span]) -> tuple[list[list[int]], int]:
    """Read one span after the other; return what sizes were asked for ahead of each, and faults.

    The latter are those of this process that had to wait for the disk.
    """
    asked: list[list[int]] = []
    advise = os.posix_fadvise

    def noting(file: int, offset: int, length: int, advice: int) -> None:
        advise(file, offset, length, advice)
        asked[-1].append(length)

    paging.os.posix_fadvise = noting  # type: ignore[attr-defined]
    before = paging.major_faults()
    for span in spans:
        asked.append([])
        with reader.hits([span]) as views:
            assert views is not None
    return asked, paging.major_faults() - before


def places_asked(reader: ChunkReader, span: Span) -> tuple[list[int], list[tuple[int, int]]]:
    """Read a span; return the offset of each page looked at, and what (offset, size) was asked."""
    looked_at: list[int] = []
    advised_at: list[tuple[int, int]] = []
    look, advise = os.preadv, os.posix_fadvise

    def noting_look(file: int, buffers: Sequence[bytearray], offset: int, flags: int) -> int:
        looked_at.append(offset)
        return look(file, buffers, offset, flags)

    def noting_advice(file: int, offset: int, size: int, advice: int) -> None:
        advised_at.append((offset, size))
        advise(file, offset, size, advice)

    paging.os.preadv = noting_look  # type: ignore[attr-defined]
    paging.os.posix_fadvise = noting_advice  # type: ignore[attr-defined]
    with reader.hits([span]) as views:
        assert views is not None
    return looked_at, advised_at


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A cache with all chunks of `SIX_CHUNKS`, none of them in memory."""
    stored(tmp_path, [NewChunk(SIX_CHUNKS.chunk_id(n), os.urandom(CHUNK_SIZE)) for n in range(6)])
    return tmp_path


def played(directory: Path, spans: Sequence[Span]) -> tuple[list[int], int]:
    """Read spans of a cache in a process that has read nothing before.

    Returns how much was asked for ahead of each, and faults.
    """
    with reader_process() as process:
        process.open(directory)
        asked, faults = process.call(advised, spans)
        return [sum(sizes) for sizes in asked], faults


def test_random_reads_bring_no_more_than_their_slabs(large: Path) -> None:
    offsets = [5 * SLAB, 70 * SLAB, 40 * SLAB, 130 * SLAB, 100 * SLAB]
    asked, faults = played(large, [span_at(offset, SLAB) for offset in offsets])
    assert asked == [LARGE.disk_size] * len(offsets)
    assert faults < LARGE.disk_size // PAGE_SIZE  # LMDB's own pages, and not each of every slab


def test_a_lone_read_takes_two_requests_to_the_disk(large: Path) -> None:
    """The page that is looked at comes by itself: it is the last, and the rest is one stretch."""
    with reader_process() as process:
        process.open(large)
        looked_at, advised_at = process.call(places_asked, span_at(70 * SLAB, SLAB))
    (begin, size), (last, rest) = advised_at
    assert (size, rest) == (BLOCK, PAGE_SIZE)
    assert looked_at == [last] == [begin + size]


def test_reading_in_order_brings_ever_more_of_what_follows(large: Path) -> None:
    asked, faults = played(large, [span_at(n * MIB, MIB) for n in range(24)])
    # What is on its way when it is read is asked for once more, and by itself.
    steps = [size // LARGE.disk_size for size in asked if size > MIB // SLAB * LARGE.disk_size]
    assert steps == [16, 32, 64, 64, 16]
    assert faults < SIX_CHUNKS.size // SLAB


def test_no_more_is_asked_for_at_once_than_any_kernel_brings(large: Path) -> None:
    with reader_process() as process:
        process.open(large)
        asked, _ = process.call(advised, [span_at(n * MIB, MIB) for n in range(24)])
    assert max(size for sizes in asked for size in sizes) == 128 * 1024


def test_what_is_in_memory_is_not_asked_for(large: Path) -> None:
    spans = [span_at(70 * SLAB, 4 * SLAB)] * 3
    assert played(large, spans)[0] == [4 * LARGE.disk_size, 0, 0]


def impatient(reader: ChunkReader, spans: Sequence[Span]) -> list[bytes | None]:
    """Return what a reader gets that does not wait for the disk, one that does, and the first."""
    found: list[bytes | None] = []
    for waits in (False, True, False):
        with reader.hits(spans, waits=waits) as views:
            found.append(None if views is None else b"".join(views))
    return found


def test_who_does_not_wait_gets_nothing_until_it_is_in_memory(tmp_path: Path) -> None:
    stored(tmp_path, [new_chunk("a", 300_000), new_chunk("b", 300_000)])
    with reader_process() as process:
        process.open(tmp_path)
        found = process.call(impatient, [span_of("a", 300_000), span_of("b", 300_000)])
    both = bytes_of("a", 300_000) + bytes_of("b", 300_000)
    assert found == [None, both, both]


def watchfulness(reader: ChunkReader, warm: Span, cold: Span) -> list[bool]:
    """Return whether it looks if all is in memory: after each of many hits, then after a fault."""
    held, seen = reader._maps.paging, []
    for span in (warm, *[warm] * paging.WATCHFUL_HITS, cold):
        with reader.hits([span]):
            pass
        seen.append(held.is_watchful)
    return seen


def test_who_finds_all_in_memory_looks_no_more_until_something_is_not(large: Path) -> None:
    with reader_process() as process:
        process.open(large)
        seen = process.call(watchfulness, span_at(70 * SLAB, SLAB), span_at(5 * SLAB, SLAB))
    assert seen == [True] * paging.WATCHFUL_HITS + [False, True]


def watchful_after_slow_hits(reader: ChunkReader, span: Span) -> bool:
    """Return whether it looks after hits that took long, though all was in memory."""
    paging.SLOW_SECONDS = 0.0  # type: ignore[misc]
    for _ in range(2 + paging.WATCHFUL_HITS):
        with reader.hits([span]):
            pass
    return reader._maps.paging.is_watchful


def test_what_takes_long_and_waits_for_no_disk_is_not_looked_at(large: Path) -> None:
    with reader_process() as process:
        process.open(large)
        assert not process.call(watchful_after_slow_hits, span_at(70 * SLAB, SLAB))


def test_reading_ahead_ends_with_what_is_stored(tmp_path: Path) -> None:
    stored(tmp_path, [NewChunk(SIX_CHUNKS.chunk_id(0), os.urandom(CHUNK_SIZE))])
    asked, _ = played(tmp_path, [span_at(0, 3 * MIB)])
    assert asked == [CHUNK_SIZE // SLAB * LARGE.disk_size]


def test_reading_in_order_goes_on_where_chunks_are_small(tmp_path: Path) -> None:
    ref = ObjectRef("test://", "fine", 4 * MIB, None, SLAB)
    stored(tmp_path, [NewChunk(ref.chunk_id(n), os.urandom(SLAB)) for n in range(32)])
    asked, _ = played(tmp_path, [Span(ref.chunk_id(n), SLAB, 0, SLAB) for n in range(32)])
    steps = [round(size / LARGE.disk_size) for size in asked if size > LARGE.disk_size]
    assert steps == [2, *[4] * 7, 2]
    assert sum(asked) <= 2 * 32 * LARGE.disk_size


def test_small_slabs_come_with_what_lies_around_them(tmp_path: Path) -> None:
    stored(tmp_path, [new_chunk(str(number), 8000) for number in range(200)])
    asked, faults = played(tmp_path, [span_of(str(number), 8000) for number in range(200)])
    # 13 blocks hold them all; of one that comes in parts the next file may be asked for once more.
    assert sum(size > 0 for size in asked) < 100
    assert all(size % BLOCK == 0 for size in asked)
    assert faults < 100


def test_the_end_of_a_small_chunk_is_looked_at_as_well(tmp_path: Path) -> None:
    stored(tmp_path, [new_chunk(str(number), 60_000) for number in range(40)])
    _, faults = played(tmp_path, [span_of(str(number), 60_000) for number in range(40)])
    # By single pages the tails that lie in the next block would cost 200 and more.
    assert faults < 100


def test_where_the_kernel_does_not_tell_all_is_asked_for_and_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_tell(*_: object) -> int:
        raise OSError(95, "not supported")

    stored(tmp_path, [new_chunk("a", 300_000)])
    monkeypatch.setattr(os, "preadv", cannot_tell)
    span = span_of("a", 300_000)
    with reader_process() as process:  # forked, and so with that preadv
        process.open(tmp_path)
        for _ in range(2):
            assert process.read([span]) == bytes_of("a", 300_000)
        asked, _ = process.call(advised, [span] * paging.WATCHFUL_HITS)
    assert asked[0]
    assert not asked[-1]  # nothing was missing in so many


def test_objects_beyond_those_followed_are_forgotten(tmp_path: Path) -> None:
    stored(tmp_path, [new_chunk("a", 5000)])
    held = paging.Paging(tmp_path)
    for number in range(2 * paging.OBJECTS_FOLLOWED):
        held._end_of_step(Span(ChunkId(number.to_bytes(20, "big") + bytes(4)), 9, 0, 9))
    assert len(held._steps) == paging.OBJECTS_FOLLOWED
    held.close()
