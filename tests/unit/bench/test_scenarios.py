from __future__ import annotations

from pathlib import Path

import pytest

from bench.distance import Traffic
from bench.measure import order_of_round
from bench.passes import Pass
from bench.peers import Cache, PeerFailedError
from bench.peers.everybody import PEERS, is_ours, named
from bench.readers import Reading
from bench.results import Figure
from bench.scenarios.bigfile import BLOCK_SIZE, random_spans
from bench.scenarios.epoch import LOOPS
from bench.scenarios.files import SHOTS, Phase, compare, needed
from bench.scenarios.fio import figures
from bench.scenarios.first_batch import SIZES
from bench.scenarios.growth import SIZES as GROWTH_SIZES
from bench.scenarios.memory import shuffled_for_ever
from bench.scenarios.metadata import COUNTS, Names, list_directory, look_at, walk
from bench.session import Cell, rows_of
from bench.site import FAR
from bench.suite import DOSES, SCENARIOS, SHARES
from bench.workloads import Workload

MIB = 1 << 20


def test_a_pass_says_what_each_file_and_byte_took() -> None:
    done = Pass(Reading(2.0, 0.1, []), 0.5, Traffic(20, 4_000_000), 3 * MIB)
    values = {figure.name: value for figure, value in done.figures(10, 2_000_000).items()}
    assert values == {
        "files/s": 5.0,
        "MB/s": 1.0,
        "server CPU us/file": 50_000.0,
        "server CPU us/MB": 250_000.0,
        "requests/file": 2.0,
        "bytes fetched/byte read": 2.0,
        "private MiB": 3.0,
    }


def test_rows_have_one_value_for_each_round_that_has_it() -> None:
    cell = Cell("files", "c", Workload("w", 1, 1), FAR)
    speed, cost = Figure("MB/s"), Figure("CPU", more_is_better=False)
    found = [{("cold", speed): 1.0, ("cold", cost): 5.0}, {("cold", speed): 2.0}]
    rows = list(rows_of(cell, "juicefs", found))
    assert [(row.figure, row.values, row.more_is_better) for row in rows] == [
        ("MB/s", (1.0, 2.0), True),
        ("CPU", (5.0,), False),
    ]


def test_a_kept_cache_is_filled_first() -> None:
    assert list(needed([Phase.WARM])) == [Cache.EMPTY, Cache.KEPT]
    assert list(needed([Phase.REREAD])) == [Cache.EMPTY]
    assert list(needed(list(Phase))) == list(Cache)


def test_wrong_bytes_are_the_peers_failure(tmp_path: Path) -> None:
    for name, data in (("original", b"same"), ("good", b"same"), ("bad", b"sane")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(data)
    compare(tmp_path / "original", tmp_path / "good", "f")
    with pytest.raises(PeerFailedError, match="f is not what the dataset holds"):
        compare(tmp_path / "original", tmp_path / "bad", "f")


def test_working_sets_stay_small() -> None:
    for shots in SHOTS.values():
        assert all(shot.workload(1.0).byte_count <= 256 * MIB for shot in shots)


def test_a_round_reads_other_blocks_but_the_same_for_all() -> None:
    workload = Workload("large", 1, 64 * MIB)
    first, second = random_spans(workload, 50, 0), random_spans(workload, 50, 1)
    assert first == random_spans(workload, 50, 0) != second
    assert len({span.offset for span in first}) == 50
    assert all(span.offset + span.size <= 64 * MIB for span in first)
    assert all(span.offset % BLOCK_SIZE == 0 for span in first)


def test_names_are_all_found(tmp_path: Path) -> None:
    names = Names(450)
    names.make(tmp_path)
    assert list_directory(tmp_path, "flat") == walk(tmp_path, "deep") == 450
    assert look_at(tmp_path, names.paths()) == 900


def test_what_fio_says_is_understood() -> None:
    document = {"jobs": [{"read": {"bw_bytes": 5_000_000, "iops": 38.1}}]}
    found = figures("job", document)
    assert {figure.name: value for (_, figure), value in found.items()} == {
        "MB/s": 5.0,
        "reads/s": 38.1,
    }


def test_peers_are_chosen_by_name_and_an_unknown_one_is_an_error() -> None:
    assert [peer.name for peer in named(["juicefs", "native"])] == ["native", "juicefs"]
    assert list(named([])) == list(PEERS)
    with pytest.raises(ValueError, match="no such peer: ceph"):
        named(["ceph"])


def test_our_own_rows_are_known_by_name() -> None:
    assert [peer.name for peer in PEERS if is_ours(peer.name)] == [
        "headrace",
        "headrace-pack",
        "headrace-order",
    ]


def test_every_scenario_has_its_part_of_the_time_in_every_dose() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    for dose in DOSES.values():
        assert set(dose.seconds) == set(SCENARIOS)
        assert all(dose.name in doses for doses in (SHOTS, SIZES, LOOPS, COUNTS, GROWTH_SIZES))


def test_each_round_begins_with_another_peer() -> None:
    assert [order_of_round("abc", number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert order_of_round([], 3) == []


def test_reads_are_announced_epoch_after_epoch_each_in_an_order_of_its_own() -> None:
    reads = shuffled_for_ever(["a", "b", "c", "d"], 10)
    first, second = reads[:4], reads[4:8]
    assert sorted(first) == sorted(second) == ["a", "b", "c", "d"]
    assert first != second
    assert len(reads) == 10
