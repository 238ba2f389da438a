from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from vfs.serving.readahead import STEP, WINDOW_LIMIT
from vfs.serving.streams import NEAR, PATIENCE, STREAMS, TRIALS, Streams

MIB = 1 << 20
CHUNK = 4 * MIB
FAR = 100 * CHUNK
"""What lies between two places that have nothing to do with each other."""


def read_in_turn(streams: Streams, starts: list[int], rounds: int) -> list[bool]:
    """Let readers that begin at *starts* read 1 MiB each, by turns; say which reads went on."""
    seen = []
    for number in range(rounds):
        for start in starts:
            streams.advance(start + number * MIB, MIB)
            seen.append(streams.in_order)
    return seen


def test_several_readers_of_one_file_are_in_order_each_by_itself() -> None:
    starts = [place * FAR for place in range(1, TRIALS + 1)]
    seen = read_in_turn(Streams(CHUNK, 10_000), starts, 10)
    assert not any(seen[:TRIALS])
    assert all(seen[TRIALS:])


@given(st.integers(1, TRIALS))
def test_each_reader_has_what_it_reads_next_asked_for_and_nothing_twice(count: int) -> None:
    streams, asked = Streams(CHUNK, 10_000), list[int]()
    for number in range(40):
        for reader in range(count):
            asked += streams.advance((reader + 1) * FAR + number * MIB, MIB)
    assert len(asked) == len(set(asked))
    for reader in range(count):
        own = sorted(index for index in asked if index // 100 == reader + 1)
        assert own == list(range((reader + 1) * 100 + 1, (reader + 1) * 100 + 1 + len(own)))
        assert len(own) > 10


def test_a_reader_in_order_goes_on_though_others_read_elsewhere_now_and_then() -> None:
    streams, chance = Streams(CHUNK, 10_000), random.Random(1)
    read_in_turn(streams, [FAR], 10)
    for number in range(10, 30):
        streams.advance(chance.randrange(200, 9000) * CHUNK, 128 << 10)
        streams.advance(FAR + number * MIB, MIB)
        assert streams.in_order


def test_one_that_did_not_go_on_for_long_is_none_any_more() -> None:
    streams = Streams(CHUNK, 10_000)
    read_in_turn(streams, [FAR], 10)
    for number in range(PATIENCE):
        streams.advance((number + 2) * FAR, 128 << 10)
    streams.advance(FAR + 10 * MIB, MIB)
    assert not streams.in_order


def test_of_the_last_reads_elsewhere_only_so_many_are_remembered() -> None:
    streams = Streams(CHUNK, 10_000)
    for place in range(1, TRIALS + 2):
        streams.advance(place * FAR, MIB)
    streams.advance(FAR + MIB, MIB)
    assert not streams.in_order


def test_a_read_goes_on_farther_from_the_last_one_than_from_those_before() -> None:
    for gap, last, goes_on in [(STEP, True, True), (STEP, False, False), (NEAR, False, True)]:
        streams = Streams(CHUNK, 10_000)
        streams.advance(FAR, MIB)
        if not last:
            streams.advance(3 * FAR, MIB)
        streams.advance(FAR + MIB + gap, MIB)
        assert streams.in_order == goes_on


def test_more_readers_in_order_than_are_told_apart_forget_the_idlest() -> None:
    streams = Streams(CHUNK, 10_000)
    for place in range(1, STREAMS + 2):
        read_in_turn(streams, [place * FAR], 2)
    streams.advance(FAR + 2 * MIB, MIB)
    assert not streams.in_order
    streams.advance((STREAMS + 1) * FAR + 2 * MIB, MIB)
    assert streams.in_order


def test_random_reads_out_of_150_mb_seldom_seem_to_go_on() -> None:
    streams, chance = Streams(CHUNK, 36), random.Random(7)
    seen = 0
    for _ in range(1000):
        streams.advance(chance.randrange(36 * 32) << 17, 128 << 10)
        seen += streams.in_order
    assert seen < 60


@given(st.lists(st.tuples(st.integers(0, 60 * MIB), st.integers(1, MIB)), max_size=60))
def test_no_plan_leaves_the_file_or_is_wider_than_the_limit(reads: list[tuple[int, int]]) -> None:
    streams = Streams(CHUNK, 16)
    for offset, length in reads:
        ahead = streams.advance(offset, length)
        assert ahead.stop <= 16 or not ahead
        assert len(ahead) <= WINDOW_LIMIT
