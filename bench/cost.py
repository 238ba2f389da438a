"""What a piece of work costs: time, and the CPU time of everybody who took part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.processes import cpu_seconds

READER = "reader"
"""The role of the process that measures: it is the one that reads."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall-clock seconds, and CPU seconds by role."""

    seconds: float
    cpu_seconds: Mapping[str, float]


def cost_of(work: Callable[[], object], servers: Mapping[str, Sequence[int]]) -> Cost:
    """Do some work and return what it cost this process and *servers*, pids by role."""
    before = _cpu_by_role(servers)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    after = _cpu_by_role(servers)
    return Cost(seconds, {role: after[role] - before[role] for role in after})


def _cpu_by_role(servers: Mapping[str, Sequence[int]]) -> dict[str, float]:
    theirs = {role: sum(map(cpu_seconds, pids)) for role, pids in servers.items()}
    return {READER: time.process_time(), **theirs}
