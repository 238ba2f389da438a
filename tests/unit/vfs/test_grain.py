from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.chunk import ChunkId, ObjectRef
from vfs.serving.extent import ExtentSpan, PlacedExtent, file_spans
from vfs.serving.grain import FINE_SIZE, bytes_here, is_known, mixed, with_fine_grain

CHUNK = 4 * FINE_SIZE


def extent(size: int, chunk_size: int = CHUNK) -> PlacedExtent:
    target = ObjectRef("file:///d", "large", size, "1", chunk_size)
    return with_fine_grain(PlacedExtent(0, target, 0, size))


def fine(of: PlacedExtent) -> ObjectRef:
    assert of.fine is not None
    return of.fine.object


def byte_range(piece: ExtentSpan) -> tuple[int, int]:
    start = piece.extent.object.chunk_range(piece.index)[0]
    return start + piece.span.start, start + piece.span.stop


def test_an_object_of_one_chunk_has_one_grain() -> None:
    assert extent(CHUNK).fine is None
    assert extent(CHUNK + 1).fine is not None


def test_chunks_that_fine_ones_do_not_divide_have_one_grain() -> None:
    assert extent(10 * CHUNK, CHUNK + 512).fine is None


def test_the_grains_are_two_objects_of_the_cache_and_one_of_the_store() -> None:
    whole = extent(10 * CHUNK)
    assert fine(whole).digest != whole.object.digest
    assert replace(fine(whole), chunk_size=CHUNK) == whole.object


@given(
    st.integers(CHUNK + 1, 5 * CHUNK),
    st.integers(0, 5 * CHUNK),
    st.integers(0, 2 * CHUNK),
    st.sets(st.integers(0, 4)),
)
def test_mixed_pieces_are_the_same_bytes_whole_where_a_whole_chunk_is_here(
    size: int, offset: int, length: int, here: set[int]
) -> None:
    whole = extent(size)
    readable = {whole.object.chunk_id(index) for index in here}
    pieces = list(file_spans([whole], offset, length))
    found = list(mixed(pieces, readable.__contains__))
    at = offset
    for piece in found:
        start, stop = byte_range(piece)
        low, high = piece.extent.object.chunk_range(piece.index)
        assert start == at < stop
        assert piece.span.chunk == piece.extent.object.chunk_id(piece.index)
        assert piece.span.chunk_length == high - low
        assert (piece.span.chunk in readable) == (start // CHUNK in here)
        at = stop
    assert at == max(offset, min(offset + length, size))


def test_without_a_fine_grain_pieces_stay_as_they_are() -> None:
    pieces = list(file_spans([extent(CHUNK)], 0, CHUNK))
    assert list(mixed(pieces, set[ChunkId]().__contains__)) == pieces
    assert not is_known(pieces[0], lambda _: True)


@pytest.mark.parametrize(("index", "known"), [(3, False), (4, True), (7, True), (8, False)])
def test_a_chunk_is_known_when_any_of_its_fine_ones_is_here(index: int, *, known: bool) -> None:
    whole = extent(3 * CHUNK)
    (piece,) = file_spans([whole], CHUNK + 5, 1)
    assert is_known(piece, {fine(whole).chunk_id(index)}.__contains__) == known


@given(st.integers(CHUNK + 1, 5 * CHUNK), st.sets(st.integers(0, 4)), st.sets(st.integers(0, 19)))
def test_bytes_that_are_here_in_both_grains_count_once(
    size: int, whole: set[int], small: set[int]
) -> None:
    of = extent(size)

    def lengths(ref: ObjectRef, indices: set[int]) -> dict[int, int]:
        ranges = {i: ref.chunk_range(i) for i in indices if i < ref.chunk_count}
        return {i: stop - start for i, (start, stop) in ranges.items()}

    def blocks(ref: ObjectRef, lengths: dict[int, int]) -> set[int]:
        return {
            block
            for index in lengths
            for block in range(*(-(-bound // FINE_SIZE) for bound in ref.chunk_range(index)))
        }

    coarse, little = lengths(of.object, whole), lengths(fine(of), small)
    covered = blocks(of.object, coarse) | blocks(fine(of), little)
    expected = sum(lengths(fine(of), covered).values())
    assert bytes_here(of, coarse, little) == expected
