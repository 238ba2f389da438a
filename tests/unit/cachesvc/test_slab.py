from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachesvc.chunk import ChunkId, Span
from cachesvc.store.slab import (
    LARGE,
    PAGE_SIZE,
    SMALL,
    SMALL_CHUNK_SIZE,
    class_of,
    slab_keys,
    slab_pieces,
    slabs_of,
    stored_size,
)

CHUNK = ChunkId(b"c" * 24)
LENGTHS = st.one_of(
    st.integers(1, 3 * SMALL.slab_size),
    st.integers(SMALL_CHUNK_SIZE - 2, SMALL_CHUNK_SIZE + 2),
    st.integers(1, 3 * LARGE.slab_size),
)


def test_a_small_slab_takes_exactly_one_page() -> None:
    assert SMALL.disk_size == PAGE_SIZE


@given(LENGTHS)
def test_all_slabs_of_a_chunk_have_the_size_of_its_class(length: int) -> None:
    values = [value for _, value in slabs_of(CHUNK, bytes(length))]
    assert {len(value) for value in values} == {class_of(length).slab_size}


@given(LENGTHS)
def test_slabs_hold_the_bytes_of_the_chunk_and_padding(length: int) -> None:
    data = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    whole = b"".join(bytes(value) for _, value in slabs_of(CHUNK, data))
    assert whole[:length] == data
    assert not any(whole[length:])


@given(LENGTHS)
def test_keys_are_in_order_and_as_many_as_the_stored_size_counts(length: int) -> None:
    keys = list(slab_keys(CHUNK, length))
    assert keys == sorted(set(keys))
    assert stored_size(length) == len(keys) * class_of(length).disk_size


@given(LENGTHS, st.data())
def test_pieces_tile_the_span(length: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length))
    stop = data.draw(st.integers(start, length))
    content = bytes(i % 251 for i in range(length))
    slabs = dict(slabs_of(CHUNK, content))
    pieces = slab_pieces(Span(CHUNK, length, start, stop))
    assert b"".join(bytes(slabs[key][a:b]) for key, a, b in pieces) == content[start:stop]
