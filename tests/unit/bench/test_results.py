from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.results import Absence, PeerFacts, Results, Row, gain
from bench.tables import sheets
from tests.unit.bench.canned import RESULTS, row


def text_of(results: Results) -> dict[str, list[list[str]]]:
    """Return what a person reads of each sheet, without colours."""
    shown: dict[str, list[list[str]]] = {}
    for sheet in sheets(results):
        shown[sheet.title] = [[plain(cell) for cell in line] for line in sheet.rows]
    return shown


def plain(cell: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as capture:
        console.print(cell, end="", highlight=False)
    return capture.get()


def test_results_survive_being_saved(tmp_path: Path) -> None:
    RESULTS.save(tmp_path / "new" / "results.json")
    assert Results.load(tmp_path / "new" / "results.json") == RESULTS


def test_the_report_of_another_scenario_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match="not of a side-by-side scenario"):
        Results.load(tmp_path / "other.json")


def test_there_is_a_table_for_each_figure_with_a_column_for_each_peer() -> None:
    shown = text_of(RESULTS)
    assert shown["files: files/s"] == [
        [
            "100 x 1 KB",
            "cold",
            "1,000 (950-1,050)",
            "200 (195-205)",
            "50 (47.5-52.5)",
            "4.00 juicefs",
            "0.20",
            "-",
        ]
    ]


def test_less_is_better_where_it_is() -> None:
    (line,) = text_of(RESULTS)["files: server CPU us/file"]
    assert line[-3:] == ["2.00 juicefs", "-", "-"]


def test_a_limit_is_no_peer() -> None:
    limited = Results(
        machine={},
        rows=[*RESULTS.rows[:3], row("wire", (400.0, 500.0, 420.0))],
    )
    (line,) = text_of(limited)["files: files/s"]
    assert line[-3:] == ["4.00 juicefs", "0.20", "0.47"]


def test_a_figure_that_a_peer_does_not_have_is_a_dash() -> None:
    lonely = Results(machine={}, rows=[row("headrace", (1.0,)), row("native", (2.0,), cell="x")])
    assert [line[2:4] for line in text_of(lonely)["files: files/s"]] == [["1", "-"], ["-", "2"]]


def test_who_is_missing_is_said_with_the_reason() -> None:
    assert text_of(RESULTS)["left out"] == [["files", "100 x 1 KB", "s3fs", "no s3fs here"]]


def test_settings_and_versions_are_shown() -> None:
    assert ["juicefs", "1.4", "juicefs mount"] in text_of(RESULTS)["peers"]


def test_a_gain_is_taken_round_by_round() -> None:
    ours, theirs = row("headrace", (2.0, 20.0, 4.0)), row("juicefs", (1.0, 10.0, 2.0))
    assert gain(ours, theirs) == 2.0


def test_a_gain_over_a_peer_with_fewer_rounds_is_one_of_medians() -> None:
    assert gain(row("headrace", (2.0, 4.0, 6.0)), row("juicefs", (1.0,))) == 4.0


def test_nothing_spent_is_infinitely_better_than_something_and_as_good_as_nothing() -> None:
    none, some = (
        Row("files", "c", "cold", "requests", False, peer, (value,))
        for peer, value in (("headrace", 0.0), ("juicefs", 3.0))
    )
    assert gain(none, some) == float("inf")
    assert gain(none, none) == 1.0


def test_runs_are_put_together() -> None:
    both = Results(machine={}, rows=[row("headrace", (1.0,))], notes=["a"])
    both.add(Results(machine={}, peers={"x": PeerFacts("1", "")}, notes=["a", "b"]))
    both.add(Results(machine={}, absences=[Absence("files", "all", "y", "why")]))
    assert (len(both.rows), list(both.peers), both.notes, len(both.absences)) == (
        1,
        ["x"],
        ["a", "b"],
        1,
    )
