from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vfs.serving.density import (
    FETCHED_AT_A_TIME,
    LONE_READS_A_CHUNK,
    PACKED_CHUNKS,
    REGION_CHUNKS,
    DenseRegions,
    is_dense,
    is_dense_pack,
    region_of,
)


@given(st.integers(1, 1000), st.data())
def test_regions_tile_the_file_and_are_no_larger_than_allowed(
    chunk_count: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, chunk_count - 1))
    region = region_of(index, chunk_count)
    assert index in region
    assert len(region) <= REGION_CHUNKS
    assert region.start == 0 or region_of(region.start - 1, chunk_count).stop == region.start
    assert region.stop == chunk_count or region_of(region.stop, chunk_count).start == region.stop


def test_a_region_is_dense_from_so_many_lone_reads_a_chunk_on() -> None:
    region = region_of(0, 36)
    enough = int(LONE_READS_A_CHUNK * len(region)) + 1
    assert not is_dense(region, enough - 1)
    assert is_dense(region, enough)


def test_twenty_reads_out_of_150_mb_are_not_dense() -> None:
    assert not is_dense(region_of(0, 36), 20)


def test_a_region_of_a_pack_is_dense_when_a_part_of_it_is_here() -> None:
    region = region_of(0, 200)
    enough = int(PACKED_CHUNKS * len(region)) + 1
    assert not is_dense_pack(region, enough - 1)
    assert is_dense_pack(region, enough)


def test_a_dense_region_is_asked_for_step_by_step_and_each_chunk_once() -> None:
    regions, region = (
        DenseRegions(),
        region_of(REGION_CHUNKS, 2 * REGION_CHUNKS - 3),
    )
    asked: list[int] = []
    while step := regions.advance(region):
        assert len(step) <= FETCHED_AT_A_TIME
        asked += step
    assert asked == list(region)


def test_each_region_of_a_file_is_asked_for_by_itself() -> None:
    regions, chunk_count = DenseRegions(), 2 * REGION_CHUNKS
    first = regions.advance(region_of(0, chunk_count))
    second = regions.advance(region_of(REGION_CHUNKS, chunk_count))
    assert (first.start, second.start) == (0, REGION_CHUNKS)
