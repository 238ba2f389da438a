from __future__ import annotations

import pytest

from csi.budget import Budget
from csi.errors import ExhaustedError


def test_workers_fit_until_the_budget_is_used_up() -> None:
    budget = Budget(100, 30)
    budget.check(0, 3)
    budget.check(2, 1)
    with pytest.raises(ExhaustedError, match="memory for 3 workers of mounts, and 3 run"):
        budget.check(3, 1)


def test_one_mount_may_want_more_than_there_is() -> None:
    with pytest.raises(ExhaustedError):
        Budget(100, 30).check(0, 4)


def test_without_a_total_nothing_is_refused() -> None:
    Budget(None, 1 << 40).check(1 << 20, 1 << 20)


def test_what_is_admitted_is_what_is_not_refused() -> None:
    budget = Budget(100, 30)
    assert [budget.admits(used, 1) for used in range(5)] == [True, True, True, False, False]
    assert Budget(None, 30).admits(1 << 20, 1)
