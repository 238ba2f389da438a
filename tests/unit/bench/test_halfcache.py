from __future__ import annotations

import pytest

from bench.measure import Samples
from bench.replacement import fetched_at_least, fetched_with_lru
from bench.scenarios.halfcache import EPOCHS, FETCHED, RATE, WORKLOAD, computed, epochs_of, report


def test_each_epoch_reads_every_file_once_in_an_order_of_its_own() -> None:
    epochs = epochs_of(3)
    assert len(epochs) == EPOCHS
    assert all(sorted(epoch) == WORKLOAD.paths() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == EPOCHS
    assert epochs_of(3) == epochs != epochs_of(4)


def test_only_epochs_after_the_first_are_counted() -> None:
    least, lru = (computed(rule, 0)[FETCHED] for rule in (fetched_at_least, fetched_with_lru))
    assert least == pytest.approx(0.5, abs=0.02)  # with the first it would be 0.6
    assert lru == pytest.approx(0.86, abs=0.03)


def test_what_is_computed_has_no_speed() -> None:
    (sheet,) = report(
        {
            "computed": {FETCHED: Samples((0.5,))},
            "played": {FETCHED: Samples((0.64,)), RATE: Samples((877.0,))},
        }
    ).sheets
    assert sheet.rows[0][2] == "-"
    assert "877" in sheet.rows[1][2]
