"""Reading what the node's cache holds: for the first time since the mount, and again.

The native file system is read beside it, in the same rounds. Its first read comes from the disk,
and its names and attributes are in memory already: that makes it look good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from bench.cost import Cost, cost_of
from bench.measure import Samples, interleaved
from bench.peers import LocalMounted, LocalPeer
from bench.peers.headrace import HeadraceMounts
from bench.peers.native import Native
from bench.report import Bar, Report, Sheet, spread
from bench.workloads import Workload, read_all, read_all_by_open

MIB = 1 << 20
WORKLOADS = (
    Workload("one large file", 1, 256 * MIB),
    Workload("2,000 files of 4 KB", 2000, 4_000),
    Workload("2,000 files of 110 KB", 2000, 110_000),
)
REREAD_BAR = 0.5
COLUMNS = (
    "workload",
    "read",
    "peer",
    "MB/s",
    "ms",
    "of native",
    "CPU ms",
    "CPU to native",
    "of it",
)


class Phase(StrEnum):
    """What the kernel has of the files when they are read, and how they are."""

    FIRST = "first"
    AGAIN = "again"
    AGAIN_BY_OPEN = "again, open()"


READERS = {
    Phase.FIRST: read_all,
    Phase.AGAIN: read_all,
    Phase.AGAIN_BY_OPEN: read_all_by_open,
}


class WrongBytesError(Exception):
    """A peer shows other bytes than the dataset holds."""


@dataclass(frozen=True, slots=True)
class Figures:
    """All passes of one peer over one workload in one phase, round by round."""

    workload: Workload
    phase: Phase
    peer: str
    costs: Sequence[Cost]

    @property
    def wall(self) -> Samples:
        """Seconds of wall-clock time."""
        return Samples(tuple(cost.seconds for cost in self.costs))

    @property
    def cpu(self) -> Samples:
        """CPU seconds of everybody who took part."""
        return Samples(tuple(sum(cost.cpu_seconds.values()) for cost in self.costs))

    def cpu_of(self, role: str) -> Samples:
        """Return the CPU seconds of one role."""
        return Samples(tuple(cost.cpu_seconds[role] for cost in self.costs))

    def as_json(self, native: Figures) -> dict[str, Any]:
        """Return everything that was measured."""
        return {
            "workload": self.workload.name,
            "read": self.phase,
            "peer": self.peer,
            "wall_seconds": self.wall,
            "speed_to_native": native.wall.over(self.wall),
            "cpu_seconds": self.cpu,
            "cpu_to_native": self.cpu.over(native.cpu),
            "cpu_seconds_by_role": {role: self.cpu_of(role) for role in self.costs[0].cpu_seconds},
        }

    def as_cells(self, native: Figures) -> list[str]:
        """Return the row that shows it."""
        roles = ", ".join(
            f"{role} {self.cpu_of(role).median * 1e3:.1f}" for role in self.costs[0].cpu_seconds
        )
        return [
            self.workload.name,
            self.phase,
            self.peer,
            f"{self.workload.byte_count / 1e6 / self.wall.median:,.0f}",
            spread(self.wall.times(1e3)),
            spread(native.wall.over(self.wall), 2),
            spread(self.cpu.times(1e3)),
            spread(self.cpu.over(native.cpu), 2),
            roles,
        ]


def run(scratch: Path, rounds: int, say: Callable[[str], None]) -> Report:
    """Play all workloads on all peers, with everything they write below *scratch*."""
    figures: list[tuple[Figures, Figures]] = []
    for workload in WORKLOADS:
        say(f"{workload.name}: {rounds} rounds")
        with scene(workload, scratch / f"{workload.file_count}-{workload.file_size}") as mounts:
            figures += with_native(workload, play(workload, mounts, rounds))
    return report(figures, rounds)


def peers() -> Sequence[LocalPeer]:
    """Return who is measured; native comes first."""
    return (Native(), HeadraceMounts())


@contextmanager
def scene(workload: Workload, scratch: Path) -> Iterator[dict[str, LocalMounted]]:
    """Make a workload's files and show them through every peer, everything in its cache."""
    dataset = scratch / "dataset"
    workload.make(dataset)
    with ExitStack() as stack:
        mounts: dict[str, LocalMounted] = {}
        for peer in peers():
            own = scratch / peer.name
            own.mkdir()
            mounts[peer.name] = stack.enter_context(peer.mounted(dataset, own))
            warm_up(workload, dataset, mounts[peer.name].path)
        yield mounts


def warm_up(workload: Workload, dataset: Path, shown: Path) -> None:
    """Read every byte once, and compare it with the dataset."""
    for path in workload.paths():
        if (shown / path).read_bytes() != (dataset / path).read_bytes():
            raise WrongBytesError(f"{shown / path} is not what the dataset holds")


def play(
    workload: Workload, mounts: Mapping[str, LocalMounted], rounds: int
) -> dict[str, list[dict[Phase, Cost]]]:
    """Return the costs of every round, by peer."""
    cases = {name: partial(one_round, workload, mounted) for name, mounted in mounts.items()}
    return interleaved(cases, rounds)


def one_round(workload: Workload, mounted: LocalMounted, _number: int) -> dict[Phase, Cost]:
    """Read all files when the kernel has none of their bytes, then again."""
    mounted.forget()
    paths = workload.paths()
    pids = {role: list(pids) for role, pids in mounted.servers().items()}
    return {phase: cost_of(partial(READERS[phase], mounted.path, paths), pids) for phase in Phase}


def with_native(
    workload: Workload, costs: Mapping[str, Sequence[Mapping[Phase, Cost]]]
) -> Iterator[tuple[Figures, Figures]]:
    """Yield the figures of each phase and peer, and those of the native file system."""
    for phase in Phase:
        each = [
            Figures(workload, phase, peer, [one[phase] for one in rounds])
            for peer, rounds in costs.items()
        ]
        yield from ((figures, each[0]) for figures in each)


def report(figures: Sequence[tuple[Figures, Figures]], rounds: int) -> Report:
    """Return the tables and bars."""
    rows = [each.as_cells(native) for each, native in figures]
    return Report(
        scenario="read",
        notes=[
            f"medians (quartiles) of {rounds} interleaved rounds; ratios are taken round by round",
            "one process reads; of native: native time over this time",
            "first: the mount is new and the node's cache warm; native reads from its disk, "
            "with names and attributes in memory",
            "again: the kernel's page cache is warm for all",
            "open(): as Python's does it, which asks of every file whether it is a terminal",
        ],
        sheets=[Sheet("reading", COLUMNS, rows)],
        bars=[
            Bar(
                f"{each.peer}, {each.workload.name} {each.phase}: speed to native",
                native.wall.over(each.wall).median,
                REREAD_BAR,
                at_most=False,
            )
            for each, native in figures
            if each is not native and each.phase is not Phase.FIRST and each.workload.file_count > 1
        ],
        figures=[each.as_json(native) for each, native in figures],
    )
