"""Where a reader is in the order it announced, from reports that come late, mixed or not at all."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cachesvc.chunk import ChunkId, ObjectRef
from cachesvc.fill.chunknumbers import ChunkNumbers
from cachesvc.fill.readorder import ReadOrder

SIZE = 10
NOW = 1000.0


def chunk(number: int) -> ChunkId:
    return ObjectRef("test://", str(number), 1, None).chunk_id(0)


def order_of(*numbers: int, counted: int = 0) -> ReadOrder:
    order = ReadOrder()
    for number in numbers:
        order.append(chunk(number))
    for _ in range(counted):
        order.count_next(SIZE)
    return order


def test_reads_in_order_move_the_position() -> None:
    order = order_of(*range(10), counted=10)
    for number in range(4):
        order.read(chunk(number), NOW)
    assert (order.position, order.ahead_size) == (4, 6 * SIZE)


def test_reads_out_of_order_move_it_when_the_gap_closes() -> None:
    order = order_of(*range(10), counted=10)
    for number in (1, 2, 3):
        order.read(chunk(number), NOW)
    assert (order.position, order.ahead_size) == (0, 7 * SIZE)
    order.read(chunk(0), NOW)
    assert order.position == 4


def test_a_read_that_is_never_reported_does_not_hold_the_window() -> None:
    """The kernel answers some reads itself."""
    order = order_of(*range(100), counted=100)
    for number in range(1, 60):
        order.read(chunk(number), NOW)
    assert order.position == 60
    assert order.next_use(chunk(0)) is None


def test_a_reader_who_is_slower_than_the_others_is_waited_for() -> None:
    """What it has not read yet is not over while the others have read less than half of all."""
    order = order_of(*range(100), counted=100)
    for number in (n for n in range(66) if n % 4):
        order.read(chunk(number), NOW)
    assert order.position == 0
    assert [order.next_use(chunk(number)) for number in range(0, 66, 4)] == [*range(0, 66, 4)]


def test_whose_report_would_be_here_is_waited_for_no_longer() -> None:
    """A quarter of all was read after it; or else what the kernel answers would hold all up."""
    order = order_of(*range(100), counted=100)
    for number in range(1, 30):
        order.read(chunk(number), NOW)
    assert order.position == 0
    order.read(chunk(30), NOW + 0.5)
    assert order.position == 31


def test_half_of_the_reads_need_not_be_reported() -> None:
    """The kernel's pages may hold half of the dataset; the window goes on with the reader."""
    order, now = order_of(*range(4000), counted=400), NOW
    for number in range(0, 4000, 2):
        order.read(chunk(number), now)
        now += 0.01
        while order.cursor < len(order) and order.ahead_size < 400 * SIZE:
            order.count_next(SIZE)
        assert order.cursor > min(number + 100, 3999)


def test_a_chunk_of_many_uses_is_counted_and_fetched_once() -> None:
    order = order_of(1, 2, 1, 1, 2)
    assert [order.count_next(SIZE) for _ in range(5)] == [True, True, False, False, False]
    assert order.ahead_size == 2 * SIZE


def test_a_chunk_stays_counted_until_its_last_use_in_the_window() -> None:
    order = order_of(1, 1, 2, counted=3)
    order.read(chunk(1), NOW)
    assert (order.next_use(chunk(1)), order.ahead_size) == (1, 2 * SIZE)
    order.read(chunk(1), NOW)
    assert (order.next_use(chunk(1)), order.ahead_size) == (None, SIZE)


def test_a_chunk_whose_next_use_is_behind_the_window_is_fetched_again_there() -> None:
    order = order_of(1, 2, 1, counted=2)
    order.read(chunk(1), NOW)
    assert order.next_use(chunk(1)) == 2
    assert order.count_next(SIZE)


def test_what_the_reader_read_before_it_was_counted_is_not_fetched() -> None:
    order = order_of(1, 2, 3)
    order.read(chunk(1), NOW)
    assert not order.count_next(SIZE)
    assert (order.position, order.ahead_size) == (1, 0)


def test_reads_of_others_far_ahead_do_not_count() -> None:
    """Another job reads the same dataset in another order."""
    order = order_of(*range(1000), counted=10)
    order.read(chunk(900), NOW)
    assert order.next_use(chunk(900)) == 900


def test_one_read_beyond_what_is_counted_is_somebody_elses() -> None:
    """However much is counted: in the next epoch the same chunks are used again."""
    order = order_of(*range(1000), counted=300)
    order.read(chunk(363), NOW)
    order.read(chunk(400), NOW)
    assert (order.next_use(chunk(363)), order.next_use(chunk(400))) == (None, 400)


def test_a_reader_that_overtook_the_window_is_followed() -> None:
    """It is allowed little bandwidth, or was stopped for a while."""
    order = order_of(*range(2000), counted=10)
    for number in range(1000, 1064):
        order.read(chunk(number), NOW)
    assert [order.count_next(SIZE) for _ in range(10, 1070)] == [False] * 1054 + [True] * 6
    assert (order.position, order.ahead_size) == (1064, 6 * SIZE)


def test_reads_of_others_all_over_the_order_do_not_count() -> None:
    order = order_of(*range(10_000), counted=10)
    for number in random.Random(2).sample(range(1000, 10_000), 2000):
        order.read(chunk(number), NOW)
    assert (order.position, order.ahead_size) == (0, 10 * SIZE)


def test_a_read_of_one_epoch_that_is_told_again_is_none_of_the_next() -> None:
    """It is told by each worker that found a part of its bytes."""
    chance = random.Random(3)
    epochs = [chance.sample(range(600), 600) for _ in range(3)]
    order = order_of(*(number for epoch in epochs for number in epoch), counted=300)
    now = NOW
    for count, number in enumerate(epochs[0], start=1):
        for delay in (0.0, 0.03, 0.2):
            order.read(chunk(number), now + delay)
        if order.cursor < len(order):
            order.count_next(SIZE)
        now += 0.001
        assert order.position == count
    early = [n for n in range(600) if order.next_use(chunk(n)) not in range(600, 1200)]
    assert len(early) <= 12  # of the first 64, by chance


def test_a_read_that_was_taken_as_over_and_comes_late_is_none_of_the_next_epoch() -> None:
    order = order_of(*range(300), *range(300), counted=280)
    for number in range(1, 160):
        order.read(chunk(number), NOW)
    assert order.position == 160
    order.read(chunk(0), NOW + 0.25)
    assert order.next_use(chunk(0)) == 300


def test_a_chunk_that_is_used_again_at_once_is_read_again() -> None:
    """Several files lie in it."""
    order = order_of(1, 2, 3, 1, 2, 3, counted=6)
    for number in (1, 2, 3, 1, 2, 3):
        order.read(chunk(number), NOW)
    assert order.position == 6


def test_a_chunk_that_is_told_of_much_later_is_read_again() -> None:
    order = order_of(1, *range(10, 200), 1, counted=192)
    order.read(chunk(1), NOW)
    order.read(chunk(1), NOW + 0.25)
    assert order.next_use(chunk(1)) == 191
    order.read(chunk(1), NOW + 0.35)
    assert order.next_use(chunk(1)) is None


def test_one_read_that_is_told_again_and_again_leads_nowhere() -> None:
    order = order_of(*range(1000), *range(1000), counted=300)
    for turn in range(200):
        order.read(chunk(4), NOW + turn / 20)
        order.read(chunk(900), NOW + turn / 20)
    assert order.next_use(chunk(500)) == 500
    assert order.position == 0


def test_what_is_told_again_where_the_next_epoch_begins_is_no_read_of_it() -> None:
    """The first of it would be evicted before they are read."""
    order = order_of(*range(300), *range(200, 300), *range(200), counted=400)
    for number in range(400):
        if number < 300:
            order.read(chunk(number), NOW + number / 1000)
        if number >= 100:
            order.read(chunk(number - 100), NOW + number / 1000)
    assert order.position == 300
    assert {order.next_use(chunk(number)) for number in range(200, 300)} == set(range(300, 400))


def test_a_read_that_nobody_announced_is_nothing() -> None:
    order = order_of(1, counted=1)
    order.read(chunk(5), NOW)
    assert (order.position, order.ahead_size) == (0, SIZE)


@given(st.lists(st.integers(0, 8), max_size=60), st.lists(st.one_of(st.none(), st.integers(0, 9))))
def test_what_is_ahead_is_what_is_counted_and_still_to_come(
    numbers: list[int], steps: list[int | None]
) -> None:
    """Whatever is read and counted in whatever order; None counts the next use."""
    order = order_of(*numbers)
    for step in steps:
        if step is not None:
            order.read(chunk(step), NOW)
        elif order.cursor < len(order):
            order.count_next(SIZE)
        assert order.position <= order.cursor
        next_uses = {n: order.next_use(chunk(n)) for n in set(numbers)}
        assert all(use is None or numbers[use] == n for n, use in next_uses.items())
        assert all(use is None or use >= order.position for use in next_uses.values())
        ahead = [use for use in next_uses.values() if use is not None and use < order.cursor]
        assert order.ahead_size == SIZE * len(ahead)


def test_chunks_are_numbered_in_the_order_of_their_coming() -> None:
    numbers = ChunkNumbers()
    big = ObjectRef("test://", "big", 1 << 40, None)
    chunks = [big.chunk_id(index) for index in range(3000)] + [chunk(n) for n in range(3000)]
    random.Random(1).shuffle(chunks)
    assert [numbers.add(each) for each in chunks] == list(range(6000))
    assert [numbers.add(each) for each in chunks] == list(range(6000))
    assert [numbers.find(each) for each in chunks] == list(range(6000))
    assert numbers.find(chunk(4000)) is None
    assert len(numbers) == 6000
