"""What can be done to those who serve a node's volumes, and how often. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

PROGRAMS = ("node", "mounter", "keeper")
ROLES = (*PROGRAMS, "supervisor", "zygote", "worker", "cachesvc")
STOPPED = ("worker", "supervisor", "mounter")
PUBLISH_STEPS = (
    "check",
    "compare",
    "resolve",
    "acquire",
    "intent",
    "mkdir",
    "bind",
    "done",
)
UNPUBLISH_STEPS = ("check", "detach", "rmdir", "forget", "release")


class Act(StrEnum):
    """What is done."""

    KILL = "kill"
    STOP = "stop"
    UPGRADE = "upgrade"
    PUBLISH = "driver killed in publish"
    UNPUBLISH = "driver killed in unpublish"


@dataclass(frozen=True, slots=True)
class Blow:
    """Do *act* to all of these at once: roles, or the one step at which the driver is to die."""

    act: Act
    what: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called in a report."""
        return f"{self.act}: {' + '.join(self.what)}"


@dataclass(frozen=True, slots=True)
class PodDose:
    """How often each is done: one of each role killed, any two, each step, and so on."""

    kills: int = 1
    pairs: int = 1
    steps: int = 1
    stops: int = 1
    upgrades: int = 1

    def blows(self, chance: random.Random) -> list[Blow]:
        """Return all of them in random order."""
        dealt = [
            *([Blow(Act.KILL, (role,)) for role in ROLES] * self.kills),
            *([Blow(Act.KILL, pair) for pair in combinations(ROLES, 2)] * self.pairs),
            *([Blow(Act.PUBLISH, (step,)) for step in PUBLISH_STEPS] * self.steps),
            *([Blow(Act.UNPUBLISH, (step,)) for step in UNPUBLISH_STEPS] * self.steps),
            *([Blow(Act.STOP, (role,)) for role in STOPPED] * self.stops),
            *([Blow(Act.UPGRADE, (program,)) for program in PROGRAMS] * self.upgrades),
        ]
        chance.shuffle(dealt)
        return dealt
