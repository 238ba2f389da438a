"""A control group for memory: processes that together may keep only so much, pages of files too."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FIRST_VERSION = Path("/sys/fs/cgroup/memory")
SECOND_VERSION = Path("/sys/fs/cgroup")
EMPTY_SECONDS = 20.0
CACHESTAT = 451
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """One group; it is empty again before its block ends."""

    directory: Path

    def adopt(self, pids: Iterable[int]) -> None:
        """Take in processes: what they touch from now on counts here."""
        for pid in pids:
            (self.directory / "cgroup.procs").write_text(str(pid))

    def limit(self, byte_count: int) -> None:
        """Allow them so much."""
        first = self.directory / "memory.limit_in_bytes"
        (first if first.exists() else self.directory / "memory.max").write_text(str(byte_count))


@contextmanager
def memory_group(name: str) -> Iterator[MemoryGroup]:
    """Make a group for the length of a block; raise OSError where that may not be done."""
    parent = FIRST_VERSION if FIRST_VERSION.is_dir() else SECOND_VERSION
    group = MemoryGroup(parent / name)
    group.directory.mkdir()
    try:
        yield group
    finally:
        deadline = time.monotonic() + EMPTY_SECONDS
        while (group.directory / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        group.directory.rmdir()


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Stat(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recently")
    )


def bytes_in_memory(path: Path) -> int:
    """Return how much of a file lies in the kernel's pages: cachestat(2), Linux 6.5."""
    everything, found = _Range(0, 0), _Stat()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        answer = _libc.syscall(
            CACHESTAT, descriptor, ctypes.byref(everything), ctypes.byref(found), 0
        )
    finally:
        os.close(descriptor)
    if answer != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return int(found.cache) * PAGE_SIZE
