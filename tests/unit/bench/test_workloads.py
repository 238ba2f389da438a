from __future__ import annotations

from pathlib import Path

from bench.peers.native import Native
from bench.workloads import Workload, read_all, read_all_by_open

WORKLOAD = Workload("some", 450, 10)


def test_a_workload_makes_the_files_that_it_names(tmp_path: Path) -> None:
    WORKLOAD.make(tmp_path)
    assert sorted(tmp_path.glob("*/*")) == [tmp_path / path for path in WORKLOAD.paths()]
    assert len({Path(path).parent for path in WORKLOAD.paths()}) == 3


def test_reading_a_workload_reads_every_byte(tmp_path: Path) -> None:
    WORKLOAD.make(tmp_path)
    assert read_all(tmp_path, WORKLOAD.paths()) == WORKLOAD.byte_count
    assert read_all_by_open(tmp_path, WORKLOAD.paths()) == WORKLOAD.byte_count


def test_files_longer_than_a_read_are_read_to_their_end(tmp_path: Path) -> None:
    large = Workload("large", 1, (3 << 20) + 1)
    large.make(tmp_path)
    assert read_all(tmp_path, large.paths()) == large.byte_count


def test_the_native_peer_shows_the_dataset_itself_also_after_forgetting(tmp_path: Path) -> None:
    WORKLOAD.make(tmp_path / "dataset")
    with Native().mounted(tmp_path / "dataset", tmp_path) as mounted:
        mounted.forget()
        assert read_all(mounted.path, WORKLOAD.paths()) == WORKLOAD.byte_count
        assert mounted.servers() == {}
