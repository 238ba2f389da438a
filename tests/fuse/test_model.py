"""Random trees and random operations: whatever one does, a mount agrees with its source."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.node import Node, new_node

T = TypeVar("T")

NAMES = st.sampled_from([b"a", b"b", b"a.txt", b"\xff\xfe", b"new\nline", b"-", b"n" * 255])
SIZES = st.sampled_from([0, 1, 5, 4095, 4096, 4097, 131_073, 5 * (1 << 20) + 3])
TARGETS = st.sampled_from([b"a", b"../b", b"nowhere", b"\xff", b"/", b"."])
INDEX = st.integers(0, 1000)
FRACTION = st.floats(-0.1, 1.1)
LENGTH = st.sampled_from([1, 100, 4096, 70_000, 1 << 20])


@dataclass(frozen=True)
class File:
    """A file of *size* random bytes."""

    size: int
    mode: int

    def make(self, path: bytes) -> None:
        content = random.Random(self.size + len(path)).randbytes(self.size)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, self.mode)


@dataclass(frozen=True)
class Directory:
    """A directory, into which later nodes may go."""

    mode: int

    def make(self, path: bytes) -> None:
        os.mkdir(path, self.mode)


@dataclass(frozen=True)
class Symlink:
    """A link to anywhere."""

    target: bytes

    def make(self, path: bytes) -> None:
        os.symlink(self.target, path)


@dataclass(frozen=True)
class Read:
    """Read from one place of a file, by pread(2), past the page cache, or from mapped memory."""

    index: int
    start: float
    length: int
    how: str


@dataclass(frozen=True)
class Look:
    """Ask for all that can be asked of one path without reading it."""

    index: int


@dataclass(frozen=True)
class Miss:
    """Ask for a name that may not be there, below anything."""

    index: int
    name: bytes


@dataclass(frozen=True)
class Remount:
    """Take the mount off and make it again."""


@dataclass(frozen=True)
class Kill:
    """SIGKILL the processes of a role."""

    role: str


Operation = Read | Look | Miss | Remount | Kill

NODES = st.tuples(
    INDEX,
    NAMES,
    st.one_of(
        st.builds(File, SIZES, st.sampled_from([0o644, 0o755, 0o400])),
        st.builds(Directory, st.sampled_from([0o755, 0o700])),
        st.builds(Symlink, TARGETS),
    ),
)
READS = st.builds(Read, INDEX, FRACTION, LENGTH, st.sampled_from(["pread", "direct", "mmap"]))
QUESTIONS = st.one_of(READS, st.builds(Look, INDEX), st.builds(Miss, INDEX, NAMES))
DISTURBANCES = st.one_of(st.builds(Remount), st.just(Kill("worker")), st.just(Kill("cachesvc")))
ACTS = st.tuples(st.lists(QUESTIONS, min_size=8, max_size=30), DISTURBANCES)
"""A disturbance takes a second and a question a moment: so there are many questions for each."""


def build(root: Path, nodes: Sequence[tuple[int, bytes, File | Directory | Symlink]]) -> None:
    """Make a tree: each node goes into one of the directories that are there by then."""
    root.mkdir()
    directories = [os.fsencode(root)]
    for index, name, node in nodes:
        path = directories[index % len(directories)] + b"/" + name
        if len(path) < 3000 and not os.path.lexists(path):
            node.make(path)
            if isinstance(node, Directory):
                directories.append(path)


def paths_of(root: bytes) -> list[bytes]:
    """Return the paths of all there is, relative to *root*, which is the first."""
    found = [b"."]
    for place, directories, files in os.walk(root):
        found += [os.path.relpath(os.path.join(place, each), root) for each in directories + files]
    return sorted(found)


def outcome(action: Callable[[], T]) -> tuple[str, T | int | None]:
    """Return what *action* gives, or the errno that it ends with."""
    try:
        return "done", action()
    except OSError as error:
        return "failed", error.errno


def look(path: bytes) -> object:
    """Return what can be seen of *path*, in what a mount must agree on."""
    status = os.lstat(path)
    target = outcome(lambda: os.readlink(path))
    listing = outcome(lambda: sorted(os.listdir(path)))
    size = 0 if os.path.isdir(path) and not os.path.islink(path) else status.st_size
    return status.st_mode, size, status.st_mtime_ns, target, listing


def read(path: bytes, operation: Read) -> bytes:
    """Read what *operation* says; offset and length are bent to what the way of reading allows."""
    flags = os.O_NOFOLLOW | (os.O_DIRECT if operation.how == "direct" else 0)
    file = os.open(path, os.O_RDONLY | flags)
    try:
        size = os.fstat(file).st_size
        start = max(0, int(size * operation.start))
        if operation.how == "pread":
            return os.pread(file, operation.length, start)
        with (
            mmap.mmap(file, 0, prot=mmap.PROT_READ)
            if operation.how == "mmap"
            else mmap.mmap(-1, 1 << 20) as memory
        ):
            if operation.how == "mmap":
                return memory[start : start + operation.length]
            return memory[: os.preadv(file, [memory], start // 4096 * 4096)]
    except ValueError:
        return b""  # Python maps no empty file
    finally:
        os.close(file)


class Play:
    """A source, its mount, and operations on both."""

    def __init__(self, node: Node, source: Path) -> None:
        self._node = node
        self._source = os.fsencode(source)
        self._paths = paths_of(self._source)
        self._words = [str(source), "--repo", f"{source}.repository"]
        self._snapshot = node.snapshot(*self._words)
        self._mount = node.mount(*self._words)

    def check_all(self) -> None:
        """Compare every path, and that there are no others."""
        mount = os.fsencode(self._mount)
        assert paths_of(mount) == self._paths
        for index in range(len(self._paths)):
            self.step(Look(index))

    def step(self, operation: Operation) -> None:
        """Do one thing, to both where it is a question."""
        match operation:
            case Look(index):
                self._agree(index, look)
                self._check_attributes(index)
            case Read(index):
                self._agree(index, lambda path: read(path, operation))
            case Miss(index, name):
                self._agree(index, lambda path: os.lstat(path + b"/" + name).st_mode)
            case Remount():
                self._node.umount(self._mount)
                self._mount = self._node.mount(*self._words)
            case Kill(role):
                self._node.kill(role)

    def end(self) -> None:
        """Take the mount off."""
        self._node.umount(self._mount)

    def _agree(self, index: int, question: Callable[[bytes], object]) -> None:
        path = self._paths[index % len(self._paths)]
        shown, expected = (
            outcome(lambda root=root: question(os.path.join(root, path)))  # type: ignore[misc]
            for root in (os.fsencode(self._mount), self._source)
        )
        assert shown == expected, path

    def _check_attributes(self, index: int) -> None:
        path = os.path.join(os.fsencode(self._mount), self._paths[index % len(self._paths)])
        if os.path.islink(path):
            return
        assert os.getxattr(path, "user.headrace.snapshot").decode() == self._snapshot
        if os.path.isfile(path):
            cached = int(os.getxattr(path, "user.headrace.cached_bytes"))
            assert 0 <= cached <= os.lstat(path).st_size


@pytest.fixture(scope="module")
def machine() -> Iterator[Node]:
    """One machine for all examples: what is in its cache is part of the test."""
    with new_node() as node:
        yield node


# Not shrunk: an example takes seconds. As it is found it can be read well enough.
@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(NODES, min_size=10, max_size=40),
    st.lists(ACTS, min_size=2, max_size=4),
    st.uuids(),
)
def test_a_mount_agrees_with_its_source(
    machine: Node,
    nodes: list[tuple[int, bytes, File | Directory | Symlink]],
    acts: list[tuple[list[Operation], Operation]],
    name: object,
) -> None:
    """Whatever is asked in whatever order, and whoever dies, the answers are the source's."""
    source = machine.directory / f"source-{name}"
    if source.exists():
        return  # the same example once more
    build(source, nodes)
    play = Play(machine, source)
    for questions, disturbance in acts:
        for operation in (*questions, disturbance):
            play.step(operation)
        play.check_all()
    play.end()
