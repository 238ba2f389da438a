"""Bringing files of a snapshot into the node's cache before anybody reads them.

Knows what is announced to the cache and when enough of it is there. Knows nothing of processes.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path

import trio

from cachesvc.client import CacheClient, PlanState, Progress, Want
from cachesvc.errors import HeadraceError, first_error
from vfs.manifest.tree import Tree
from vfs.mounting.patterns import EVERYTHING, PathPattern
from vfs.mounting.prefetched import Prefetched
from vfs.mounting.selection import FilesByName, FilesByPattern, WantedFiles, manifest_wants
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import mount_directory
from vfs.serving.mounted import MountedSnapshots

log = logging.getLogger(__name__)

MANIFEST = "manifest"
"""What to give as a pattern when only names and attributes are wanted, and no file."""
_WHOLE_CACHE = 1 << 62
_ENDS = frozenset({PlanState.DONE, PlanState.WAITING, PlanState.FULL})


Report = Callable[[Prefetched], None]


class Prefetching:
    """One announced order of files, from its first name until all is in the cache."""

    def __init__(self, client: CacheClient, tree: Tree, report: Report) -> None:
        """Find files in *tree*, have them fetched by *client*, tell *report* now and then."""
        self._client = client
        self._tree = tree
        self._report = report
        self._is_listed = False

    async def by_pattern(self, pattern: str, bandwidth: int = 0) -> Prefetched:
        """Fetch the files that match, in the order of the manifest, until the cache is full."""
        return await self._files(FilesByPattern(self._tree, PathPattern(pattern)), bandwidth)

    async def by_name(
        self, lines: Iterable[bytes], mountpoint: Path, bandwidth: int = 0
    ) -> Prefetched:
        """Fetch the files that a list names, in its order, until the cache is full."""
        return await self._files(FilesByName(self._tree, lines, mountpoint), bandwidth)

    async def manifest(self) -> Prefetched:
        """Fetch the manifest alone."""
        return await self._fetched(manifest_wants(self._tree, self._client), Prefetched, 0)

    async def _files(self, files: FilesByPattern | FilesByName, bandwidth: int) -> Prefetched:
        wanted = WantedFiles(self._tree, self._client, files)

        def found() -> Prefetched:
            missing = files.missing_count if isinstance(files, FilesByName) else 0
            return Prefetched(wanted.file_count, wanted.file_size, missing)

        return await self._fetched(wanted, found, bandwidth)

    async def _fetched(
        self,
        wants: AsyncIterable[Want] | Iterable[Want],
        found: Callable[[], Prefetched],
        bandwidth: int,
    ) -> Prefetched:
        """Announce *wants*, follow the progress, and return what has become of them."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce, wants, bandwidth)
            progress: Progress | None = None
            while progress is None or progress.state not in _ENDS:
                progress = await self._client.progressed(progress)
                prefetched = self._joined(found(), progress)
                self._report(prefetched)
            nursery.cancel_scope.cancel()
        self._client.withdraw_nowait()
        return prefetched

    async def _announce(self, wants: AsyncIterable[Want] | Iterable[Want], bandwidth: int) -> None:
        await self._client.announce(wants, window_size=_WHOLE_CACHE, bandwidth=bandwidth)
        self._is_listed = True

    def _joined(self, found: Prefetched, progress: Progress) -> Prefetched:
        """Return what is known of the files and of their chunks together."""
        return Prefetched(
            found.file_count,
            found.file_size,
            found.missing_count,
            self._client.announced_count,
            progress.filled_count,
            progress.failed_count,
            progress.fetched_size,
            self._is_listed,
            progress.state in {PlanState.WAITING, PlanState.FULL},
            progress.error[1] if progress.error else None,
        )


async def prefetch(client: CacheClient, tree: Tree, pattern: str) -> Prefetched:
    """Have what *pattern* means fetched: `manifest`, or files as `headrace prefetch` takes them.

    Returns when all of it is in the cache, or the cache is full.
    """
    prefetching = Prefetching(client, tree, _ignore)
    if pattern == MANIFEST:
        return await prefetching.manifest()
    return await prefetching.by_pattern(pattern or EVERYTHING)


async def prefetch_once(client: CacheClient, mounted: MountedSnapshots, spec: MountSpec) -> None:
    """Fetch what a mount wants before it is read, in one of all its workers.

    Nobody waits for it, so what goes wrong is logged. Who dies over it is followed by the worker
    that comes in its place.
    """
    claim = _claim(mount_directory(spec.key) / "prefetch") if spec.prefetch else None
    if claim is None:
        return
    try:
        done = await prefetch(client, await mounted.current(), str(spec.prefetch))
        log.info("prefetched %s: %s", spec.prefetch, done)
    except* HeadraceError as group:
        log.warning("could not prefetch %s: %s", spec.prefetch, first_error(group))
    finally:
        os.close(claim)


def _claim(path: Path) -> int | None:
    """Return a descriptor that keeps others from claiming *path*, None when another has it."""
    claim = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(claim)
        return None
    return claim


def _ignore(_: Prefetched) -> None:
    """Report to nobody."""
