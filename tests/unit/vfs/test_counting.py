"""Counts of a mount go on whoever serves it."""

from __future__ import annotations

from vfs.mounting.counting import Counting
from vfs.serving.tally import Tally


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_dead_workers_counted_is_added_to_what_the_living_do() -> None:
    counting = Counting(clock=Clock())
    counting.keep(Tally(1, 2, 30, 40))
    status = counting.status([Tally(1, 0, 5, 0), Tally(0, 1, 0, 6)])
    counts = {name: status[name] for name in ("hits", "misses", "hit_bytes", "miss_bytes")}
    assert counts == {"hits": 2, "misses": 3, "hit_bytes": 35, "miss_bytes": 46}


def test_a_stall_counts_while_it_lasts_and_afterwards_and_once() -> None:
    clock = Clock()
    counting = Counting(clock=clock)
    counting.begin_stall()
    clock.now += 1
    counting.begin_stall()
    clock.now += 1
    assert counting.status([])["stall_seconds"] == 2
    counting.end_stall()
    clock.now += 5
    counting.end_stall()
    assert counting.status([])["stall_seconds"] == 2


def test_a_tally_survives_its_way_and_another_version() -> None:
    tally = Tally(1, 2, 3, 4)
    assert Tally.from_fields(tally.fields()) == tally
    assert Tally.from_fields({"hits": 1, "something newer": 2}) == Tally(hits=1)
