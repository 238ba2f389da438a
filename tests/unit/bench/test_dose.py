from __future__ import annotations

import random
from collections import Counter

from bench.dose import PAIRS, ROLES, Act, Blow, Dose

DOSE = Dose(workers=5, supervisors=2, caches=3, pairs=2, upgrades=8, switches=4)


def test_all_of_a_dose_is_dealt_out() -> None:
    victims = Counter(
        blow.victims for blow in DOSE.blows(random.Random(1)) if blow.act is Act.NOTHING
    )
    expected: dict[tuple[str, ...], int] = {("worker",): 5, ("supervisor",): 2, ("cachesvc",): 3}
    assert victims == expected | dict.fromkeys(PAIRS, 2)


def test_every_two_roles_make_a_pair() -> None:
    assert {frozenset(pair) for pair in PAIRS} >= {
        frozenset((one, other)) for one in ROLES for other in ROLES if one != other
    }


def test_somebody_is_killed_in_every_other_upgrade_each_role_in_turn() -> None:
    upgrades = [blow for blow in DOSE.blows(random.Random(1)) if blow.act is Act.UPGRADE]
    assert len(upgrades) == 8
    assert {blow.victims for blow in upgrades if blow.victims} == {(role,) for role in ROLES}
    assert sum(not blow.victims for blow in upgrades) == 4


def test_switches_are_dealt_out_apart() -> None:
    assert [blow.act for blow in DOSE.switch_blows()] == [Act.SWITCH] * 4
    assert Act.SWITCH not in {blow.act for blow in DOSE.blows(random.Random(1))}


def test_a_blow_has_a_name() -> None:
    assert Blow(Act.NOTHING, ("worker", "keeper")).name == "worker + keeper"
    assert Blow(Act.UPGRADE).name == "upgrade"
    assert Blow(Act.SWITCH, ("worker",)).name == "version switch, worker killed in it"
