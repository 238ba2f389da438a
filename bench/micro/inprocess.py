"""Small files read in process and through a mount: `python -m bench.micro.inprocess --files N`.

All bytes are in the node's cache before anything is measured. The ways to read take turns, round by
round; "mount, first" is a new mount each time, whose files the kernel has never seen. CPU is the
reader's own, and for a mount its workers' too.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fsspec.spec import AbstractFileSystem

import vfs
from bench.cost import Cost, cost_of
from bench.measure import Samples
from bench.peers.headrace import HeadraceMount, HeadraceMounts

FILES_IN_DIRECTORY = 100
BATCH = 32


def make_files(place: Path, count: int, size: int) -> list[str]:
    """Write *count* files of *size* random bytes below *place*; return their names."""
    chance = random.Random(1)
    names = [f"{n // FILES_IN_DIRECTORY:04}/{n:07}.jpg" for n in range(count)]
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))
    return names


def read_plain(root: Path, names: Iterable[str]) -> int:
    """Read local files; return how many bytes they have."""
    total = 0
    for name in names:
        with open(root / name, "rb", buffering=0) as file:
            total += len(file.read())
    return total


def read_opened(fs: AbstractFileSystem, names: Iterable[str]) -> int:
    """Read files in process, each opened as a file."""
    total = 0
    for name in names:
        with fs.open(name) as file:
            total += len(file.read())
    return total


def read_cat(fs: AbstractFileSystem, names: Iterable[str]) -> int:
    """Read files in process, one call each."""
    return sum(len(fs.cat_file(name)) for name in names)


def read_batches(fs: AbstractFileSystem, names: Sequence[str]) -> int:
    """Read files in process, a batch a call, as a DataLoader's worker does."""
    total = 0
    for start in range(0, len(names), BATCH):
        batch = list(names[start : start + BATCH])
        total += sum(map(len, fs.cat_ranges(batch, None, None, on_error="raise")))
    return total


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way to read did in each round."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, cost: Cost, count: int) -> None:
        """Take the cost of reading *count* files."""
        self.rates.append(count / cost.seconds)
        self.cpu.append(sum(cost.cpu_seconds.values()) / count * 1e6)


@contextmanager
def opened(dataset: Path, scratch: Path) -> Iterator[AbstractFileSystem]:
    """Open in process what is mounted from *scratch*, by way of the same cache."""
    fs = vfs.open(dataset, repo=str(scratch / "repository"), cache_dir=scratch / "cache")
    try:
        yield fs
    finally:
        fs.close()


def measure(
    fs: AbstractFileSystem, mount: HeadraceMount, dataset: Path, names: Sequence[str], rounds: int
) -> dict[str, Figures]:
    """Read all files in each way, in each round, and return what that cost."""
    mounted = partial(read_plain, mount.path, names)
    ways: dict[str, Callable[[], int]] = {
        "in process, cat_file": partial(read_cat, fs, names),
        "in process, open and read": partial(read_opened, fs, names),
        f"in process, batches of {BATCH}": partial(read_batches, fs, names),
        "mount, first": mounted,
        "mount, again": mounted,
        "native": partial(read_plain, dataset, names),
    }
    figures = {way: Figures() for way in ways}
    expected = read_batches(fs, names)
    for _ in range(rounds):
        mount.forget()
        for way, read in ways.items():
            totals: list[int] = []
            servers = mount.servers() if way.startswith("mount") else {}
            figures[way].add(cost_of(lambda: totals.append(read()), servers), len(names))  # noqa: B023 - called at once
            if totals != [expected]:
                raise SystemExit(f"{way}: read {totals}, not {expected} bytes")
    return figures


def show(figures: dict[str, Figures]) -> None:
    """Print medians, and how each way compares with the mount's first read and with native."""
    first, native = (Samples(tuple(figures[way].rates)) for way in ("mount, first", "native"))
    print(f"{'':<30}{'files/s':>10}{'CPU us/file':>14}{'x mount, first':>16}{'x native':>10}")
    for way, each in figures.items():
        rates = Samples(tuple(each.rates))
        cpu = Samples(tuple(each.cpu)).median
        over_first, over_native = rates.over(first).median, rates.over(native).median
        print(f"{way:<30}{rates.median:>10,.0f}{cpu:>14.1f}{over_first:>16.2f}{over_native:>10.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=110_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        dataset, scratch = Path(directory, "data"), Path(directory, "scratch")
        scratch.mkdir()
        names = make_files(dataset, arguments.files, arguments.size)
        with HeadraceMounts().mounted(dataset, scratch) as mount, opened(dataset, scratch) as fs:
            show(measure(fs, mount, dataset, names, arguments.rounds))


if __name__ == "__main__":
    main()
