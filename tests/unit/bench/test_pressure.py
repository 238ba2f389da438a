from __future__ import annotations

import os
from pathlib import Path

from bench.measure import Samples
from bench.memorygroup import bytes_in_memory
from bench.scenarios.pressure import CASES, report


def test_pages_of_a_file_that_was_just_written_are_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    assert bytes_in_memory(path) == 1 << 20


def test_every_case_has_its_row() -> None:
    figures = {"MB/s": Samples((100.0,)), "from disk": Samples((7.5,))}
    (sheet,) = report(dict.fromkeys(CASES, figures)).sheets
    assert [row[0] for row in sheet.rows] == [case.name for case in CASES]
    assert "7.50" in sheet.rows[0][2]
