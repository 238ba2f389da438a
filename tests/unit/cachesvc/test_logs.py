from __future__ import annotations

import logging

from cachesvc.logs import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("name", logging.WARNING, "file", 1, "%s", (text,), None)


def test_a_flood_is_cut_and_counted() -> None:
    clock = Clock()
    limit = RateLimit(most=3, window_seconds=10, clock=clock)
    assert [limit.filter(record(str(number))) for number in range(8)] == [True] * 3 + [False] * 5
    clock.now += 10
    following = record("later")
    assert limit.filter(following)
    assert following.getMessage() == "later (5 lines before it were left out)"


def test_what_is_no_flood_is_left_alone() -> None:
    clock = Clock()
    limit = RateLimit(most=2, window_seconds=10, clock=clock)
    for text in ("a", "b", "c"):
        clock.now += 6
        line = record(text)
        assert limit.filter(line)
        assert line.getMessage() == text
