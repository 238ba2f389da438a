"""First reads from the warm node cache by several processes, served by one worker or by two."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, NamedTuple

from bench.cost import READER, Cost, cost_of
from bench.measure import Samples, interleaved
from bench.peers import LocalMounted
from bench.peers.headrace import HeadraceMounts
from bench.report import Bar, Report, Sheet, spread
from bench.workloads import Workload, read_all

WORKLOADS = (
    Workload("2,000 files of 4 KB", 2_000, 4_000),
    Workload("1,000 files of 110 KB", 1_000, 110_000),
)
READERS = (4, 8)
WORKERS = (1, 2)
COLUMNS = ("workload", "readers", "workers", "ms", "speed to 1", "CPU ms", "of it")


class Case(NamedTuple):
    """So many processes read what so many workers serve."""

    readers: int
    workers: int


def run(scratch: Path, rounds: int, say: Callable[[str], None]) -> Report:
    """Play all workloads, with everything they write below *scratch*."""
    costs: dict[Workload, Mapping[Case, Sequence[Cost]]] = {}
    for number, workload in enumerate(WORKLOADS):
        say(f"{workload.name}: {rounds} rounds")
        with scene(workload, scratch / str(number)) as cases:
            costs[workload] = interleaved(cases, rounds)
    return report(costs, rounds)


@contextmanager
def scene(workload: Workload, scratch: Path) -> Iterator[dict[Case, Callable[[int], Cost]]]:
    """Mount a workload's files once for each number of workers, everything in the cache."""
    dataset = scratch / "dataset"
    workload.make(dataset)
    with ExitStack() as stack:
        pools = {count: stack.enter_context(pool(count)) for count in READERS}
        cases: dict[Case, Callable[[int], Cost]] = {}
        for workers in WORKERS:
            own = scratch / f"workers-{workers}"
            own.mkdir()
            peer = HeadraceMounts("--workers", str(workers))
            mounted = stack.enter_context(peer.mounted(dataset, own))
            read_all(mounted.path, workload.paths())
            for readers in READERS:
                case = Case(readers, workers)
                cases[case] = partial(one_round, workload, mounted, pools[readers], readers)
        yield cases


@contextmanager
def pool(size: int) -> Iterator[Pool]:
    """Give processes that are ready to read."""
    with multiprocessing.get_context("spawn").Pool(size) as processes:
        yield processes


def one_round(
    workload: Workload, mounted: LocalMounted, processes: Pool, count: int, _number: int
) -> Cost:
    """Read all files when the kernel has none of their bytes, each process its share."""
    mounted.forget()
    shares = [(mounted.path, share) for share in shares_of(workload.paths(), count)]
    spent: list[float] = []
    cost = cost_of(
        lambda: spent.extend(processes.starmap(read_share, shares, chunksize=1)), mounted.servers()
    )
    return Cost(cost.seconds, {**cost.cpu_seconds, READER: sum(spent)})


def shares_of(paths: Sequence[str], count: int) -> list[Sequence[str]]:
    """Divide *paths* among so many readers: each gets the files of other directories."""
    size = -(-len(paths) // count)
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def read_share(root: Path, paths: Sequence[str]) -> float:
    """Read files, and return the CPU seconds that it took."""
    before = time.process_time()
    read_all(root, paths)
    return time.process_time() - before


def report(costs: Mapping[Workload, Mapping[Case, Sequence[Cost]]], rounds: int) -> Report:
    """Return the table and the bars."""
    rows: list[list[str]] = []
    bars: list[Bar] = []
    figures: list[dict[str, Any]] = []
    for workload, cases in costs.items():
        for case, each in cases.items():
            wall = Samples(tuple(cost.seconds for cost in each))
            one = Samples(tuple(cost.seconds for cost in cases[Case(case.readers, WORKERS[0])]))
            gain = one.over(wall)
            cpu = {
                role: Samples(tuple(cost.cpu_seconds[role] for cost in each))
                for role in each[0].cpu_seconds
            }
            total = Samples(tuple(sum(cost.cpu_seconds.values()) for cost in each))
            rows.append(
                [
                    workload.name,
                    str(case.readers),
                    str(case.workers),
                    spread(wall.times(1e3)),
                    spread(gain, 2),
                    spread(total.times(1e3)),
                    ", ".join(f"{role} {one.median * 1e3:.1f}" for role, one in cpu.items()),
                ]
            )
            figures.append(
                {"workload": workload.name, **case._asdict(), "seconds": wall, "cpu_seconds": cpu}
            )
            if case.workers > 1:
                what = f"{workload.name}, {case.readers} readers: speed of 2 workers to 1"
                bars.append(Bar(what, gain.median, 1.0, at_most=False))
    return Report(
        scenario="workers",
        notes=[
            f"medians (quartiles) of {rounds} interleaved rounds; ratios are taken round by round",
            "the mount is new and the node's cache warm; readers are processes, each with a share "
            "of the files",
            "readers and workers share the machine's cores: a second worker helps only as far as "
            "one is left idle",
        ],
        sheets=[Sheet("first reads", COLUMNS, rows)],
        bars=bars,
        figures=figures,
    )
