"""Private memory of everybody who serves a mount while very many small files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.lookups import drop_names, look_up, with_missing
from bench.peers.headrace import HeadraceMounts
from bench.processes import cpu_seconds, private_bytes
from bench.report import Bar, Report, Sheet
from bench.workloads import Workload, read_all

MIB = 1 << 20
FILE_SIZE = 1_000
LOOKS = 20
NAMES = 10_000
"""So many names that are there are looked up before the kernel is made to forget them."""
GROWTH_LIMIT_MIB = 4.0
LIMIT_MIB = 150.0

Memory = dict[str, float]
"""MiB by process."""


def run(scratch: Path, file_count: int, lookups: int, say: Callable[[str], None]) -> Report:
    """Read *file_count* files, then look up names; look at the servers' memory all the time."""
    workload = Workload(f"{file_count:,} files of 1 KB", file_count, FILE_SIZE)
    say(f"making {workload.name}")
    dataset = scratch / "dataset"
    workload.make(dataset)
    own = scratch / "headrace"
    own.mkdir()
    with HeadraceMounts().mounted(dataset, own) as mounted:
        servers, paths = mounted.servers(), workload.paths()
        say("reading them")
        looks = read_and_look(mounted.path, paths, servers)
        if not lookups:
            return report(workload, looks)
        say(f"looking up {lookups:,} names")
        before = worker_seconds(servers)
        later = look_up_and_look(mounted.path, paths, lookups, servers)
        spent = (worker_seconds(servers) - before) / lookups
    return with_lookups(report(workload, looks), lookups, later, spent)


def read_and_look(
    root: Path, paths: Sequence[str], servers: Mapping[str, Sequence[int]]
) -> list[Memory]:
    """Read *paths* in `LOOKS` equal parts; return the memory before the first and after each."""
    looks = [memory_of(servers)]
    part = -(-len(paths) // LOOKS)
    for start in range(0, len(paths), part):
        read_all(root, paths[start : start + part])
        looks.append(memory_of(servers))
    return looks


def look_up_and_look(
    root: Path, paths: Sequence[str], total: int, servers: Mapping[str, Sequence[int]]
) -> list[Memory]:
    """Look up *total* names in `LOOKS` equal parts; return the memory after each."""
    looks: list[Memory] = []
    for _ in range(LOOKS):
        look_up(root, with_missing(paths[:NAMES]), total // LOOKS, drop_names)
        looks.append(memory_of(servers))
    return looks


def worker_seconds(servers: Mapping[str, Sequence[int]]) -> float:
    """Return the CPU time of all workers."""
    return sum(map(cpu_seconds, servers["workers"]))


def memory_of(servers: Mapping[str, Sequence[int]]) -> Memory:
    """Return the private memory of each process in MiB, by role and number."""
    return {
        f"{role} {number}": private_bytes(pid) / MIB
        for role, pids in servers.items()
        for number, pid in enumerate(pids, 1)
    }


def report(workload: Workload, looks: Sequence[Memory]) -> Report:
    """Return the table and bars."""
    names = list(looks[0])
    most = {name: max(look[name] for look in looks) for name in names}
    rows = [
        [name, f"{looks[0][name]:.1f}", f"{most[name]:.1f}", f"{looks[-1][name]:.1f}"]
        for name in names
    ]
    return Report(
        scenario="memory",
        notes=[
            "RssAnon + RssShmem of each process; pages of the LMDB map do not count",
            f"{workload.name}, read once by one process; looked at {LOOKS} times on the way",
        ],
        sheets=[Sheet("private memory, MiB", ("process", "mounted", "most", "at the end"), rows)],
        bars=[
            Bar(f"{name}, most", most[name], LIMIT_MIB, at_most=True, unit=" MiB") for name in names
        ],
        figures=list(looks),
    )


def with_lookups(
    read: Report, lookups: int, looks: Sequence[Memory], seconds_each: float
) -> Report:
    """Add what became of the memory while names were looked up."""
    quarter = looks[len(looks) // 4]
    growth = {name: looks[-1][name] - quarter[name] for name in quarter}
    rows = [
        [name, f"{looks[0][name]:.2f}", f"{quarter[name]:.2f}", f"{looks[-1][name]:.2f}"]
        for name in quarter
    ]
    columns = ("process", f"after {100 // LOOKS} %", "after 30 %", "at the end")
    return replace(
        read,
        notes=[
            *read.notes,
            f"{lookups:,} names were looked up, every other one not there, each by a request of "
            f"its own: the kernel was made to forget them; {seconds_each * 1e6:.0f} us of the "
            "workers' CPU time each",
        ],
        sheets=[*read.sheets, Sheet(f"private memory, MiB, {lookups:,} look-ups", columns, rows)],
        bars=[
            *read.bars,
            *(
                Bar(f"{name}, growth by look-ups", grown, GROWTH_LIMIT_MIB, True, " MiB")
                for name, grown in growth.items()
            ),
        ],
        figures={"reading": read.figures, "looking up": list(looks)},
    )
