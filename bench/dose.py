"""What harm is done to those who serve a mount, how often and in which order. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

ROLES = ("worker", "supervisor", "keeper", "cachesvc")
PAIRS = (*combinations(ROLES, 2), ("worker", "worker"))


class Act(StrEnum):
    """What goes on when processes are killed."""

    NOTHING = "kill"
    UPGRADE = "upgrade"
    SWITCH = "version switch"


@dataclass(frozen=True, slots=True)
class Blow:
    """Kill one process of each of the roles at once, in the middle of *act* if it is anything."""

    act: Act
    victims: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in a report."""
        killed = " + ".join(self.victims)
        if self.act is Act.NOTHING:
            return killed
        return f"{self.act}, {killed} killed in it" if killed else str(self.act)


@dataclass(frozen=True, slots=True)
class Dose:
    """How often each is done."""

    workers: int
    supervisors: int
    caches: int
    pairs: int
    """How often any two of the roles die at once."""
    upgrades: int
    switches: int

    def blows(self, chance: random.Random) -> list[Blow]:
        """Return kills and upgrades in random order; somebody is killed in every other upgrade."""
        single = {"worker": self.workers, "supervisor": self.supervisors, "cachesvc": self.caches}
        blows = [Blow(Act.NOTHING, (role,)) for role, count in single.items() for _ in range(count)]
        blows += [Blow(Act.NOTHING, pair) for pair in PAIRS * self.pairs]
        blows += disturbed(Act.UPGRADE, self.upgrades)
        chance.shuffle(blows)
        return blows

    def switch_blows(self) -> list[Blow]:
        """Return the version switches; somebody is killed in every other one."""
        return disturbed(Act.SWITCH, self.switches)


def disturbed(act: Act, count: int) -> list[Blow]:
    """Return *act* so many times, every other time with a victim, all roles in turn."""
    return [
        Blow(act, (ROLES[number // 2 % len(ROLES)],) if number % 2 else ())
        for number in range(count)
    ]
