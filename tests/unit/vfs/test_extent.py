from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachesvc.chunk import ObjectRef
from vfs.serving.extent import PlacedExtent, chunk_spans, file_spans

CHUNK = 10


def extent(number: int, offset: int, length: int) -> PlacedExtent:
    target = ObjectRef("file:///d", str(number), offset + length + number, "1", CHUNK)
    return PlacedExtent(0, target, offset, length)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 64))
def test_chunk_spans_are_in_order_disjoint_and_tile_the_range(
    offset: int, length: int, chunk_size: int
) -> None:
    spans = list(chunk_spans(offset, length, chunk_size))
    touched = [index * chunk_size + at for index, start, stop in spans for at in range(start, stop)]
    assert touched == list(range(offset, offset + length))
    assert all(0 <= start < stop <= chunk_size for _, start, stop in spans)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), max_size=5),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_file_spans_name_exactly_the_bytes_of_the_range_that_exist(
    runs: list[tuple[int, int]], offset: int, length: int
) -> None:
    extents = [extent(number, start, size) for number, (start, size) in enumerate(runs)]
    whole = [(each.object.key, each.offset + at) for each in extents for at in range(each.length)]
    found = [
        (piece.extent.object.key, piece.index * CHUNK + at)
        for piece in file_spans(extents, offset, length)
        for at in range(piece.span.start, piece.span.stop)
    ]
    assert found == whole[offset : offset + length]


def test_the_span_of_a_last_chunk_knows_how_short_the_chunk_is() -> None:
    (piece,) = file_spans([extent(0, 0, 13)], 11, 2)
    assert (piece.index, piece.span.start, piece.span.stop) == (1, 1, 3)
    assert piece.span.chunk_length == 3
