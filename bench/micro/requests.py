"""What each kind of request costs a mount's workers: `python -m bench.micro.requests --files N`.

All bytes are in the node's cache. The kernel is made to forget names, and with them
attributes and pages, before each kind, so that each file is asked for once. The files are more than
a worker remembers the places of. CPU is that of all workers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.cost import cost_of
from bench.lookups import drop_names
from bench.measure import Samples
from bench.micro.inprocess import make_files
from bench.peers.headrace import HeadraceMount, HeadraceMounts

READ_SIZE = 1 << 20
"""More than any file has: the kernel asks for what there is."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one kind of request did in each round."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def stat_all(paths: Sequence[str]) -> None:
    """One LOOKUP each."""
    for path in paths:
        os.lstat(path)


def list_all(directories: Sequence[str]) -> None:
    """READDIRPLUS until the end of each directory."""
    for directory in directories:
        os.listdir(directory)


def read_file(path: str) -> None:
    """LOOKUP, unless the name is known, and READ."""
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, READ_SIZE)
    os.close(descriptor)


def read_all(paths: Sequence[str]) -> None:
    """Read files one after the other."""
    for path in paths:
        read_file(path)


def open_all(paths: Sequence[str]) -> None:
    """Open files as Python does: an IOCTL each, and nothing else where all is known."""
    for path in paths:
        with open(path, "rb"):
            pass


def read_beside(paths: Sequence[str], readers: int) -> None:
    """Read files, *readers* at a time, each every so-manieth of them."""
    with ThreadPoolExecutor(readers) as threads:
        list(threads.map(read_all, [paths[number::readers] for number in range(readers)]))


def measure(
    mount: HeadraceMount, names: Sequence[str], readers: int, rounds: int
) -> dict[str, Figures]:
    """Ask for all files in each way, in each round, and return what that cost the workers."""
    paths = [str(mount.path / name) for name in names]
    directories = sorted({os.path.dirname(path) for path in paths})
    work: dict[str, tuple[bool, Callable[[], None]]] = {
        "LOOKUP": (True, lambda: stat_all(paths)),
        "READ of known names": (False, lambda: read_all(paths)),
        "LOOKUP and READ": (True, lambda: read_all(paths)),
        "IOCTL": (False, lambda: open_all(paths)),
        "READDIRPLUS": (True, lambda: list_all(directories)),
        f"LOOKUP and READ, {readers} readers": (True, lambda: read_beside(paths, readers)),
    }
    figures = {kind: Figures() for kind in work}
    servers = {"workers": mount.servers()["workers"]}
    read_all(paths)
    for _ in range(rounds):
        for kind, (forget, ask) in work.items():
            if forget:
                drop_names(mount.path)
            cost = cost_of(ask, servers)
            figures[kind].rates.append(len(names) / cost.seconds)
            figures[kind].cpu.append(cost.cpu_seconds["workers"] / len(names) * 1e6)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        dataset, scratch = Path(directory, "data"), Path(directory, "scratch")
        scratch.mkdir()
        names = make_files(dataset, arguments.files, arguments.size)
        with HeadraceMounts("--workers", str(arguments.workers)).mounted(dataset, scratch) as mount:
            figures = measure(mount, names, arguments.readers, arguments.rounds)
    print(f"{'':<30}{'files/s':>10}{'worker CPU us/file':>20}{'quartiles':>16}")
    for kind, each in figures.items():
        cpu = Samples(tuple(each.cpu))
        low, high = cpu.quartiles
        rate = Samples(tuple(each.rates)).median
        print(f"{kind:<30}{rate:>10,.0f}{cpu.median:>20.1f}{low:>9.1f}..{high:.1f}")


if __name__ == "__main__":
    main()
