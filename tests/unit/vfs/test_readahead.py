from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vfs.serving.readahead import SLACK, WINDOW_LIMIT, ReadaheadWindow

MIB = 1 << 20
CHUNK = 4 * MIB


def test_the_first_read_asks_for_nothing() -> None:
    assert not ReadaheadWindow(CHUNK, 100).advance(0, MIB)


def test_reading_in_order_doubles_the_window_up_to_its_limit() -> None:
    window = ReadaheadWindow(CHUNK, 10_000)
    asked = [window.advance(offset, CHUNK) for offset in range(0, 40 * CHUNK, CHUNK)]
    reach = [each.stop - index - 1 for index, each in enumerate(asked) if each]
    assert reach[:3] == [1, 2, 4]
    assert max(reach) == WINDOW_LIMIT


def test_a_seek_starts_all_over() -> None:
    window = ReadaheadWindow(CHUNK, 10_000)
    for offset in range(0, 10 * CHUNK, CHUNK):
        window.advance(offset, CHUNK)
    far = 1000 * CHUNK
    assert not window.advance(far, MIB)
    assert window.advance(far + MIB, MIB) == range(1001, 1002)


@given(st.lists(st.tuples(st.integers(0, 60 * MIB), st.integers(1, MIB)), max_size=40))
def test_no_plan_leaves_the_file_or_reaches_back_or_is_wider_than_the_limit(
    reads: list[tuple[int, int]],
) -> None:
    window = ReadaheadWindow(CHUNK, 16)
    for offset, length in reads:
        ahead = window.advance(offset, length)
        assert ahead.stop <= 16 or not ahead
        assert len(ahead) <= WINDOW_LIMIT
        if ahead:
            assert ahead.start * CHUNK >= offset + length - SLACK


@given(st.integers(1, 30))
def test_in_order_no_chunk_is_asked_for_twice(chunk_count: int) -> None:
    window = ReadaheadWindow(CHUNK, chunk_count)
    asked: list[int] = []
    for offset in range(0, chunk_count * CHUNK, MIB):
        asked += window.advance(offset, MIB)
    assert asked == sorted(set(asked))
    assert asked == list(range(1, chunk_count))
