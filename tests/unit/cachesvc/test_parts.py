"""A range that is fetched as several at once is the same bytes, or one error."""

from __future__ import annotations

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.errors import StoreError
from cachesvc.fill.parts import fetch_in_parts, parts_of

CONTENT = bytes(range(256))


@given(st.integers(0, 100), st.integers(1, 100), st.integers(1, 10))
def test_parts_follow_one_another_from_the_first_byte_to_the_last(
    start: int, size: int, count: int
) -> None:
    parts = parts_of(start, start + size, count)
    assert len(parts) <= count
    assert [b for first, stop in parts for b in range(first, stop)] == [*range(start, start + size)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 256])
def test_all_parts_are_under_way_at_once_and_are_joined_in_their_order(count: int) -> None:
    calls: list[tuple[int, int]] = []

    async def get(start: int, stop: int) -> bytes:
        calls.append((start, stop))
        await anyio.sleep(len(CONTENT) - start)  # the last one comes first
        return CONTENT[start:stop]

    async def play() -> None:
        began = trio.current_time()
        assert await fetch_in_parts(get, 0, len(CONTENT), count) == CONTENT
        assert trio.current_time() - began == len(CONTENT)

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(calls) == count


def test_the_first_failure_ends_the_other_parts_and_is_raised_as_it_is() -> None:
    ended: list[int] = []

    async def get(start: int, _stop: int) -> bytes:
        if start == 64:
            raise StoreError("gone")
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(start)
        return b""

    async def play() -> None:
        with pytest.raises(StoreError, match=r"^gone$"):
            await fetch_in_parts(get, 0, len(CONTENT), 4)

    trio.run(play)
    assert sorted(ended) == [0, 128, 192]
