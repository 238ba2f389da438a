"""Every other store that fsspec knows: gs, az, hf, http, memory and what else is installed.

The promise is weaker than S3's: these know no If-Match, so the version is compared before and after
each read, and they know no conditional write, so refs cannot lie here.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import fsspec

from cachesvc.errors import (
    AccessDeniedError,
    ObjectChangedError,
    ObjectMissingError,
    StoreUnavailableError,
    UsageError,
    first_error,
)
from cachesvc.objectstore.fsspec_options import decoded
from cachesvc.objectstore.keys import checked_key
from cachesvc.objectstore.moment import nanoseconds
from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.protocol import Condition, ObjectInfo

LIST_BATCH = 1000
THREADS = 128
"""As many as there are ranges in flight: who waits for a thread waits behind guesses too."""
VERSION_FIELDS = ("etag", "ETag", "generation", "md5Hash", "content_md5", "blob_id", "checksum")
TIME_FIELDS = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created")


class FsspecStore:
    """Objects below one URL of any fsspec file system."""

    def __init__(self, origin: Origin) -> None:
        """Make the file system; it connects at the first request."""
        self._root = origin.root
        self._fs = _filesystem(origin)
        self._path = str(self._fs._strip_protocol(origin.url)).rstrip("/")  # noqa: SLF001 - fsspec
        self._threads = anyio.CapacityLimiter(THREADS)

    @property
    def root(self) -> str:
        """The canonical URL of the place."""
        return self._root

    async def head(self, key: str) -> ObjectInfo:
        """Return what the store knows of one object."""
        found = await self._call(key, "info", self._full(key))
        if found.get("type") == "directory":
            message = f"{self._place(key)}: not an object"
            raise ObjectMissingError(message)
        return _info(key, found)

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return a small object whole, which did not change meanwhile."""
        before = await self.head(key)
        data: bytes = await self._call(key, "cat_file", self._full(key))
        await self._check_same(before, len(data))
        return data, before

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        """Return exactly the bytes `[start, stop)` of an object that did not change meanwhile."""
        before = await self.head(key)
        if version not in {None, before.version} or stop > before.size:
            raise self._changed(key)
        data: bytes = await self._call(key, "cat_file", self._full(key), start=start, end=stop)
        await self._check_same(before, before.size)
        if len(data) != stop - start:
            message = f"{self._place(key)}: sent {len(data)} bytes of {stop - start}"
            raise StoreUnavailableError(message)
        return data

    async def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield batches of all objects whose key starts with *prefix*."""
        above = prefix.rpartition("/")[0]
        where = f"{self._path}/{above}" if above else self._path
        found = await self._call(prefix, "find", where, detail=True)
        entries = [
            (path[len(self._path) :].lstrip("/"), entry) for path, entry in sorted(found.items())
        ]
        listed = [(key, entry) for key, entry in entries if key.startswith(prefix)]
        for start in range(0, len(listed), LIST_BATCH):
            yield await self._infos(listed[start : start + LIST_BATCH])

    async def put(self, key: str, data: bytes) -> None:
        """Write a small object, whatever was there."""
        await self._call(key, "pipe_file", self._full(key), data)

    async def put_file(self, key: str, path: Path) -> None:
        """Upload a file."""
        await self._call(key, "put_file", str(path), self._full(key))

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        """Refuse: fsspec has no conditional write that could be relied on."""
        del data, condition
        checked_key(key, self._root)
        message = f"{self._place(key)}: no conditional writes here; use --repo on disk or S3"
        raise UsageError(message)

    async def aclose(self) -> None:
        """Close the connections of file systems that have an aiohttp session."""
        session = getattr(self._fs, "_session", None)
        if session is not None:
            await session.close()

    async def _infos(self, listed: Sequence[tuple[str, Mapping[str, Any]]]) -> Sequence[ObjectInfo]:
        """Return what a listing says; where it tells no sizes (HTTP), each object is asked for."""
        asked: dict[str, ObjectInfo] = {}
        limit = anyio.Semaphore(THREADS)

        async def ask(key: str) -> None:
            async with limit:
                asked[key] = await self.head(key)

        try:
            async with anyio.create_task_group() as tasks:
                for key, entry in listed:
                    if entry.get("size") is None:
                        tasks.start_soon(ask, key)
        except ExceptionGroup as group:
            raise first_error(group) from group
        return [asked.get(key) or _info(key, entry) for key, entry in listed]

    def _full(self, key: str) -> str:
        return f"{self._path}/{checked_key(key, self._root)}"

    def _place(self, key: str) -> str:
        return f"{self._root}/{key}"

    async def _check_same(self, before: ObjectInfo, size: int) -> None:
        if await self.head(before.key) != before or size != before.size:
            raise self._changed(before.key)

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(f"{self._place(key)}: the object changed; publish it anew")

    async def _call(self, key: str, method: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401 - fsspec is untyped
        try:
            if self._fs.async_impl:
                return await getattr(self._fs, f"_{method}")(*arguments, **options)
            call = partial(getattr(self._fs, method), *arguments, **options)
            return await anyio.to_thread.run_sync(
                call, abandon_on_cancel=True, limiter=self._threads
            )
        except (FileNotFoundError, IsADirectoryError) as exc:
            raise ObjectMissingError(f"{self._place(key)}: there is no such object") from exc
        except PermissionError as exc:
            raise AccessDeniedError(f"{self._place(key)}: the store refused") from exc
        except Exception as exc:
            # Each file system raises errors of its own libraries: they have no common base.
            message = f"{self._place(key)}: {type(exc).__name__}"
            raise StoreUnavailableError(message) from exc


def _filesystem(origin: Origin) -> Any:  # noqa: ANN401 - fsspec is untyped
    try:
        kind = fsspec.get_filesystem_class(origin.protocol)
        extra = {"asynchronous": True} if kind.async_impl else {}
        return kind(
            skip_instance_cache=True,
            use_listings_cache=False,
            **extra,
            **decoded(origin.free_options),
        )
    except (ValueError, ImportError, TypeError) as exc:
        message = f"{origin.protocol}://: {exc}"
        raise UsageError(message) from exc


def _info(key: str, found: Mapping[str, Any]) -> ObjectInfo:
    mtime_ns = next((_nanoseconds(found[name]) for name in TIME_FIELDS if found.get(name)), 0)
    if found.get("size") is None:
        message = f"{key}: the store does not tell its size, so it cannot be shown as a file"
        raise UsageError(message)
    named = (str(found[name]) for name in VERSION_FIELDS if found.get(name))
    version = next(named, str(mtime_ns) if mtime_ns else None)
    return ObjectInfo(key, int(found["size"]), version, mtime_ns)


def _nanoseconds(moment: object) -> int:
    match moment:
        case datetime():
            return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        case int() | float():
            return round(moment * 1e6) * 1000
        case str():
            return _nanoseconds(_parsed(moment))
        case _:
            return 0


def _parsed(text: str) -> datetime | None:
    """Return a time as ISO 8601 or HTTP writes it; None for anything else."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with contextlib.suppress(ValueError):
            return parse(text)
    return None
