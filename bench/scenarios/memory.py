"""Private memory of everybody who serves a mount while very many small files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.peers.headrace import HeadraceMounts
from bench.processes import private_bytes
from bench.report import Bar, Report, Sheet
from bench.workloads import Workload, read_all

MIB = 1 << 20
FILE_SIZE = 1_000
LOOKS = 20
LIMIT_MIB = 150.0

Memory = dict[str, float]
"""MiB by process."""


def run(scratch: Path, file_count: int, say: Callable[[str], None]) -> Report:
    """Read *file_count* files, and look at the servers' memory before, meanwhile and after."""
    workload = Workload(f"{file_count:,} files of 1 KB", file_count, FILE_SIZE)
    say(f"making {workload.name}")
    dataset = scratch / "dataset"
    workload.make(dataset)
    own = scratch / "headrace"
    own.mkdir()
    with HeadraceMounts().mounted(dataset, own) as mounted:
        say("reading them")
        looks = read_and_look(mounted.path, workload.paths(), mounted.servers())
    return report(workload, looks)


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
