"""Many idle mounts on one node: the memory, descriptors and time that each more of them costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.census import Census, Holding, as_figures, at_rest, most, total
from bench.commands import Headrace, UnmountFailedError
from bench.measure import Samples
from bench.report import Bar, Report, Sheet, spread
from bench.workloads import Workload, read_all

WORKLOAD = Workload("200 files of 1 KB", 200, 1_000)
MIB = 1 << 20
SHARE_LIMIT_MIB = 15.0
"""Memory that a mount more may cost, with one worker."""
DESCRIPTORS_LIMIT = 4
"""Descriptors that a mount more may cost supervisor and keeper."""
TIME_LIMIT = 2.0
"""How many times as long the last mounts may take as the first."""


@dataclass(frozen=True, slots=True)
class Looks:
    """The node with one mount and with many, and how long each took to mount."""

    count: int
    one: Census
    many: Census
    seconds: Sequence[float]
    left: Sequence[str] = ()
    """Mounts that did not go away as they should."""

    def each(self, roles: Sequence[str], what: str) -> float:
        """Return by how much a field's sum over *roles* grows with each mount."""
        grown = (total(self.many[role], what) - total(self.one[role], what) for role in roles)
        return sum(grown) / (self.count - 1)

    def quarters(self) -> tuple[Samples, Samples]:
        """Return the times of the first quarter of the mounts, and of the last.

        The very first, which starts everybody, counts for neither.
        """
        size = max(1, self.count // 4)
        return Samples(tuple(self.seconds[1 : size + 1])), Samples(tuple(self.seconds[-size:]))


def run(scratch: Path, count: int, workers: int, say: Callable[[str], None]) -> Report:
    """Mount one dataset *count* times with so many *workers* each; look at who serves them."""
    dataset = scratch / "dataset"
    WORKLOAD.make(dataset)
    own = scratch / "headrace"
    own.mkdir()
    command = Headrace.below(own, {})
    command.run("snapshot", str(dataset))
    left: list[str] = []
    with command.cache_service_stopped_after(), ExitStack() as mounts:
        mounting = (
            mounts.enter_context(
                timed_mount(command, own / f"mount{number}", dataset, workers, left)
            )
            for number in range(count)
        )
        say(f"mounting {count} times")
        first, one = next(mounting), at_rest(command)
        others, many = list(mounting), at_rest(command)
        say("unmounting")
    return report(Looks(count, one, many, [first, *others], left), workers)


@contextmanager
def timed_mount(
    command: Headrace, mountpoint: Path, dataset: Path, workers: int, left: list[str]
) -> Iterator[float]:
    """Mount for the length of a block, read it once, and give the time that mounting took.

    That it does not go away afterwards is added to *left*.
    """
    begin = time.perf_counter()
    options = ("--workers", str(workers))
    try:
        with command.mounted(mountpoint, str(dataset), *options) as mount:
            seconds = time.perf_counter() - begin
            read_all(mount, WORKLOAD.paths())
            yield seconds
    except UnmountFailedError as error:
        left.append(str(error))


def report(looks: Looks, workers: int) -> Report:
    """Return the tables and bars."""
    first, last = looks.quarters()
    return Report(
        scenario="mounts",
        notes=[
            f"one dataset ({WORKLOAD.name}) mounted {looks.count} times, workers of each: "
            f"{workers}; every mount was read once, then nobody had anything to do",
            "private: RssAnon + RssShmem of the process that has most; share: what processes have "
            "in common is divided among them, so that the sum is what they take together",
            *looks.left,
        ],
        sheets=[holding_sheet(looks), time_sheet(first, last)],
        bars=bars(looks, last.median / first.median),
        figures={
            "seconds": looks.seconds,
            "one": as_figures(looks.one),
            "many": as_figures(looks.many),
            "left": looks.left,
        },
    )


def holding_sheet(looks: Looks) -> Sheet:
    """Return what each role holds with one mount and with many."""
    columns = ("", "processes", "private MiB", "share MiB, sum", "descriptors", "threads")
    rows = [
        [f"{role}, {count} mounted", *cells(census[role])]
        for role in looks.one
        for count, census in ((1, looks.one), (looks.count, looks.many))
    ]
    return Sheet("held", columns, rows)


def cells(holdings: Sequence[Holding]) -> list[str]:
    """Return what all of a role hold."""
    return [
        str(len(holdings)),
        f"{most(holdings, 'private_bytes') / MIB:.1f}",
        f"{total(holdings, 'share_bytes') / MIB:.1f}",
        str(most(holdings, "descriptors")),
        str(most(holdings, "threads")),
    ]


def time_sheet(first: Samples, last: Samples) -> Sheet:
    """Return how long `headrace mount` took, the very first apart."""
    rows = [[name, spread(each, 3)] for name, each in (("first", first), ("last", last))]
    return Sheet("headrace mount, seconds", ("quarter of the mounts", "median (quartiles)"), rows)


def bars(looks: Looks, slowdown: float) -> list[Bar]:
    """Return what a mount more may cost."""
    share = looks.each(tuple(looks.one), "share_bytes") / MIB
    descriptors = [
        Bar(
            f"descriptors of the {role} for each mount more",
            looks.each((role,), "descriptors"),
            DESCRIPTORS_LIMIT,
            at_most=True,
        )
        for role in ("supervisor", "keeper")
    ]
    return [
        Bar("memory for each mount more", share, SHARE_LIMIT_MIB, at_most=True, unit=" MiB"),
        *descriptors,
        Bar("time of the last mounts over the first", slowdown, TIME_LIMIT, at_most=True),
        Bar("unmounting failed", len(looks.left), 0, at_most=True),
    ]
