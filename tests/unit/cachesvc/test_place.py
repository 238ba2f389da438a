from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachesvc.chunk import CHUNK_ID_SIZE, ChunkId
from cachesvc.store.place import (
    MAX_RUNS,
    PAGE_LIMIT,
    RUN_SIZE,
    SlabRun,
    decode_runs,
    encode_runs,
    runs_of_chunks,
    slab_ranges,
    slab_runs,
)
from cachesvc.store.slab import LARGE, PAGE_SIZE, SMALL, SlabClass

CLASSES = st.sampled_from([SMALL, LARGE])
GAPPED = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 50)), min_size=1, max_size=MAX_RUNS)
"""Runs as (slabs, pages that lie between this run and the next)."""


def runs_of(slabs: SlabClass, gapped: list[tuple[int, int]]) -> tuple[SlabRun, ...]:
    runs: list[SlabRun] = []
    page = 2
    for count, gap in gapped:
        runs.append(SlabRun(page, count))
        page += count * slabs.disk_size // PAGE_SIZE + gap
    return tuple(runs)


def pages_of(slabs: SlabClass, runs: tuple[SlabRun, ...]) -> list[int]:
    """Return where each slab begins."""
    size = slabs.disk_size // PAGE_SIZE
    return [run.page + number * size for run in runs for number in range(run.count)]


@given(CLASSES, GAPPED)
def test_runs_are_found_as_they_lie(slabs: SlabClass, gapped: list[tuple[int, int]]) -> None:
    pages = pages_of(slabs, runs_of(slabs, gapped))
    found = slab_runs(slabs, len(pages), pages.__getitem__)
    assert pages_of(slabs, found) == pages[: sum(run.count for run in found)]
    assert len(found) == MAX_RUNS or len(pages) == sum(run.count for run in found)


@given(CLASSES, st.lists(GAPPED, max_size=4))
def test_chunks_are_told_apart_by_their_keys(
    slabs: SlabClass, chunks: list[list[tuple[int, int]]]
) -> None:
    pages = {
        ChunkId(bytes([number]) * CHUNK_ID_SIZE): pages_of(slabs, runs_of(slabs, gapped))
        for number, gapped in enumerate(chunks)
    }
    places = [
        (chunk + number.to_bytes(2, "big"), page * PAGE_SIZE)
        for chunk, its_pages in pages.items()
        for number, page in enumerate(its_pages)
    ]
    found = dict(runs_of_chunks(slabs, places))
    assert {chunk: pages_of(slabs, runs) for chunk, runs in found.items()} == {
        chunk: its_pages[: sum(run.count for run in found[chunk])]
        for chunk, its_pages in pages.items()
    }


def test_slabs_in_a_row_are_asked_about_twice() -> None:
    asked: list[int] = []

    def page_of(number: int) -> int:
        asked.append(number)
        return 100 + 33 * number

    assert slab_runs(LARGE, 32, page_of) == (SlabRun(100, 32),)
    assert asked == [0, 31]


def test_of_slabs_all_over_the_file_the_first_are_told() -> None:
    pages = list(range(0, 100 * 1000, 1000))
    found = slab_runs(LARGE, len(pages), pages.__getitem__)
    assert found == tuple(SlabRun(page, 1) for page in pages[:MAX_RUNS])


@given(CLASSES, GAPPED)
def test_runs_survive_the_round_trip(slabs: SlabClass, gapped: list[tuple[int, int]]) -> None:
    runs = runs_of(slabs, gapped)
    data = encode_runs(runs)
    assert len(data) == len(runs) * RUN_SIZE
    assert decode_runs(data) == runs


@given(CLASSES, GAPPED, st.data())
def test_ranges_are_the_slabs_that_hold_the_bytes(
    slabs: SlabClass, gapped: list[tuple[int, int]], data: st.DataObject
) -> None:
    runs = runs_of(slabs, gapped)
    pages = pages_of(slabs, runs)
    start = data.draw(st.integers(0, len(pages) * slabs.slab_size - 1))
    stop = data.draw(st.integers(start + 1, len(pages) * slabs.slab_size))
    touched = range(start // slabs.slab_size, (stop - 1) // slabs.slab_size + 1)
    ranges = slab_ranges(encode_runs(runs), slabs, start, stop)
    found = [page for low, high in ranges for page in range(low, high, slabs.disk_size)]
    assert found == [pages[number] * PAGE_SIZE for number in touched]


def test_no_bytes_lie_nowhere() -> None:
    assert list(slab_ranges(encode_runs([SlabRun(7, 3)]), LARGE, 5, 5)) == []


def test_what_lies_too_far_back_is_not_told() -> None:
    far = PAGE_LIMIT - LARGE.disk_size // PAGE_SIZE
    assert slab_runs(LARGE, 1, lambda _: PAGE_LIMIT) == ()
    assert encode_runs(slab_runs(LARGE, 1, lambda _: far))
