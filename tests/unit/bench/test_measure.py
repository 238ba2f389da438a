from __future__ import annotations

from functools import partial

import pytest

from bench.measure import Samples, interleaved, merged


def test_the_median_ignores_one_bad_round() -> None:
    assert Samples((1.0, 2.0, 90.0)).median == 2.0


def test_the_quartiles_hold_the_middle_half() -> None:
    assert Samples((1.0, 2.0, 3.0, 4.0, 5.0)).quartiles == (2.0, 4.0)


def test_one_round_has_no_spread() -> None:
    assert Samples((3.0,)).quartiles == (3.0, 3.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    slow_in_the_second_round = Samples((2.0, 20.0))
    assert slow_in_the_second_round.over(Samples((1.0, 10.0))) == Samples((2.0, 2.0))


def test_figures_of_different_rounds_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Samples((1.0, 2.0)).over(Samples((1.0,)))


def test_rounds_become_figures() -> None:
    assert merged([{"MB/s": 1.0}, {"MB/s": 3.0}]) == {"MB/s": Samples((1.0, 3.0))}


def test_every_case_is_played_once_a_round_and_each_round_begins_with_another() -> None:
    played: list[str] = []

    def case(name: str, _number: int) -> None:
        played.append(name)

    interleaved({name: partial(case, name) for name in "abc"}, 3)
    assert "".join(played) == "abcbcacab"


def test_results_come_in_the_order_of_rounds() -> None:
    assert interleaved({"x": lambda number: number, "y": lambda number: -number}, 3) == {
        "x": [0, 1, 2],
        "y": [0, -1, -2],
    }
