from __future__ import annotations

import os

from bench.census import Holding, growth, is_zygote, most, total

SMALL, LARGE = Holding(3, 1, 100, 50), Holding(9, 2, 300, 20)


def test_a_live_process_holds_something() -> None:
    holding = Holding.of(os.getpid())
    assert holding.descriptors >= 3
    assert holding.threads >= 1
    assert holding.private_bytes > 0
    assert holding.share_bytes > 0


def test_the_most_of_nobody_is_nothing() -> None:
    assert most([], "threads") == 0
    assert most([SMALL, LARGE], "descriptors") == 9


def test_shares_add_up() -> None:
    assert total([SMALL, LARGE], "share_bytes") == 70


def test_growth_is_that_of_the_role_that_grew_most() -> None:
    before = {"worker": [LARGE], "keeper": [SMALL]}
    after = {"worker": [SMALL], "keeper": [SMALL, LARGE]}
    assert growth(before, after, "descriptors") == 6


def test_a_role_that_is_gone_has_not_grown() -> None:
    assert growth({"worker": [LARGE]}, {"worker": []}, "threads") == -2


def test_any_process_is_no_zygote() -> None:
    assert not is_zygote(os.getpid(), [])
    assert not is_zygote(2**22 + 1, [])
