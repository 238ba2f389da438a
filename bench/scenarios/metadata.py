"""Names and attributes: one directory listed, a tree walked, many files looked at.

Each on a new mount that knows nothing yet, and the walk once more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.passes import Pass, Watch
from bench.peers import Cache, Mounted, Offer, PeerFailedError
from bench.peers.everybody import NOT_MOUNTED
from bench.readers import Work
from bench.results import Figure
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.workloads import FILES_IN_DIRECTORY, dealt

SCENARIO = "metadata"
SEED = 24
FLAT, DEEP = "flat", "deep"
STATTERS = 4
ENTRIES_A_SECOND = Figure("entries/s")
CPU_AN_ENTRY = Figure("server CPU us/entry", more_is_better=False)
REQUESTS = Figure("requests", more_is_better=False)
COUNTS: Mapping[str, Sequence[int]] = {
    "quick": (100,),
    "normal": (2_000,),
    "full": (100, 4_000),
    "long": (100, 10_000, 100_000),
}


@dataclass(frozen=True, slots=True)
class Names:
    """So many tiny files in one directory, and as many in a tree."""

    count: int

    def paths(self) -> Sequence[str]:
        """Return where they lie."""
        numbers = range(self.count)
        flat = [f"{FLAT}/{number:07}" for number in numbers]
        return flat + [f"{DEEP}/{at // FILES_IN_DIRECTORY:05}/{at:07}" for at in numbers]

    def make(self, root: Path) -> None:
        """Write them, each with its own path in it."""
        for path in self.paths():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)


def run(session: Session) -> None:
    """Play all counts of the session's dose."""
    cells: list[tuple[Cell, OneRound]] = []
    for count in COUNTS[session.dose.name]:
        telling = count == max(COUNTS[session.dose.name])
        cell = Cell(SCENARIO, f"{count:,} entries", Names(count), FAR, NOT_MOUNTED, telling)
        cells.append((cell, round_of(session, Names(count))))
    session.play(cells)


def round_of(session: Session, names: Names) -> OneRound:
    """Return what does each thing on a mount of its own."""
    mounts: Sequence[Sequence[tuple[str, Work, Sequence[object]]]] = (
        (("readdir", list_directory, [FLAT]),),
        (("find -ls", walk, [DEEP]), ("find -ls again", walk, [DEEP])),
        (("stat storm", look_at, dealt(shuffled(names.paths()[: names.count]), STATTERS)),),
    )

    def one_round(offer: Offer, stored: Stored, _number: int) -> Found:
        found: dict[tuple[str, Figure], float] = {}
        for some in mounts:
            with offer.mounted(Cache.EMPTY) as mounted:
                for phase, work, shares in some:
                    done = looked(session.watch(stored), mounted, work, shares, names.count)
                    found |= {(phase, figure): value for figure, value in done.items()}
        return found

    return one_round


def looked(
    watch: Watch,
    mounted: Mounted,
    work: Work,
    shares: Sequence[object],
    count: int,
) -> Mapping[Figure, float]:
    """Play one pass, which has to find so many entries."""
    done = watch.one_pass(mounted, work, shares)
    if sum(done.reading.results) != count:
        raise PeerFailedError(f"shows {sum(done.reading.results)} of {count} entries")
    return figures(done, count)


def figures(done: Pass, count: int) -> Mapping[Figure, float]:
    """Return what is reported of a pass over so many entries."""
    return {
        ENTRIES_A_SECOND: count / done.reading.seconds,
        CPU_AN_ENTRY: done.server_seconds * 1e6 / count,
        REQUESTS: done.traffic.request_count,
    }


def shuffled(paths: Sequence[str]) -> Sequence[str]:
    """Return *paths* in an order in which nobody guesses the next one."""
    return random.Random(SEED).sample(paths, len(paths))


def list_directory(root: Path, name: str) -> int:
    """Count the names in one directory."""
    return len(os.listdir(root / name))


def walk(root: Path, name: str) -> int:
    """Look at everything in a tree as `find -ls` does, and count the files."""
    return sum(
        os.lstat(f"{directory}/{file}").st_size > 0
        for directory, _, files in os.walk(root / name)
        for file in files
    )


def look_at(root: Path, paths: Sequence[str]) -> int:
    """Look at files by name, and count them."""
    return sum(os.lstat(f"{root}/{path}").st_size > 0 for path in paths)
