"""Scans: what is fetched ahead of those who read file after file, and what chance may cost."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from vfs.serving.neighbours import (
    ALLOWANCE,
    ALLOWANCE_SHARE,
    FIRST_WIDTH,
    WIDTH_LIMIT,
    WINDOW_SIZE,
    Allowance,
    Scans,
)
from vfs.serving.tracks import Tracks

SIZE = 110_000


def read_all(scans: Scans, positions: Iterable[int], size: int = SIZE) -> list[range]:
    """Read files at *positions*, none of which is here; return what was asked for after each."""
    tracks, asked = Tracks(), []
    for position in positions:
        place = 0, position
        tracks.add(place, waited=True)
        scan = scans.find(place, missed=True) or scans.begin(place, size)
        scan.note(position, size)
        is_due = scan.is_due and tracks.leads_to(place)
        asked.append(scan.extend() if is_due else range(0))
    return asked


def test_two_reads_in_order_after_the_first_make_a_scan() -> None:
    assert read_all(Scans(), [10, 11, 12]) == [range(0), range(0), range(13, 13 + FIRST_WIDTH)]


def test_readers_who_begin_at_once_are_a_scan_before_all_of_them_have_read() -> None:
    """Whichever is served first: what follows the foremost is asked for."""
    asked = read_all(Scans(), [17, 13, 16, 14, 11, 15, 18, 12])
    assert [bool(each) for each in asked].index(True) < 7
    wanted = [position for each in asked for position in each]
    assert wanted == list(range(18, 18 + len(wanted)))
    assert len(wanted) > 2 * FIRST_WIDTH


def test_a_scan_asks_for_every_file_once_and_in_order() -> None:
    asked = [position for each in read_all(Scans(), range(100, 2000)) for position in each]
    assert asked == list(range(103, asked[-1] + 1))
    assert asked[-1] > 2000


def test_the_window_grows_up_to_its_bytes_and_its_count() -> None:
    def widest(size: int) -> int:
        return max(map(len, read_all(Scans(), range(3000), size)))

    assert widest(SIZE) <= WINDOW_SIZE / SIZE
    assert widest(SIZE) > WINDOW_SIZE / SIZE / 3
    assert widest(100) <= WIDTH_LIMIT
    assert widest(WINDOW_SIZE) <= FIRST_WIDTH


def test_files_are_asked_for_in_batches_and_not_one_by_one() -> None:
    asked = [each for each in read_all(Scans(), range(2000)) if each]
    assert sum(map(len, asked)) / len(asked) > 50


@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_readers_that_take_turns_are_one_scan(chance: random.Random, readers: int) -> None:
    positions = list(range(1, 400))
    for start in range(0, len(positions), readers):
        turn = positions[start : start + readers]
        chance.shuffle(turn)
        positions[start : start + readers] = turn
    asked = [position for each in read_all(Scans(), positions) for position in each]
    assert len(asked) == len(set(asked))
    assert set(range(30, 400)) <= set(asked)


def test_readers_of_parts_of_a_directory_are_scans_of_their_own() -> None:
    turns = [start + step for step in range(100) for start in range(0, 8000, 1000)]
    asked = {position for each in read_all(Scans(), turns) for position in each}
    assert all({start + 50, start + 99} <= asked for start in range(0, 8000, 1000))


def test_shuffled_reading_of_many_files_asks_for_few() -> None:
    order = random.Random(1).sample(range(100_000), 2000)
    assert sum(map(len, read_all(Scans(), order))) < 20


def test_shuffled_reading_of_thousands_of_files_seldom_looks_like_order() -> None:
    orders = [random.Random(epoch).sample(range(5000), 5000) for epoch in range(2)]
    asked = read_all(Scans(), itertools.chain(*orders))
    assert sum(map(bool, asked)) < 2 * 5000 / 50


def test_a_scan_to_which_nothing_is_missing_rests_until_something_is() -> None:
    scan = Scans().begin((0, 1), SIZE)
    scan.extend()
    scan.warm = True
    for position in range(1, 100):
        scan.note(position, SIZE)
        assert not scan.is_due
    scan.missed()
    assert scan.is_due
    assert scan.extend() == range(100, 100 + FIRST_WIDTH)


def test_scans_of_another_epoch_are_others() -> None:
    scans = Scans()
    scans.begin((0, 5), SIZE)
    assert scans.find((0, 6), missed=True) is not None
    assert scans.find((1, 6), missed=True) is None


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=300))
def test_what_is_fetched_in_vain_is_bounded(files: list[tuple[int, bool]]) -> None:
    """By the allowance and a share of what was read."""
    allowance = Allowance()
    read = in_vain = 0
    for mebibytes, is_read in files:
        size = mebibytes << 20
        if not allowance.take(size):
            continue
        if is_read:
            read += size
            allowance.note(size, was_awaited=True)
        else:
            in_vain += size
    assert in_vain <= ALLOWANCE + read / ALLOWANCE_SHARE


def test_what_is_read_is_paid_back() -> None:
    allowance = Allowance()
    assert allowance.take(ALLOWANCE)
    assert not allowance.take(1)
    allowance.note(ALLOWANCE, was_awaited=True)
    assert allowance.take(ALLOWANCE)


def test_of_what_nobody_had_fetched_an_eighth_is_earned() -> None:
    allowance = Allowance()
    assert allowance.take(ALLOWANCE)
    allowance.note(ALLOWANCE, was_awaited=False)
    assert not allowance.take(ALLOWANCE // ALLOWANCE_SHARE + 1)
    assert allowance.take(ALLOWANCE // ALLOWANCE_SHARE)
