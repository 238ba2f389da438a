from __future__ import annotations

from pathlib import Path

import pytest

from bench.scenarios.epoch import RESNET50, RETINANET
from bench.training import Plan, Step, train, utilisation
from bench.workloads import Span


def test_an_accelerator_that_never_waits_is_used_all_the_time() -> None:
    assert utilisation([Step(0.0, 2.0)] * 5, seconds=10.0) == 100.0


def test_waiting_as_long_as_computing_halves_it() -> None:
    assert utilisation([Step(1.0, 1.0)] * 5, seconds=10.0) == 50.0


def test_the_first_step_does_not_count_however_long_it_waited() -> None:
    steps = [Step(90.0, 1.0), Step(0.0, 1.0), Step(0.0, 1.0)]
    assert utilisation(steps, seconds=93.0) == 100.0


def test_time_between_steps_counts_against_it() -> None:
    assert utilisation([Step(0.0, 1.0)] * 3, seconds=5.0) == 50.0


def test_an_epoch_of_one_step_has_no_utilisation() -> None:
    assert utilisation([Step(1.0, 1.0)], seconds=2.0) == 0.0


@pytest.mark.parametrize("by_open", [True, False])
def test_an_epoch_reads_every_sample_and_computes_every_step(tmp_path: Path, by_open: bool) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    (tmp_path / "b").write_bytes(bytes(50))
    batches = [[Span("a", 0, 60), Span("b", 0, 50)], [Span("a", 60, 40)], [Span("b", 10, 5)]]
    if by_open:
        batches = [[Span("a", 0, 100)], [Span("b", 0, 50)], [Span("b", 0, 5)]]
    epoch = train(tmp_path, Plan(batches, readers=2, step_seconds=0.001, by_open=by_open))
    assert epoch.byte_count == 155
    assert len(epoch.steps) == 3
    assert all(step.computed >= 0.001 for step in epoch.steps)
    assert epoch.seconds >= sum(step.waited + step.computed for step in epoch.steps)


def test_each_epoch_has_all_samples_once_in_another_order() -> None:
    workload = RETINANET.workload(1.0)
    first, second = (RETINANET.plan(workload, number, 1).batches for number in (0, 1))
    assert first != second
    samples = [span for batch in first for span in batch]
    assert sorted(span.path for span in samples) == sorted(workload.paths())
    assert all(len(batch) == RETINANET.batch for batch in first)


def test_records_of_a_file_stay_in_order() -> None:
    plan = RESNET50.plan(RESNET50.workload(1.0), 0, 1)
    spans = [span for batch in plan.batches for span in batch]
    of_one = [span.offset for span in spans if span.path == spans[0].path]
    assert of_one == sorted(of_one)


def test_more_accelerators_leave_a_step_less_time() -> None:
    workload = RETINANET.workload(0.1)
    one, four = (RETINANET.plan(workload, 0, count).step_seconds for count in (1, 4))
    assert one == pytest.approx(4 * four)


def test_a_batch_that_cannot_be_read_ends_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        train(tmp_path, Plan([[Span("a", 0, 1)]], 1, 0.001, by_open=True))


def test_a_forgiving_epoch_goes_on_and_has_computed_nothing_in_that_step(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    batches = [[Span("a", 0, 10)], [Span("gone", 0, 10)], [Span("a", 0, 10)], [Span("a", 0, 10)]]
    epoch = train(tmp_path, Plan(batches, 1, 0.02, by_open=True, forgiving=True))
    assert epoch.errors == ["No such file or directory"]
    assert [step.computed > 0 for step in epoch.steps] == [True, False, True, True]
    assert epoch.byte_count == 30
    assert epoch.utilisation < 70.0
