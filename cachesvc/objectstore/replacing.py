"""Files that appear whole or not at all, and conditional writes on one machine. Blocking.

Writers hold the directory's lock (flock(2) on the directory itself) while they compare and rename,
and each write gets a later mtime than what it replaces: an mtime names one version even when two
writes fall into one tick of the kernel's clock, which is 4 ms on ext4.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator

from cachesvc.errors import ConditionFailedError, StoreUnavailableError
from cachesvc.objectstore.beneath import TEMPORARY_PREFIX, is_temporary
from cachesvc.objectstore.protocol import Condition, IfAbsent

LOCK_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.005
STEPS_NS = (1, 100, 1_000_000, 1_000_000_000, 2_000_000_000)
"""How finely file systems keep time: ext4 and XFS 1 ns, others from 100 ns to 2 s."""


def replace(
    directory: int, name: str, fill: Callable[[int], None], condition: Condition | None = None
) -> str:
    """Write the file *name* in *directory* by *fill* if *condition* holds; return its version."""
    _sweep(directory)
    with _temporary(directory) as (temporary, file):
        fill(file)
        with _locked(directory):
            current = _status(directory, name)
            _check(condition, current)
            if current is not None:
                _make_newer(file, current.st_mtime_ns)
            os.fsync(file)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            version = version_of(os.fstat(file))
    os.fsync(directory)
    return version


def write_all(file: int, data: bytes) -> None:
    """Write *data* to an open file, all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def version_of(status: os.stat_result) -> str:
    """Return what stands for a file's version: when it was modified, in nanoseconds."""
    return str(status.st_mtime_ns)


def _check(condition: Condition | None, current: os.stat_result | None) -> None:
    match condition:
        case None:
            return
        case IfAbsent():
            holds, found = current is None, "it is there already"
        case _:
            holds = current is not None and version_of(current) == condition.version
            found = "it changed meanwhile" if current else "it is gone"
    if not holds:
        message = f"not written, {found}"
        raise ConditionFailedError(message)


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _make_newer(file: int, than_ns: int) -> None:
    for step in STEPS_NS:
        if os.fstat(file).st_mtime_ns > than_ns:
            return
        os.utime(file, ns=(than_ns + step, than_ns + step))


@contextlib.contextmanager
def _temporary(directory: int) -> Iterator[tuple[str, int]]:
    """Create a file under a temporary name, locked for as long as its writer lives."""
    name, file = _create_locked(directory)
    try:
        yield name, file
    finally:
        os.close(file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)


def _create_locked(directory: int) -> tuple[str, int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        name = TEMPORARY_PREFIX + secrets.token_hex(8)
        file = os.open(name, flags, 0o666, dir_fd=directory)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return name, file
        os.close(file)  # another writer's sweep met it before it was locked


def _sweep(directory: int) -> None:
    """Remove the temporary files of writers that died."""
    for name in filter(is_temporary, os.listdir(directory)):
        with contextlib.suppress(FileNotFoundError, BlockingIOError, PermissionError):
            _remove_unlocked(directory, name)


def _remove_unlocked(directory: int, name: str) -> None:
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=directory)
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(directory: int) -> Iterator[None]:
    # A second open file description: one process's threads must exclude one another as well.
    lock = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        _acquire(lock)
        yield
    finally:
        os.close(lock)


def _acquire(lock: int) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = "another writer holds the directory's lock"
                raise StoreUnavailableError(message) from None
        time.sleep(LOCK_POLL_SECONDS)
