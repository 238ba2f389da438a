"""Whole files, small and large: cold, warm, and again.

*Cold*: the mount is new and the node has nothing. *Reread*: once more, by the same mount, from the
kernel's page cache. *Reread, open()*: as Python's open() does it. *Warm*: another new mount, the
node's cache is there and in memory. *Warm, disk*: the same, but none of that cache is in memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bench.latency import Shape
from bench.passes import Watch
from bench.peers import Cache, Mounted, Offer, PeerFailedError
from bench.peers.everybody import ONLY_AT_START
from bench.peers.wire import WireOffer
from bench.results import Figure
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, NEAR, Stored
from bench.workloads import Workload, dealt, read_all, read_all_by_open

SCENARIO = "files"
SEED = 20


class Phase(StrEnum):
    """What is there already when files are read."""

    COLD = "cold"
    REREAD = "reread"
    REREAD_BY_OPEN = "reread, open()"
    WARM = "warm"
    WARM_ON_DISK = "warm, disk"


MOUNTS: Mapping[Cache, Sequence[Phase]] = {
    Cache.EMPTY: (Phase.COLD, Phase.REREAD, Phase.REREAD_BY_OPEN),
    Cache.KEPT: (Phase.WARM,),
    Cache.ON_DISK: (Phase.WARM_ON_DISK,),
}
"""Which passes each mount of a round sees, one after the other."""
WORK: Mapping[Phase, Callable[[Path, Sequence[str]], int]] = {
    phase: read_all_by_open if phase is Phase.REREAD_BY_OPEN else read_all for phase in Phase
}


@dataclass(frozen=True, slots=True)
class Shot:
    """Files of one size, and how they are read."""

    size_name: str
    file_size: int
    file_count: int
    readers: int
    shuffled: bool
    shape: Shape = FAR

    def workload(self, scale: float) -> Workload:
        """Return *scale* of the files."""
        count = max(round(self.file_count * scale), self.readers)
        order = "shuffled" if self.shuffled else "in order"
        near = ", no latency" if self.shape is NEAR else ""
        name = f"{count} x {self.size_name}, {self.readers} readers, {order}{near}"
        return Workload(name, count, self.file_size)

    def order(self, paths: Sequence[str], number: int) -> Sequence[str]:
        """Return the paths in the order of one round."""
        if not self.shuffled:
            return paths
        return random.Random(SEED + number).sample(paths, len(paths))


SMALL = Shot("110 KB", 110_000, 200, 8, shuffled=True)
MIDDLING = Shot("323 KB", 323_000, 120, 8, shuffled=False)
LARGE = Shot("5 MB", 5_000_000, 16, 4, shuffled=False)
HUGE = Shot("150 MB", 150_000_000, 1, 1, shuffled=False)
SCAN = Shot("110 KB", 110_000, 1500, 8, shuffled=False)
"""Long enough that what is fetched ahead, and not how it begins, decides."""
TELLING = (SMALL, HUGE)
MORE = (
    SCAN,
    MIDDLING,
    replace(SMALL, readers=16, shuffled=False),
    replace(SMALL, shape=NEAR),
    LARGE,
)
STILL_MORE = (
    Shot("110 KB", 110_000, 100, 1, shuffled=False),
    replace(SMALL, readers=4),
    replace(MIDDLING, readers=16, shuffled=True),
    Shot("1 MB", 1_000_000, 160, 4, shuffled=True),
    replace(LARGE, readers=8, shuffled=True),
)
SHOTS: Mapping[str, Sequence[Shot]] = {
    "quick": (SMALL,),
    "normal": TELLING,
    "full": TELLING + MORE,
    "long": TELLING + MORE + STILL_MORE,
}
"""By dose: the whole grid would tell hardly more than this."""


def run(session: Session, phases: Collection[Phase] = tuple(Phase)) -> None:
    """Play the shots of the session's dose; report *phases* only."""
    cells: list[tuple[Cell, OneRound]] = []
    for shot in SHOTS[session.dose.name]:
        workload = shot.workload(session.dose.scale)
        telling = shot in TELLING
        cell = Cell(SCENARIO, workload.name, workload, shot.shape, ONLY_AT_START, telling)
        cells.append((cell, round_of(session, shot, workload, phases)))
    session.play(cells)


def round_of(
    session: Session, shot: Shot, workload: Workload, phases: Collection[Phase]
) -> OneRound:
    """Return what plays one round of a shot."""

    def one_round(offer: Offer, stored: Stored, number: int) -> Found:
        shares = dealt(shot.order(workload.paths(), number), shot.readers)
        found: dict[tuple[str, Figure], float] = {}
        if isinstance(offer, WireOffer):
            figures = offer.fetched(session.watch(stored), workload)
            return {(Phase.COLD.value, figure): value for figure, value in figures.items()}
        for cache, wanted in needed(phases).items():
            with offer.mounted(cache) as mounted:
                for phase in wanted:
                    figures = look(session.watch(stored), mounted, phase, workload, shares)
                    found |= {(phase.value, figure): value for figure, value in figures.items()}
                compare(stored.directory, mounted.path, shares[0][0])
        return {key: value for key, value in found.items() if key[0] in phases}

    return one_round


def needed(phases: Collection[Phase]) -> Mapping[Cache, Sequence[Phase]]:
    """Return the mounts that have to be made to see *phases*, and what each has to see."""
    mounts = {cache: some if set(some) & set(phases) else () for cache, some in MOUNTS.items()}
    # Whatever is kept has to be fetched first.
    mounts[Cache.EMPTY] = mounts[Cache.EMPTY] or (Phase.COLD,)
    return {cache: some for cache, some in mounts.items() if some}


def look(
    watch: Watch,
    mounted: Mounted,
    phase: Phase,
    workload: Workload,
    shares: Sequence[Sequence[str]],
) -> Mapping[Figure, float]:
    """Play one pass and return its figures; what was read has to be as long as it should be."""
    done = watch.one_pass(mounted, WORK[phase], shares)
    if sum(done.reading.results) != workload.byte_count:
        raise PeerFailedError(f"{phase}: not all of {workload.byte_count} bytes were there")
    return done.figures(workload.file_count, workload.byte_count)


def compare(original: Path, shown: Path, path: str) -> None:
    """See that a peer shows the very bytes of one file, once it has been measured."""
    if (shown / path).read_bytes() != (original / path).read_bytes():
        raise PeerFailedError(f"{path} is not what the dataset holds")
