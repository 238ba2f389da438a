"""Private memory of everybody who serves a mount while very many small files are read."""

from __future__ import annotations

import random
import time
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
PLANNING_LIMITS_MIB = {"cachesvc": 512.0}
"""Of those who may have more while orders are announced."""
SMALL_CACHE = "64M"
"""Full long before all files were read."""
ANNOUNCING_SECONDS = 300.0
SEED = 25

Memory = dict[str, float]
"""MiB by process."""


def run(
    scratch: Path, file_count: int, lookups: int, announced: int, say: Callable[[str], None]
) -> Report:
    """Read *file_count* files, then look up names; look at the servers' memory all the time.

    So many reads are *announced* then, if any: on another mount, to a small cache that is full.
    """
    workload = Workload(f"{file_count:,} files of 1 KB", file_count, FILE_SIZE)
    say(f"making {workload.name}")
    dataset = scratch / "dataset"
    workload.make(dataset)
    found = read_and_looked_up(scratch, dataset, workload, lookups, say)
    if not announced:
        return found
    say(f"announcing {announced:,} reads")
    return with_plan(found, announced, plan_and_look(scratch, dataset, workload, announced))


def read_and_looked_up(
    scratch: Path, dataset: Path, workload: Workload, lookups: int, say: Callable[[str], None]
) -> Report:
    """Return what reading, and looking up if that is wanted, took."""
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


def plan_and_look(scratch: Path, dataset: Path, workload: Workload, announced: int) -> list[Memory]:
    """Announce so many reads to a full cache, and make the first; return the memory meanwhile."""
    own, order = scratch / "planning", scratch / "order"
    own.mkdir()
    paths = shuffled_for_ever(workload.paths(), announced)
    order.write_text("".join(f"{path}\n" for path in paths))
    with HeadraceMounts("--cache-size", SMALL_CACHE).mounted(dataset, own) as mounted:
        servers = mounted.servers()
        read_all(mounted.path, workload.paths())
        looks = [memory_of(servers)]
        with mounted.announced(order):
            deadline = time.monotonic() + ANNOUNCING_SECONDS
            while mounted.reads_announced() < announced:
                looks.append(memory_of(servers))
                if time.monotonic() > deadline:
                    raise TimeoutError(f"only {mounted.reads_announced():,} reads were announced")
            return [*looks, *read_and_look(mounted.path, paths[: workload.file_count], servers)]


def shuffled_for_ever(paths: Sequence[str], total: int) -> list[str]:
    """Return *total* reads of *paths*, epoch after epoch, each in an order of its own."""
    chance = random.Random(SEED)
    epochs = -(-total // len(paths))
    return [path for _ in range(epochs) for path in chance.sample(paths, len(paths))][:total]


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


def with_plan(read: Report, announced: int, looks: Sequence[Memory]) -> Report:
    """Add what became of the memory while so many reads were announced."""
    most = {name: max(look[name] for look in looks) for name in looks[0]}
    rows = [[name, f"{looks[0][name]:.1f}", f"{most[name]:.1f}"] for name in most]
    title = f"private memory, MiB, {announced:,} reads announced"
    return replace(
        read,
        notes=[
            *read.notes,
            f"{announced:,} reads were announced to a cache of {SMALL_CACHE}B that was full; "
            "files were read in that order meanwhile",
        ],
        sheets=[*read.sheets, Sheet(title, ("process", "before", "most"), rows)],
        bars=[
            *read.bars,
            *(
                Bar(f"{name}, with an order announced", mib, planning_limit(name), True, " MiB")
                for name, mib in most.items()
            ),
        ],
        figures={"others": read.figures, "announced": list(looks)},
    )


def planning_limit(name: str) -> float:
    """Return how much the process with this *name* may have while orders are announced."""
    return PLANNING_LIMITS_MIB.get(name.partition(" ")[0], LIMIT_MIB)


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
