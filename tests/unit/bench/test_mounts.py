from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.census import Holding
from bench.report import Report
from bench.scenarios.mounts import MIB, Looks, report

COUNT = 5
SECONDS = [9.0, 1.0, 1.0, 1.0, 1.0]


def looks(share_each: int, descriptors_each: int = 2, seconds: Sequence[float] = SECONDS) -> Looks:
    def holding(mounted: int) -> Holding:
        return Holding(10 + descriptors_each * mounted, 1, 20 * MIB, (10 + share_each) * MIB)

    def census(mounted: int) -> dict[str, list[Holding]]:
        workers = [Holding(20, 1, 20 * MIB, share_each * MIB)] * mounted
        return {"worker": workers, "supervisor": [holding(mounted)], "keeper": [holding(mounted)]}

    return Looks(COUNT, census(1), census(COUNT), seconds)


def missed(made: Report) -> list[str]:
    return [bar.what for bar in made.bars if not bar.holds]


def test_what_each_mount_more_costs() -> None:
    assert looks(7).each(("worker", "supervisor"), "share_bytes") == 7 * MIB
    assert looks(7).each(("supervisor",), "descriptors") == 2


def test_mounts_that_cost_little() -> None:
    assert missed(report(looks(7), 1)) == []


def test_mounts_that_cost_much_memory() -> None:
    assert missed(report(looks(16), 1)) == ["memory for each mount more"]


def test_mounts_that_cost_many_descriptors() -> None:
    assert missed(report(looks(7, descriptors_each=5), 1)) == [
        "descriptors of the supervisor for each mount more",
        "descriptors of the keeper for each mount more",
    ]


def test_mounts_that_take_longer_and_longer() -> None:
    growing = [9.0, 1.0, 2.0, 3.0, 4.0]
    assert missed(report(looks(7, seconds=growing), 1)) == [
        "time of the last mounts over the first"
    ]


def test_a_mount_that_did_not_go_away_is_told_and_missed() -> None:
    made = report(replace(looks(7), left=["mount3 stays"]), 1)
    assert missed(made) == ["unmounting failed"]
    assert "mount3 stays" in made.notes
