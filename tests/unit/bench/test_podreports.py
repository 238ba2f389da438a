from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from bench.crowding import Crowding, Held
from bench.podchaosreport import Seen
from bench.podchaosreport import report as chaos_report
from bench.podsreport import report as pods_report
from bench.publishing import LISTING, State, Wait
from bench.report import Report
from tests.csi.blows import ROLES, Act, Blow, PodDose
from tests.csi.containers import Report as ReaderReport

HELD = Held({"node": 16, "supervisor": 14, "keeper": 7}, 5, 30 << 20)
CALM = Crowding("crowd", [0.1], [0.1], 1, 1, 0.01, [], HELD, HELD, HELD)
READER = ReaderReport(100, 0, 0, 0.2, "", [(11.0, 0.2)])
SEEN = Seen([READER], [(10.0, Blow(Act.KILL, ("worker",)))], 0, [], 0.01, None, 5.0)


def waits(seconds: float, requests: dict[str, int]) -> dict[State, list[Wait]]:
    return {state: [Wait(seconds, requests, 0)] for state in State}


def missed(made: Report) -> list[str]:
    return [bar.what for bar in made.bars if not bar.holds]


def test_pods_that_wait_shortly_and_ask_nobody_are_fine() -> None:
    assert missed(pods_report({10: waits(0.1, {}), 1000: waits(0.1, {})}, [CALM], 1)) == []


def test_a_wait_that_grows_with_the_dataset_is_missed() -> None:
    made = pods_report({10: waits(0.1, {}), 1000: waits(0.2, {})}, [], 1)
    assert missed(made) == [f"node has {state}: 1,000 files to 10" for state in State]


def test_a_listing_is_missed() -> None:
    assert "listings" in missed(pods_report({10: waits(0.1, {LISTING: 1})}, [], 1))


def test_what_a_crowd_leaves_behind_is_missed() -> None:
    more = replace(HELD, descriptors={**HELD.descriptors, "keeper": 8}, processes=6)
    left = replace(CALM, mounts=2, left=["mount at /x"], after=more)
    assert missed(pods_report({10: waits(0.1, {})}, [left], 1)) == [
        "crowd: mounts more than datasets",
        "crowd: left behind",
        "crowd: descriptors more",
        "crowd: processes more",
    ]


def test_pods_that_see_nothing_of_a_kill_are_fine() -> None:
    assert missed(chaos_report(SEEN, 1, 1)) == []


def test_errors_wrong_bytes_and_leftovers_are_missed() -> None:
    reader = replace(READER, errors=1, wrong=2, last_error="a: gone")
    seen = replace(SEEN, readers=[reader], left=["mount at /x"], undone=3, failure="lost")
    assert missed(chaos_report(seen, 1, 1)) == [
        "blows left undone",
        "somebody did not recover",
        "errors",
        "wrong bytes",
        "left behind",
    ]


def test_a_dose_has_every_role_every_pair_and_every_step() -> None:
    acts = Counter(blow.act for blow in PodDose().blows(random.Random(1)))
    count = len(ROLES)
    assert acts[Act.KILL] == count + count * (count - 1) // 2
    assert (acts[Act.PUBLISH], acts[Act.UNPUBLISH]) == (8, 5)
    assert PodDose(0, 0, 0, 0, 0).blows(random.Random(1)) == []
