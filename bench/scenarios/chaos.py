"""Readers verify every byte while whoever serves them is killed, upgraded and switched over."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

from bench.chaos import Readers
from bench.commands import Headrace
from bench.dose import Blow, Dose
from bench.expected import Content, Switching, Unchanging
from bench.harm import Harm, Record, ref
from bench.report import Bar, Report, Sheet
from bench.stalls import percentile

READERS = 8
WORKERS = 2
FILES = 2_000
FILE_SIZE = 30_000
LARGE = "large"
LARGE_SIZE = 64 << 20
SMALL_CACHE = "48M"
"""Less than half of the dataset, so that there is always something to fetch."""
VERSIONS = 3
"""One more than a switch has to do with."""
CALM_SECONDS = 5.0
LONGEST_STALL_SECONDS = 5.0
USUAL_STALL_SECONDS = 1.0
SAY_EVERY = 20


def run(scratch: Path, dose: Dose, seconds: float, say: Callable[[str], None]) -> Report:
    """Deal out *dose*, in at most *seconds*, and report what readers saw of it."""
    record = Record()
    deadline = time.monotonic() + seconds
    undone = 0
    for name, blows, ground in (
        ("kills", dose.blows(random.Random(1)), one_version),
        ("switches", dose.switch_blows(), some_versions),
    ):
        own = scratch / name
        own.mkdir()
        command = Headrace.below(own, {})
        say(f"{name}: making {FILES:,} files, then {len(blows)} blows")
        with command.cache_service_stopped_after(), ground(command, own) as (mount, content):
            harm = Harm(command, mount, WORKERS, content, record)
            readers = Readers(mount, content, READERS, LARGE)
            undone += strike(blows, harm, readers, deadline, say)
            record.add(readers, harm.blows)
    return report(record, undone)


def strike(
    blows: Sequence[Blow],
    harm: Harm,
    readers: Readers,
    deadline: float,
    say: Callable[[str], None],
) -> int:
    """Deal out *blows* under *readers*; return how many time or an error left undone."""
    with readers:
        time.sleep(CALM_SECONDS)
        for number, blow in enumerate(blows):
            if time.monotonic() > deadline or readers.errors:
                break
            harm.do(blow)
            if number % SAY_EVERY == SAY_EVERY - 1:
                say(f"{number + 1} blows, longest stall {readers.longest_stall_seconds:.2f} s")
    return len(blows) - len(harm.blows)


@contextmanager
def one_version(command: Headrace, directory: Path) -> Iterator[tuple[Path, Content]]:
    """Mount a dataset with a cache too small for it: the cache service always has work."""
    dataset = directory / "dataset"
    hashes = write_version(dataset, 0)
    command.run("snapshot", str(dataset))
    options = ("--workers", str(WORKERS), "--cache-size", SMALL_CACHE)
    with command.mounted(directory / "mount", str(dataset), *options) as mount:
        yield mount, Unchanging(hashes)


@contextmanager
def some_versions(command: Headrace, directory: Path) -> Iterator[tuple[Path, Content]]:
    """Mount the first of some versions; what the earlier ones held is in the node's cache only."""
    dataset, mountpoint = directory / "dataset", directory / "mount"
    versions = []
    for number in range(VERSIONS):
        versions.append(write_version(dataset, number))
        command.run("snapshot", str(dataset), "--ref", ref(number))
        with command.mounted(mountpoint, f"{dataset}@{ref(number)}") as mount:
            for name in versions[-1]:
                (mount / name).read_bytes()
    options = ("--workers", str(WORKERS))
    with command.mounted(mountpoint, f"{dataset}@{ref(0)}", *options) as mount:
        yield mount, Switching(versions)


def write_version(dataset: Path, version: int) -> dict[str, bytes]:
    """Write a version of the files and return their hashes by name.

    In every other file all bytes follow from its name and the version; the rest never changes.
    """
    dataset.mkdir(exist_ok=True)
    sizes = {f"f{number:05}": FILE_SIZE for number in range(FILES)} | {LARGE: LARGE_SIZE}
    hashes = {}
    for number, (name, size) in enumerate(sizes.items()):
        changes = bool(number % 2)
        content = random.Random(f"{name} {ref(version) if changes else ''}").randbytes(size)
        if changes or version == 0:
            (dataset / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).digest()
    return hashes


def report(record: Record, undone: int) -> Report:
    """Say what readers saw."""
    stalls = [stall for *_, stall in record.stalls]
    steps = {"nothing yet (all steps)": record.calm}
    for _, name, stall in sorted(record.stalls, key=itemgetter(1)):
        steps.setdefault(name, []).append(stall)
    steps["any"] = stalls
    return Report(
        scenario="chaos",
        notes=[
            f"{READERS} readers of {FILES:,} files, every byte verified, half of them through "
            f"mmap, and one more with {LARGE_SIZE >> 20} MiB mapped all the time",
            "a step is to open a file or to read 256 KiB; what follows a blow is the longest step "
            "under way between it and the next one",
            f"{record.file_count:,} files were verified in {record.step_count:,} steps",
            f"{record.repeated} commands were given again after a kill in the middle of them",
            *(record.refused + record.wrong)[:20],
        ],
        sheets=[
            Sheet(
                "stalls, ms",
                ("after", "times", "median", "99 %", "longest"),
                [row(name, seconds) for name, seconds in steps.items()],
            ),
            Sheet(
                "kills", ("role", "times"), [[k, str(v)] for k, v in sorted(record.kills.items())]
            ),
        ],
        bars=[
            Bar("blows left undone", undone, 0, at_most=True),
            Bar("errors", len(record.refused), 0, at_most=True),
            Bar("wrong bytes", len(record.wrong), 0, at_most=True),
            Bar(
                "stalls after a blow, 99 %",
                percentile(stalls, 0.99),
                USUAL_STALL_SECONDS,
                at_most=True,
                unit=" s",
            ),
            Bar("longest stall", max(stalls), LONGEST_STALL_SECONDS, at_most=True, unit=" s"),
        ],
        figures={
            "kills": record.kills,
            "stalls": record.stalls,
            "repeated": record.repeated,
            "errors": record.refused,
            "wrong": record.wrong,
            "files": record.file_count,
            "steps": record.step_count,
        },
    )


def row(name: str, seconds: Sequence[float]) -> list[str]:
    """Return the row of stalls that *name* was followed by."""
    shares = (percentile(seconds, share) for share in (0.5, 0.99, 1.0))
    return [name, f"{len(seconds):,}", *(f"{share * 1e3:,.1f}" for share in shares)]
