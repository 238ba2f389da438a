"""A directory as an object store: keys are paths, versions are modification times.

The promise is weaker than S3's: a file that is replaced by another one of the same size and mtime
(`cp -p`, `touch -r`) passes for the same version.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from cachesvc.errors import (
    AccessDeniedError,
    CacheError,
    ConditionFailedError,
    ObjectChangedError,
    ObjectMissingError,
    OutsideOriginError,
    StoreUnavailableError,
)
from cachesvc.objectstore import beneath
from cachesvc.objectstore.keys import checked_key
from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.protocol import Condition, ObjectInfo
from cachesvc.objectstore.replacing import replace, version_of, write_all

T = TypeVar("T")

LIST_BATCH = 1000
COPY_SIZE = 1 << 20
THREADS = 128
"""As many as there are ranges in flight: who waits for a thread waits behind guesses too."""

ERRORS: dict[int, type[CacheError]] = {
    errno.ENOENT: ObjectMissingError,
    errno.ENOTDIR: ObjectMissingError,
    errno.EISDIR: ObjectMissingError,
    errno.ENAMETOOLONG: ObjectMissingError,
    errno.ELOOP: OutsideOriginError,
    errno.EACCES: AccessDeniedError,
    errno.EPERM: AccessDeniedError,
    errno.EROFS: AccessDeniedError,
}
"""What an errno means; any other one may pass."""


class LocalStore:
    """Files below one directory. No symlink is followed, so no key leads out of it."""

    def __init__(self, origin: Origin) -> None:
        """Remember the directory; each request opens it anew."""
        self._root = origin.root
        self._directory = origin.address
        self._threads = anyio.CapacityLimiter(THREADS)

    @property
    def root(self) -> str:
        """The directory's `file://` URL."""
        return self._root

    async def head(self, key: str) -> ObjectInfo:
        """Return what the file system knows of one file."""
        return await self._run(key, self._head)

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return a small file whole."""
        return await self._run(key, self._get)

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        """Return the bytes `[start, stop)` of a file that did not change before or meanwhile."""
        read = partial(self._get_range, start=start, stop=stop, version=version)
        return await self._run(key, read)

    async def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield all regular files whose path starts with *prefix*; symlinks are not followed."""
        found = beneath.walk(self._directory, prefix)
        while batch := await self._in_thread(prefix, lambda: list(islice(found, LIST_BATCH))):
            yield [_info(each.path, each.status) for each in batch]

    async def put(self, key: str, data: bytes) -> None:
        """Write a small file, whatever was there; a reader sees the old bytes or the new."""
        await self._run(key, partial(self._write, fill=lambda file: write_all(file, data)))

    async def put_file(self, key: str, path: Path) -> None:
        """Copy a file; it appears under its name when all of it is on the disk."""
        await self._run(key, partial(self._write, fill=partial(_copy, path)))

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        """Write a small file if *condition* holds, atomically; return its new version."""
        write = partial(self._write, fill=lambda file: write_all(file, data), condition=condition)
        return await self._run(key, write)

    async def aclose(self) -> None:
        """Do nothing: no file stays open between requests."""

    async def _run(self, key: str, call: Callable[[str], T]) -> T:
        checked_key(key, self._root)
        return await self._in_thread(key, partial(call, key))

    async def _in_thread(self, key: str, call: Callable[[], T]) -> T:
        try:
            # A thread that hangs in a sick network file system is left behind: deadlines hold.
            return await anyio.to_thread.run_sync(
                call, abandon_on_cancel=True, limiter=self._threads
            )
        except OSError as exc:
            message = f"{self._place(key)}: {exc.strerror or exc}"
            raise ERRORS.get(exc.errno or 0, StoreUnavailableError)(message) from exc
        except (ConditionFailedError, StoreUnavailableError) as exc:
            raise type(exc)(f"{self._place(key)}: {exc}") from exc

    def _place(self, key: str) -> str:
        """Return a file's URL as a log can print it."""
        return f"{self._root}/{key}".encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _head(self, key: str) -> ObjectInfo:
        with beneath.opened(self._directory, key) as file:
            return _info(key, os.fstat(file))

    def _get(self, key: str) -> tuple[bytes, ObjectInfo]:
        with beneath.opened(self._directory, key) as file:
            before = os.fstat(file)
            data = beneath.read(file, 0, before.st_size)
            self._check_same(key, before, os.fstat(file))
            return data, _info(key, before)

    def _get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        with beneath.opened(self._directory, key) as file:
            before = os.fstat(file)
            if version not in {None, version_of(before)} or stop > before.st_size:
                raise self._changed(key)
            data = beneath.read(file, start, stop)
            self._check_same(key, before, os.fstat(file))
        return data

    def _check_same(self, key: str, before: os.stat_result, after: os.stat_result) -> None:
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise self._changed(key)

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(f"{self._place(key)}: the file changed; publish it anew")

    def _write(
        self, key: str, fill: Callable[[int], None], condition: Condition | None = None
    ) -> str:
        *parents, name = key.split("/")
        with beneath.directory(self._directory, parents, create=True) as directory:
            return replace(directory, name, fill, condition)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, version_of(status), status.st_mtime_ns)


def _copy(path: Path, file: int) -> None:
    with path.open("rb") as source, open(file, "wb", closefd=False) as target:
        shutil.copyfileobj(source, target, COPY_SIZE)
