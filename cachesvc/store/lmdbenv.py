"""Opening LMDB environments the way a cache needs them, and what LMDB's errors mean here.

The only module that imports lmdb. It knows flags, transactions and errors; nothing of chunks.

The writer never syncs (a crash of the machine costs the cache, see `marker`), never uses writemap
(no faster, and SIGBUS on a full disk), and names the 0.9 engine (1.0 gave readers spurious
CorruptedError). Only one process may open an environment for writing, and no process twice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import lmdb

from cachesvc.errors import CacheDamagedError, CacheFullError, CacheUnusableError

Environment: TypeAlias = lmdb.Environment
Transaction: TypeAlias = "lmdb.Transaction[bytes]"
ViewTransaction: TypeAlias = "lmdb.Transaction[memoryview]"

LmdbError = lmdb.Error
MapResizedError = lmdb.MapResizedError
"""Raised on beginning to read after the writer made the map larger: `set_mapsize(0)` follows it."""

ENGINE = 0
MAX_READERS = 4096
"""Reader slots: one a process, and one more a thread that reads at the same time."""

_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
)


def open_writer(path: Path, map_size: int, *, readahead: bool) -> Environment:
    """Open or create the environment at *path* for the one process that writes it."""
    with translated_errors(path):
        env = lmdb.open(
            str(path),
            map_size=map_size,
            mode=0o700,
            sync=False,
            readahead=readahead,
            max_readers=MAX_READERS,
            max_spare_txns=1,
            lib_version=ENGINE,
        )
        # The commit of a writer that was killed half-way may show only after the next write.
        env.begin(write=True).abort()
        return env


def open_reader(path: Path, *, readahead: bool) -> Environment:
    """Open the environment at *path* read-only, in a process other than the writer's.

    Without *readahead* each page that is not in memory is read by itself, 50 MB/s: see `paging`.
    """
    _require_locks(path)
    with translated_errors(path):
        return lmdb.open(
            str(path),
            map_size=0,  # as large as the writer's
            readonly=True,
            create=False,
            readahead=readahead,
            max_spare_txns=1,
            lib_version=ENGINE,
        )


def _require_locks(path: Path) -> None:
    """Refuse a directory where LMDB would run without locks, and values change under the reader."""
    for name in ("data.mdb", "lock.mdb"):
        if not (path / name).exists():
            raise CacheUnusableError(f"no cache at {path}: start the cache service first")
    # Asked without opening: closing any descriptor of the lock file would drop LMDB's own locks.
    if not os.access(path / "lock.mdb", os.R_OK | os.W_OK):
        raise CacheUnusableError(
            f"cache at {path} cannot be locked: it must be mounted read-write, as its owner"
        )


@contextmanager
def writing(env: Environment) -> Iterator[Transaction]:
    """One write transaction: committed at the end of the block, aborted on any exception."""
    with translated_errors(env.path()), env.begin(write=True) as txn:
        yield txn


@contextmanager
def viewing(env: Environment) -> Iterator[ViewTransaction]:
    """One short read transaction; the views it hands out are valid only inside the block."""
    with translated_errors(env.path()), begin_viewing(env) as txn:
        yield txn


def begin_viewing(env: Environment) -> ViewTransaction:
    """Begin a read transaction, raising LMDB's own errors. The caller ends it soon."""
    try:
        return env.begin(buffers=True)
    except lmdb.ReadersFullError:
        env.reader_check()  # frees the slots of readers that died
        return env.begin(buffers=True)


@contextmanager
def translated_errors(place: Path | str) -> Iterator[None]:
    """Raise what LMDB reports about *place* as an error of ours."""
    try:
        yield
    except (lmdb.Error, OSError) as exc:
        raise error_of(exc, place) from exc


def error_of(exc: lmdb.Error | OSError, place: Path | str) -> CacheUnusableError:
    """Return the error of ours that says what *exc* means to the user of a cache."""
    if _is_full(exc):
        return CacheFullError(f"cache at {place} cannot grow: {exc}; free some disk space")
    if isinstance(exc, _DAMAGE):
        return CacheDamagedError(f"cache at {place} is damaged: {exc}; it will be made anew")
    return CacheUnusableError(f"cache at {place} cannot be used: {exc}")


def _is_full(exc: lmdb.Error | OSError) -> bool:
    """Tell "no room" from the rest. On a full disk LMDB's short writes end in EIO, not ENOSPC."""
    if isinstance(exc, (lmdb.MapFullError, lmdb.TxnFullError, lmdb.DiskError)):
        return True
    code = exc.errno if isinstance(exc, OSError) else exc.code
    return code in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
