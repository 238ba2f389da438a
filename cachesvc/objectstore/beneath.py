"""Files below one directory, opened so that no symlink leads out of it. Blocking."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
DIRECTORY_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
TEMPORARY_PREFIX = ".headrace-tmp-"
"""Begins the names of files that are being written; no listing shows them."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file met by `walk`: its path below the root, and what stat(2) said."""

    path: str
    status: os.stat_result


@contextlib.contextmanager
def opened(root: str, path: str) -> Iterator[int]:
    """Open the regular file *path* below *root* for reading."""
    *parents, name = path.split("/")
    with directory(root, parents) as above:
        file = os.open(name, READ_FLAGS, dir_fd=above)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise IsADirectoryError(errno.EISDIR, "not a regular file")
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def directory(root: str, parents: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """Open a directory below *root*; with *create*, make what is missing on the way."""
    if create:
        os.makedirs(root, exist_ok=True)
    current = os.open(root, DIRECTORY_FLAGS)
    try:
        for name in parents:
            below = _enter(current, name, create=create)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def _enter(above: int, name: str, *, create: bool) -> int:
    if create:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
    try:
        return os.open(name, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=above)
    except NotADirectoryError as exc:
        # O_DIRECTORY wins over O_NOFOLLOW, so a symlink is told from a file only here.
        if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "a symlink on the way") from exc
        raise


def walk(root: str, prefix: str) -> Iterator[FoundFile]:
    """Yield the regular files whose path starts with *prefix*; what vanishes is left out."""
    pending = [prefix.rpartition("/")[0]]
    while pending:
        path = pending.pop()
        files, directories = _scan(root, path)
        yield from (each for each in files if each.path.startswith(prefix))
        pending += [
            each for each in directories if f"{each}/".startswith(prefix) or prefix.startswith(each)
        ]


def _scan(root: str, path: str) -> tuple[list[FoundFile], list[str]]:
    files: list[FoundFile] = []
    directories: list[str] = []
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        directory(root, path.split("/") if path else []) as current,
        os.scandir(current) as entries,
    ):
        for entry in entries:
            child = f"{path}/{entry.name}" if path else entry.name
            if entry.is_dir(follow_symlinks=False):
                directories.append(child)
            elif entry.is_file(follow_symlinks=False) and not is_temporary(entry.name):
                files.append(FoundFile(child, entry.stat(follow_symlinks=False)))
    return files, directories


def is_temporary(name: str) -> bool:
    """Tell whether a file is one that somebody is still writing."""
    return name.startswith(TEMPORARY_PREFIX)


def read(file: int, start: int, stop: int) -> bytes:
    """Return the bytes `[start, stop)` of an open file, fewer only where it ends."""
    parts: list[bytes] = []
    while start < stop and (part := os.pread(file, stop - start, start)):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
