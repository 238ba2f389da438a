from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vfs.serving.readahead import GROWTH, SLACK, WINDOW_LIMIT, ReadaheadWindow

MIB = 1 << 20
CHUNK = 4 * MIB


def test_the_first_read_asks_for_one_chunk_at_the_start_and_for_nothing_elsewhere() -> None:
    assert ReadaheadWindow(CHUNK, 100).advance(0, MIB) == range(1, 2)
    assert not ReadaheadWindow(CHUNK, 100).advance(MIB, MIB)


def test_reading_is_in_order_from_the_start_and_from_the_second_read_elsewhere() -> None:
    window = ReadaheadWindow(CHUNK, 100)
    reads = [(0, MIB), (MIB, MIB), (50 * CHUNK, MIB), (50 * CHUNK + MIB, MIB), (20 * CHUNK, MIB)]
    seen = []
    for offset, length in reads:
        window.advance(offset, length)
        seen.append(window.in_order)
    assert seen == [True, True, False, True, False]


@given(st.lists(st.integers(1, 1000), max_size=50))
def test_random_reads_ask_for_nothing(places: list[int]) -> None:
    """However near they are: only a read right behind the one before goes on."""
    window = ReadaheadWindow(CHUNK, 10_000)
    apart = 2 * MIB
    last = 0
    for place in places:
        if place == last:
            continue
        last = place
        assert not window.advance(place * apart, 128 << 10)


def test_reading_in_order_widens_the_window_up_to_its_limit() -> None:
    window = ReadaheadWindow(CHUNK, 10_000)
    asked = [window.advance(offset, CHUNK) for offset in range(0, 40 * CHUNK, CHUNK)]
    reach = [each.stop - index - 1 for index, each in enumerate(asked) if each]
    assert reach[:3] == [1, GROWTH, GROWTH**2]
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
