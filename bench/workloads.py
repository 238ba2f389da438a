"""Files to read, made of random bytes, and one process that reads them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")

FILES_IN_DIRECTORY = 200
READ_SIZE = 1 << 20


class Dataset(Protocol):
    """Files that can be made."""

    def paths(self) -> Sequence[str]:
        """Return where they lie below the dataset's root, in directory order."""
        ...

    def make(self, root: Path) -> None:
        """Write them below *root*, to the disk itself: dirty pages could not be dropped."""
        ...


@dataclass(frozen=True, slots=True)
class Workload:
    """So many files of one size."""

    name: str
    file_count: int
    file_size: int

    @property
    def byte_count(self) -> int:
        """All their bytes."""
        return self.file_count * self.file_size

    def paths(self) -> list[str]:
        """Return where they lie below the dataset's root, in directory order."""
        return [
            f"{number // FILES_IN_DIRECTORY:05}/{number:07}" for number in range(self.file_count)
        ]

    def make(self, root: Path) -> None:
        """Write them below *root*, to the disk itself: dirty pages could not be dropped."""
        for path in self.paths():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(os.urandom(self.file_size))
        os.sync()


def read_all(root: Path, paths: Sequence[str]) -> int:
    """Read files to their ends as plainly as Python can, and return how many bytes they held.

    Whatever the reader costs itself makes everybody look more alike.
    """
    buffers = [bytearray(READ_SIZE)]
    total = 0
    directory = os.fspath(root)
    for path in paths:
        descriptor = os.open(f"{directory}/{path}", os.O_RDONLY)
        while size := os.readv(descriptor, buffers):
            total += size
        os.close(descriptor)
    return total


def read_directly(root: Path, paths: Sequence[str]) -> int:
    """Read files to their ends past the kernel's pages of the mount; return how many bytes."""
    buffers, total = [mmap.mmap(-1, READ_SIZE)], 0
    for path in paths:
        descriptor = os.open(root / path, os.O_RDONLY | os.O_DIRECT)
        while size := os.readv(descriptor, buffers):
            total += size
        os.close(descriptor)
    return total


class Span(NamedTuple):
    """A run of bytes in a file."""

    path: str
    offset: int
    size: int


def read_spans(root: Path, spans: Sequence[Span]) -> int:
    """Read runs of bytes, each file opened once, and return how many bytes they held."""
    descriptors: dict[str, int] = {}
    total = 0
    for path, offset, size in spans:
        if path not in descriptors:
            descriptors[path] = os.open(f"{root}/{path}", os.O_RDONLY)
        total += len(os.pread(descriptors[path], size, offset))
    for descriptor in descriptors.values():
        os.close(descriptor)
    return total


def dealt(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """Deal *items* out to *count* readers like cards: together they go through them in order."""
    return [items[number::count] for number in range(count)]


def read_all_by_open(root: Path, paths: Sequence[str]) -> int:
    """Read files as most programs in Python do, and return how many bytes they held."""
    total = 0
    directory = os.fspath(root)
    for path in paths:
        with open(f"{directory}/{path}", "rb") as file:
            while data := file.read(READ_SIZE):
                total += len(data)
    return total


def files_below(root: Path) -> Iterator[Path]:
    """Yield every file below *root*."""
    for directory, _, names in os.walk(root):
        yield from (Path(directory, name) for name in names)
