"""Pages and indexes: what goes in comes out, and hostile lengths cost nothing."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.errors import ManifestDamagedError
from vfs.manifest.page import (
    GROUP_SIZE,
    PAGE_SIZE_LIMIT,
    Group,
    PageEntry,
    decode_index_page,
    decode_top_index,
    digest_of,
    encode_index_page,
    encode_top_index,
    group_count,
    pack_page,
    top_index_size,
    unpack_page,
)

DIGEST = bytes(16)
PAGES = st.lists(
    st.builds(
        PageEntry,
        st.integers(0, 1000),
        st.binary(min_size=16, max_size=16),
        st.binary(max_size=255),
    ),
    max_size=20,
)


@given(st.binary(max_size=1000))
def test_a_page_survives_packing(raw: bytes) -> None:
    packed = pack_page(raw)
    assert unpack_page(packed, digest_of(packed), len(raw)) == raw


@given(PAGES)
def test_an_index_page_survives_the_round_trip(pages: list[PageEntry]) -> None:
    data = encode_index_page(pages)
    group = Group(100, len(data), digest_of(data))
    index = decode_index_page(data, group, len(pages), 1 << 30)
    assert list(index.entries) == pages
    assert index.offsets[0] == 100 + len(data)
    assert index.offsets[-1] - index.offsets[0] == sum(page.length for page in pages)


@given(
    st.lists(
        st.builds(Group, st.integers(0, 1000), st.integers(0, 1000), st.just(DIGEST)), max_size=9
    )
)
def test_a_top_index_survives_the_round_trip(groups: list[Group]) -> None:
    data = encode_top_index(groups)
    assert list(decode_top_index(data, digest_of(data), 1 << 20)) == groups


@given(st.integers(0, 1 << 40), st.integers(1, 1 << 14))
def test_the_size_of_a_top_index_is_known_before_it_is_written(count: int, per_page: int) -> None:
    groups = group_count(count, per_page)
    assert (
        (groups - 1) * per_page * GROUP_SIZE
        < max(count, 1)
        <= max(groups, 1) * per_page * GROUP_SIZE
    )
    assert top_index_size(count, per_page) == groups * len(encode_top_index([Group(0, 0, DIGEST)]))


def test_a_page_that_unpacks_to_more_than_the_limit_is_refused() -> None:
    bomb = zlib.compress(bytes(PAGE_SIZE_LIMIT + 1))
    with pytest.raises(ManifestDamagedError, match="wrong size"):
        unpack_page(bomb, digest_of(bomb), 0)


def test_a_page_that_is_too_short_for_its_records_is_refused() -> None:
    packed = pack_page(bytes(63))
    with pytest.raises(ManifestDamagedError, match="wrong size"):
        unpack_page(packed, digest_of(packed), 64)


def test_bytes_after_a_page_are_refused() -> None:
    packed = pack_page(b"page") + b"more"
    with pytest.raises(ManifestDamagedError, match="wrong size"):
        unpack_page(packed, digest_of(packed), 0)


def test_what_is_not_packed_at_all_is_refused() -> None:
    with pytest.raises(ManifestDamagedError, match="unpacked"):
        unpack_page(b"plain", digest_of(b"plain"), 0)


def test_an_altered_page_is_refused() -> None:
    with pytest.raises(ManifestDamagedError, match="truncated or altered"):
        unpack_page(pack_page(b"a"), digest_of(pack_page(b"b")), 0)


@pytest.mark.parametrize("length", [PAGE_SIZE_LIMIT + 1, 5000])
def test_an_index_page_that_points_outside_the_file_is_refused(length: int) -> None:
    data = encode_index_page([PageEntry(length, DIGEST, b"")])
    with pytest.raises(ManifestDamagedError, match="outside"):
        decode_index_page(data, Group(0, len(data), digest_of(data)), 1, 4096)


def test_a_page_that_asks_for_more_memory_than_the_limit_is_refused() -> None:
    data = encode_index_page([PageEntry(PAGE_SIZE_LIMIT + 1, DIGEST, b"")])
    with pytest.raises(ManifestDamagedError, match="outside"):
        decode_index_page(data, Group(0, len(data), digest_of(data)), 1, 1 << 40)


@pytest.mark.parametrize("count", [1, 3])
def test_an_index_page_of_another_page_count_is_refused(count: int) -> None:
    data = encode_index_page([PageEntry(1, DIGEST, b"a"), PageEntry(1, DIGEST, b"b")])
    with pytest.raises(ManifestDamagedError):
        decode_index_page(data, Group(0, len(data), digest_of(data)), count, 4096)


@pytest.mark.parametrize("group", [Group(4000, 100, DIGEST), Group(0, 1 << 30, DIGEST)])
def test_a_top_index_that_points_outside_the_file_is_refused(group: Group) -> None:
    data = encode_top_index([group])
    with pytest.raises(ManifestDamagedError, match="outside"):
        decode_top_index(data, digest_of(data), 4096)
