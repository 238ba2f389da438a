from __future__ import annotations

import click
import pytest

from bench.__main__ import parse_sizes
from bench.scenarios.startup import Target, by_purpose


def test_requests_are_counted_by_method_and_purpose() -> None:
    requests = {
        ("GET", "/bench/1000/repository/refs/main"): 2,
        ("GET", "/bench/1000/repository/snapshots/abc"): 1,
        ("GET", "/bench/1000/data/train/0000/000/image_0.jpg"): 1,
        ("HEAD", "/bench/1000/data/train/0000/000/image_0.jpg"): 1,
    }
    assert by_purpose(requests) == {
        "GET data": 1,
        "GET manifest": 1,
        "GET ref": 2,
        "HEAD data": 1,
    }


def test_the_random_file_is_the_same_in_every_run_and_another_in_every_round() -> None:
    numbers = [Target.ANY.number(1_000_000, each) for each in range(10)]
    assert numbers == [Target.ANY.number(1_000_000, each) for each in range(10)]
    assert len(set(numbers)) == 10


def test_sizes_may_be_written_as_powers() -> None:
    assert parse_sizes("1e3,50000") == [1000, 50_000]


def test_sizes_that_are_no_numbers_are_wrong_use() -> None:
    with pytest.raises(click.BadParameter):
        parse_sizes("many")
