"""Who serves the mounts of a node, and what each of them holds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.commands import Headrace
from bench.dose import ROLES
from bench.processes import descriptor_count, private_bytes, share_bytes, thread_count

ZYGOTE = "zygote"
ZYGOTE_MODULE = b"vfs.mounting.zygote"
REST_SECONDS = 20.0
"""So long a thread stays that has nothing to do, and a little more."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one process holds."""

    descriptors: int
    threads: int
    private_bytes: int
    share_bytes: int

    @classmethod
    def of(cls, pid: int) -> Holding:
        """Look at a live process."""
        return cls(descriptor_count(pid), thread_count(pid), private_bytes(pid), share_bytes(pid))


Census = Mapping[str, Sequence[Holding]]
"""All processes by role."""


def servers(command: Headrace) -> dict[str, list[int]]:
    """Return who serves the mounts of *command*, the pids by role, as `headrace list` tells."""
    found: dict[str, set[int]] = {role: set() for role in ROLES}
    for row in json.loads(command.run("list", "--json")):
        found["worker"].update(row["workers"])
        for role in ("supervisor", "keeper", "cachesvc"):
            found[role].update([row[role]] if row[role] else [])
    return {role: sorted(pids) for role, pids in found.items()}


def at_rest(command: Headrace) -> Census:
    """Return who holds what once nobody has anything to do any more."""
    time.sleep(REST_SECONDS)
    found = servers(command)
    found[ZYGOTE] = [pid for pid in command.family.pids() if is_zygote(pid, found["worker"])]
    return {role: list(map(Holding.of, pids)) for role, pids in found.items()}


def is_zygote(pid: int, workers: Sequence[int]) -> bool:
    """Say whether workers are forked from a process; they have its command line."""
    with suppress(OSError):  # it has ended
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return ZYGOTE_MODULE in command.split(b"\0") and pid not in workers
    return False


def most(holdings: Sequence[Holding], what: str) -> int:
    """Return the largest value of a field, 0 when there is nobody."""
    return max((getattr(holding, what) for holding in holdings), default=0)


def total(holdings: Sequence[Holding], what: str) -> int:
    """Return the sum of a field."""
    return sum(getattr(holding, what) for holding in holdings)


def growth(before: Census, after: Census, what: str) -> int:
    """Return by how much the largest value in any role is larger than before."""
    return max(most(after[role], what) - most(before[role], what) for role in before)


def as_figures(census: Census) -> dict[str, list[dict[str, int]]]:
    """Return what JSON can say of a census."""
    return {role: list(map(asdict, holdings)) for role, holdings in census.items()}
