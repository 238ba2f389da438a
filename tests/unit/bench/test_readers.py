from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.peers import PeerFailedError
from bench.readers import Readers, Spent, together
from bench.workloads import Span, dealt, read_spans


def pid_below(root: Path, share: str) -> tuple[str, int]:
    return str(root / share), os.getpid()


def never(_root: Path, _share: None) -> None:
    time.sleep(60)


def refused(_root: Path, _share: None) -> None:
    raise ConnectionAbortedError("the mount is gone")


def test_each_share_is_done_by_a_process_of_its_own(tmp_path: Path) -> None:
    with Readers() as readers:
        reading = readers.do(pid_below, tmp_path, ["a", "b"], 30)
        assert [path for path, _ in reading.results] == [f"{tmp_path}/a", f"{tmp_path}/b"]
        assert len({pid for _, pid in reading.results}) == 2
        assert 0 < reading.seconds < 30


def test_a_mount_that_hangs_or_fails_is_the_peers_failure_and_the_next_one_is_read(
    tmp_path: Path,
) -> None:
    with Readers() as readers:
        with pytest.raises(PeerFailedError, match="not done after"):
            readers.do(never, tmp_path, [None], 0.2)
        with pytest.raises(PeerFailedError, match="the mount is gone"):
            readers.do(refused, tmp_path, [None], 30)
        assert len(readers.do(pid_below, tmp_path, ["a"], 30).results) == 1


def test_time_runs_from_the_first_beginning_to_the_last_end() -> None:
    reading = together([Spent(1.0, 3.0, 0.5, "x"), Spent(2.0, 7.0, 0.25, "y")])
    assert (reading.seconds, reading.cpu_seconds, reading.results) == (6.0, 0.75, ["x", "y"])


def test_items_are_dealt_like_cards() -> None:
    assert dealt([1, 2, 3, 4, 5], 2) == [[1, 3, 5], [2, 4]]


def test_spans_are_read_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(100))
    assert read_spans(tmp_path, [Span("f", 0, 10), Span("f", 95, 10)]) == 15
