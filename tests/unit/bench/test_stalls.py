from __future__ import annotations

from bench.stalls import Step, longest_after, longest_caused, percentile


def test_a_step_counts_for_the_blow_before_it() -> None:
    assert longest_after([10, 20], [Step(11, 0.5), Step(12, 0.2), Step(21, 0.1)]) == [0.5, 0.1]


def test_a_step_that_a_blow_interrupts_counts_for_it() -> None:
    assert longest_after([10], [Step(9, 2)]) == [2]


def test_a_step_that_outlasts_several_blows_counts_for_each() -> None:
    assert longest_after([10, 20, 30], [Step(11, 15)]) == [15, 15, 0]


def test_what_was_over_before_the_first_blow_does_not_count() -> None:
    assert longest_after([10], [Step(1, 8)]) == [0]


def test_the_first_blow_in_a_step_is_to_blame_for_it() -> None:
    assert longest_caused([10, 20, 30], [Step(11, 15)]) == [0, 15, 0]


def test_the_blow_before_a_step_is_to_blame_when_none_falls_in_it() -> None:
    assert longest_caused([10, 20], [Step(11, 0.5), Step(1, 2)]) == [0.5, 0]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7.0], 0.99) == 7.0
