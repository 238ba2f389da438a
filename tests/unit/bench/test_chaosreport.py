from __future__ import annotations

from bench.census import Holding
from bench.chaosreport import OPENED_LATE, report
from bench.harm import Record
from bench.report import Report

DESCRIPTORS, THREADS = 8, 1


def census(descriptors: int) -> dict[str, list[Holding]]:
    return {"worker": [Holding(descriptors, THREADS, 1 << 20, 1 << 20)]}


def record_of(stall: float, descriptors_after: int = DESCRIPTORS) -> Record:
    return Record(
        stalls=[(1.0, "worker", stall)],
        calm=[0.1],
        held={"kills": (census(DESCRIPTORS), census(descriptors_after))},
    )


def missed(made: Report) -> list[str]:
    return [bar.what for bar in made.bars if not bar.holds]


def test_all_is_well() -> None:
    assert missed(report(record_of(0.5), 0, [])) == []


def test_a_long_stall_is_missed() -> None:
    assert missed(report(record_of(6.0), 0, [])) == ["stalls after a blow, 99 %", "longest stall"]


def test_blows_that_were_not_dealt_out_are_missed() -> None:
    assert missed(report(record_of(0.5), 1, [])) == ["blows left undone"]


def test_what_deaths_leave_behind_is_missed() -> None:
    more = DESCRIPTORS + OPENED_LATE
    assert missed(report(record_of(0.5, more), 0, [])) == []
    assert missed(report(record_of(0.5, more + 1), 0, [])) == [
        "kills: descriptors more than before"
    ]


def test_a_report_shows_what_is_held_before_and_after() -> None:
    sheet = report(record_of(0.5, 9), 0, []).sheets[-1]
    assert sheet.rows == [["kills: worker", "8", "9", "1", "1", "1.0", "1.0"]]


def test_a_mount_that_did_not_go_away_is_told_and_missed() -> None:
    record = record_of(0.5)
    record.left.append("'headrace umount /m' failed with exit code 1")
    made = report(record, 0, [])
    assert missed(made) == ["unmounting failed"]
    assert record.left[0] in made.notes
