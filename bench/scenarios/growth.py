"""Our own start, and one directory's list, with datasets larger than a peer could be given.

They are made-up listings of which hardly a file exists, seen without latency.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.commands import Headrace
from bench.peers import PeerFailedError
from bench.readers import Readers
from bench.results import Figure, Row
from bench.scenarios import startup
from bench.scenarios.first_batch import FIRST_BYTE, REQUESTS
from bench.scenarios.metadata import ENTRIES_A_SECOND, list_directory
from bench.session import Session
from bench.synthetic import FLAT
from tests.seaweed import seaweed

SCENARIO = "growth"
PEER = "headrace"
SIZES: Mapping[str, Sequence[int]] = {
    "quick": (1_000,),
    "normal": (1_000, 100_000),
    "full": (1_000, 1_000_000),
    "long": (1_000, 1_000_000, 10_000_000),
}
LISTED_MOST = 1_000_000
"""More names than that nobody has in one directory."""
LIST_SECONDS = 300.0


def run(session: Session) -> None:
    """Play what `startup` plays, and list the largest of its datasets as one directory."""
    session.play_alone(SCENARIO, PEER, partial(rows_of, session))


def rows_of(session: Session) -> Sequence[Row]:
    """Return all that was found."""
    sizes, rounds = SIZES[session.dose.name], session.dose.few_rounds
    report = startup.run(session.scratch, sizes, rounds, session.say)
    rows = [row for start in report.figures["starts"] for row in start_rows(start)]
    count = min(sizes[-1], LISTED_MOST)
    session.say(f"listing {count:,} names in one directory")
    speeds = list_flat(session.scratch, session.readers, count, rounds)
    return [*rows, row_of(count, "readdir", ENTRIES_A_SECOND, speeds)]


def start_rows(start: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what `startup` found for one size and target."""
    milliseconds = start["seconds"].times(1e3).values
    asked = [float(sum(each.values())) for each in start["requests"]]
    yield row_of(start["files"], start["target"].value, FIRST_BYTE, milliseconds)
    yield row_of(start["files"], start["target"].value, REQUESTS, asked)


def row_of(file_count: int, phase: str, figure: Figure, values: Sequence[float]) -> Row:
    """Return a figure of ours."""
    cell = f"{file_count:,} files, no latency"
    better = figure.more_is_better
    return Row(SCENARIO, cell, phase, figure.name, better, PEER, tuple(values))


def list_flat(scratch: Path, readers: Readers, count: int, rounds: int) -> list[float]:
    """Return how many entries a second each new mount lists, the node having nothing."""
    speeds = []
    with seaweed("bench") as server, TemporaryDirectory(dir=scratch) as directory:
        place = (server.url("flat"), "--repo", server.url("repository"))
        subprocess.run(
            [sys.executable, "-m", "bench.synthetic", str(count), place[0], place[2], FLAT],
            env=Headrace.below(Path(directory), server.environ).environ,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        for number in range(rounds):
            own = Path(directory, str(number))
            own.mkdir()
            command = Headrace.below(own, server.environ)
            with (
                command.cache_service_stopped_after(),
                command.mounted(own / "mount", *place) as mount,
            ):
                reading = readers.do(list_directory, mount, [FLAT], LIST_SECONDS)
            if reading.results != [count]:
                raise PeerFailedError(f"{reading.results} of {count} names were listed")
            speeds.append(count / reading.seconds)
    return speeds
