"""Readers verify every byte while whoever serves them is killed, upgraded and switched over."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.census import Census, at_rest
from bench.chaos import Readers
from bench.chaosreport import report
from bench.commands import Headrace, UnmountFailedError
from bench.dose import Blow, Dose
from bench.expected import Content, Switching, Unchanging
from bench.harm import Harm, Record, ref
from bench.report import Report

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
WARM_UP_ROUNDS = 20
CALM_SECONDS = 5.0
SAY_EVERY = 20
SETTING = [
    f"{READERS} readers of {FILES:,} files, every byte verified, half of them through mmap, and "
    f"one more with {LARGE_SIZE >> 20} MiB mapped all the time",
]


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
        undone += len(blows)
        with (
            command.cache_service_stopped_after(),
            noted_if_left(record),
            ground(command, own) as (mount, content),
        ):
            harm = Harm(command, mount, WORKERS, content, record)
            before = warmed_up(command, mount, content)
            readers = Readers(mount, content, READERS, LARGE)
            strike(blows, harm, readers, deadline, say)
            undone -= len(harm.blows)
            record.add(readers, harm.blows)
            record.held[name] = before, at_rest(command)
    return report(record, undone, SETTING)


@contextmanager
def noted_if_left(record: Record) -> Iterator[None]:
    """Take note of a mount that does not go away: what was found before is to be told anyway."""
    try:
        yield
    except UnmountFailedError as error:
        record.left.append(str(error))


def warmed_up(command: Headrace, mount: Path, content: Content) -> Census:
    """Return who holds what after the first few files, with which much is opened for good."""
    with Readers(mount, content, READERS, LARGE) as readers:
        readers.wait_for_rounds(WARM_UP_ROUNDS)
    return at_rest(command)


def strike(
    blows: Sequence[Blow],
    harm: Harm,
    readers: Readers,
    deadline: float,
    say: Callable[[str], None],
) -> None:
    """Deal out *blows* under *readers*, until time is over or a reader sees an error."""
    with readers:
        time.sleep(CALM_SECONDS)
        for number, blow in enumerate(blows):
            if time.monotonic() > deadline or readers.errors:
                break
            harm.do(blow)
            if number % SAY_EVERY == SAY_EVERY - 1:
                say(f"{number + 1} blows, longest stall {readers.longest_stall_seconds:.2f} s")


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
