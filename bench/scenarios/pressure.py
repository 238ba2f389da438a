"""What it costs that bytes lie in the pages of the mount and of LMDB when memory is short.

Readers and servers share a control group that may keep a multiple of the dataset. Files are read in
random order: once with nothing in memory, then again and again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.measure import Samples, interleaved, merged
from bench.memorygroup import MemoryGroup, bytes_in_memory, memory_group
from bench.peers import Cache
from bench.peers.published import HeadraceOffer, HeadraceS3, HeadraceShown
from bench.processes import bytes_read_from_disk
from bench.readers import Readers
from bench.report import Report, Sheet, spread
from bench.site import NEAR, stored
from bench.workloads import Workload, dealt, read_all, read_directly

WORKLOAD = Workload("600 files of 323 KB", 600, 323_000)
READERS = 4
SEED = 26
AGAIN = 3
PASS_SECONDS = 300.0
PRIVATE_BYTES = 32 << 20
"""What processes allocate anew after they were put into the group, and what the kernel adds."""
FACTORS: Mapping[str, float | None] = {"no limit": None, "1.5 times": 1.5, "0.75 times": 0.75}
"""What the group may keep, in datasets."""

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """How much memory there is, and how files are opened."""

    memory: str
    direct: bool
    """O_DIRECT: the kernel keeps no pages of the mount, so that bytes lie in LMDB's only."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        return f"{self.memory}, O_DIRECT" if self.direct else self.memory


CASES = [Case(memory, direct) for memory in FACTORS for direct in (False, True)]


def run(scratch: Path, repeats: int, say: Callable[[str], None]) -> Report:
    """Play all cases in each round."""
    dataset, own = scratch / "data", scratch / "headrace"
    WORKLOAD.make(dataset)
    own.mkdir()
    with (
        stored(dataset, WORKLOAD.paths(), NEAR) as place,
        HeadraceS3().offered(place, own) as offer,
    ):
        with offer.mounted(Cache.EMPTY) as mounted:
            read_all(mounted.path, WORKLOAD.paths())
        say(f"{repeats} rounds of {len(CASES)} cases")
        rounds = interleaved({case: partial(play, offer, case) for case in CASES}, repeats)
    return report({case: merged(found) for case, found in rounds.items()})


def play(offer: HeadraceOffer, case: Case, number: int) -> Figures:
    """Play one case: with nothing in memory first, then again."""
    with (
        memory_group(f"headrace-bench-{os.getpid()}") as group,
        Readers() as readers,
        offer.mounted(Cache.ON_DISK) as mounted,
    ):
        group.adopt(mounted.pids())
        readers.do(join, mounted.path, [group] * READERS, PASS_SECONDS)
        factor = FACTORS[case.memory]
        if factor is not None:
            group.limit(round(WORKLOAD.byte_count * factor) + PRIVATE_BYTES)
        laps = [lap(readers, mounted, case, AGAIN * number + at) for at in range(1 + AGAIN)]
        kept = {"mount's pages": shown_in_memory(mounted), "LMDB's pages": store_in_memory(offer)}
    return {**laps[0], **{f"again, {name}": value for name, value in laps[-1].items()}, **kept}


def lap(readers: Readers, mounted: HeadraceShown, case: Case, seed: int) -> Figures:
    """Read everything once."""
    paths = random.Random(SEED + seed).sample(WORKLOAD.paths(), WORKLOAD.file_count)
    pids = mounted.pids()
    before = sum(map(bytes_read_from_disk, pids))
    work = read_directly if case.direct else read_all
    reading = readers.do(work, mounted.path, dealt(paths, READERS), PASS_SECONDS)
    fetched = sum(map(bytes_read_from_disk, pids)) - before
    return {
        "MB/s": WORKLOAD.byte_count / 1e6 / reading.seconds,
        "from disk": fetched / WORKLOAD.byte_count,
    }


def join(_root: Path, group: MemoryGroup) -> None:
    """Have this reader counted in the group."""
    group.adopt([os.getpid()])


def shown_in_memory(mounted: HeadraceShown) -> float:
    """Return which part of the dataset the kernel has as the mount's pages."""
    found = sum(bytes_in_memory(mounted.path / path) for path in WORKLOAD.paths())
    return found / WORKLOAD.byte_count


def store_in_memory(offer: HeadraceOffer) -> float:
    """Return how much of the node's cache the kernel has, in datasets."""
    files = (offer.scratch / "cache").rglob("data.mdb")
    return sum(map(bytes_in_memory, files)) / WORKLOAD.byte_count


def report(found: Mapping[Case, Mapping[str, Samples]]) -> Report:
    """Return the table. There is no bar: nothing here is promised."""
    names = list(next(iter(found.values())))
    rows = [
        [case.name, *(spread(figures[name], 0 if "MB/s" in name else 2) for name in names)]
        for case, figures in found.items()
    ]
    return Report(
        scenario="pressure",
        notes=[
            f"{WORKLOAD.name} by {READERS} readers in random order; the first time nothing is in "
            f"memory, and again is the last of {AGAIN} more times",
            "from disk: bytes that servers read from the disk for each byte read; pages: what the "
            "kernel keeps at the end, in datasets",
        ],
        sheets=[Sheet("memory for readers and servers, in datasets", ("memory", *names), rows)],
        bars=[],
        figures={case.name: figures for case, figures in found.items()},
    )
