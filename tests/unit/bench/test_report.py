from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from bench.measure import Samples
from bench.report import Bar, Report, Sheet

REPORT = Report(
    scenario="example",
    notes=["a note"],
    sheets=[Sheet("a sheet", ("what", "ms"), [["the row", "12.5"]])],
    bars=[Bar("growth", 1.3, 1.2, at_most=True), Bar("speed", 0.7, 0.5, at_most=False)],
    figures={"wall": Samples((1.0, 2.0, 3.0))},
    machine={"kernel": "6.18"},
)


def test_a_bar_has_a_side() -> None:
    assert [bar.holds for bar in REPORT.bars] == [False, True]


def test_a_figure_just_at_its_bar_holds() -> None:
    assert Bar("growth", 1.2, 1.2, at_most=True).holds
    assert Bar("speed", 0.5, 0.5, at_most=False).holds


def test_a_person_sees_rows_notes_verdicts_and_the_machine() -> None:
    text = io.StringIO()
    REPORT.show(Console(file=text, width=120))
    for expected in ("the row", "12.5", "a note", "missed", "holds", "kernel 6.18"):
        assert expected in text.getvalue()


def test_json_holds_every_single_value(tmp_path: Path) -> None:
    REPORT.save(tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["figures"]["wall"]["values"] == [1.0, 2.0, 3.0]
    assert document["figures"]["wall"]["median"] == 2.0
    assert [bar["holds"] for bar in document["bars"]] == [False, True]
    assert document["machine"] == {"kernel": "6.18"}
