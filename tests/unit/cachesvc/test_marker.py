from __future__ import annotations

from pathlib import Path

import pytest

from cachesvc.store.marker import (
    Marker,
    Phase,
    Verdict,
    crash_log_path,
    crashes_in_a_row,
    marker_path,
    read_marker,
    take_crash_log,
    verdict,
    write_marker,
)

HERE = "this boot"


def test_a_marker_survives_the_round_trip(tmp_path: Path) -> None:
    marker = Marker(Phase.DIRTY, HERE, crash_count=1)
    write_marker(tmp_path, marker)
    assert read_marker(tmp_path) == marker


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"phase": "odd", "boot_id": "b"}', "\0\0"])
def test_a_marker_that_cannot_be_understood_is_none(tmp_path: Path, text: str) -> None:
    marker_path(tmp_path).write_text(text)
    assert read_marker(tmp_path) is None


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, Verdict.WIPE),
        (Marker(Phase.CLEAN, HERE), Verdict.KEEP),
        (Marker(Phase.CLEAN, "another boot"), Verdict.KEEP),
        (Marker(Phase.DIRTY, HERE), Verdict.VERIFY),
        (Marker(Phase.OPENING, HERE), Verdict.VERIFY),
        (Marker(Phase.DIRTY, "another boot"), Verdict.WIPE),
        (Marker(Phase.OPENING, "another boot"), Verdict.WIPE),
    ],
)
def test_what_the_last_run_left_decides(last: Marker | None, expected: Verdict) -> None:
    assert verdict(last, HERE, crash_count=0) is expected


def test_two_crashes_in_a_row_begin_anew() -> None:
    assert verdict(Marker(Phase.DIRTY, HERE), HERE, crash_count=2) is Verdict.WIPE


def test_runs_that_died_while_opening_are_counted() -> None:
    last = Marker(Phase.OPENING, HERE, crash_count=1)
    assert crashes_in_a_row(last, crash_logged=False) == 2


def test_runs_that_left_last_words_are_counted() -> None:
    last = Marker(Phase.DIRTY, HERE, crash_count=1)
    assert crashes_in_a_row(last, crash_logged=True) == 2


def test_a_run_that_was_only_killed_ends_the_row() -> None:
    last = Marker(Phase.DIRTY, HERE, crash_count=1)
    assert crashes_in_a_row(last, crash_logged=False) == 0


def test_last_words_are_taken_once(tmp_path: Path) -> None:
    crash_log_path(tmp_path).write_text("Fatal Python error: Aborted")
    assert take_crash_log(tmp_path)
    assert not take_crash_log(tmp_path)
