"""Bringing files of a snapshot into the node's cache before anybody reads them.

Knows what is announced to the cache and when enough of it is there. Knows nothing of processes.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path

import trio

from cachesvc.client import CacheClient, PlanState, Progress, Want
from cachesvc.errors import HeadraceError, first_error
from vfs.manifest.tree import Tree
from vfs.mounting.patterns import EVERYTHING, PathPattern
from vfs.mounting.prefetched import Prefetched, Terms
from vfs.mounting.selection import FilesByName, FilesByPattern, WantedFiles, manifest_wants
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import mount_directory
from vfs.serving.mounted import MountedSnapshots

log = logging.getLogger(__name__)

MANIFEST = "manifest"
"""What to give as a pattern when only names and attributes are wanted, and no file."""
_WHOLE_CACHE = 1 << 62
_ENDS = frozenset({PlanState.DONE, PlanState.WAITING, PlanState.FULL})
LEFT_SECONDS = 60.0
"""How long readers who are followed may pause once all is here, and they have begun. Reads that the
kernel answers by itself are not heard of, so the last ones may never be."""


Report = Callable[[Prefetched], None]


class Prefetching:
    """One announced order of files, from its first name until all is in the cache or was."""

    def __init__(
        self, client: CacheClient, tree: Tree, report: Report, terms: Terms | None = None
    ) -> None:
        """Find files in *tree*, have them fetched by *client*, tell *report* now and then."""
        self._client = client
        self._tree = tree
        self._report = report
        self._terms = terms or Terms()
        self._is_listed = False

    async def by_pattern(self, pattern: str) -> Prefetched:
        """Fetch the files that match, in the order of the manifest."""
        return await self._files(FilesByPattern(self._tree, PathPattern(pattern)))

    async def by_name(self, lines: Iterable[bytes], mountpoint: Path) -> Prefetched:
        """Fetch the files that a list names, in its order."""
        return await self._files(FilesByName(self._tree, lines, mountpoint))

    async def manifest(self) -> Prefetched:
        """Fetch the manifest alone."""
        return await self._fetched(manifest_wants(self._tree, self._client), Prefetched)

    async def _files(self, files: FilesByPattern | FilesByName) -> Prefetched:
        wanted = WantedFiles(self._tree, self._client, files)

        def found() -> Prefetched:
            missing = files.missing_count if isinstance(files, FilesByName) else 0
            return Prefetched(wanted.file_count, wanted.file_size, missing)

        return await self._fetched(wanted, found)

    async def _fetched(
        self,
        wants: AsyncIterable[Want] | Iterable[Want],
        found: Callable[[], Prefetched],
    ) -> Prefetched:
        """Announce *wants*, follow the progress, and return what has become of them."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce, wants)
            progress = await self._client.progressed(None)
            self._report(self._joined(found(), progress))
            while not self._is_over(progress):
                with trio.move_on_after(self._patience_seconds(progress)) as waiting:
                    progress = await self._client.progressed(progress)
                    self._report(self._joined(found(), progress))
                if waiting.cancelled_caught:
                    break
            done = self._joined(found(), progress)
            nursery.cancel_scope.cancel()
        self._client.withdraw_nowait()
        return done

    def _is_over(self, progress: Progress) -> bool:
        """Say whether nothing more is to come, or nothing more is wanted."""
        if self._terms.follows:
            return progress.state == PlanState.DONE and self._unread_count(progress) <= 0
        return progress.state in _ENDS

    def _patience_seconds(self, progress: Progress) -> float:
        """Return how long to wait for more."""
        is_here = self._terms.follows and progress.state == PlanState.DONE
        return LEFT_SECONDS if is_here and progress.read_count else math.inf

    def _unread_count(self, progress: Progress) -> int:
        return self._client.announced_count - progress.read_count

    async def _announce(self, wants: AsyncIterable[Want] | Iterable[Want]) -> None:
        # Who follows readers leaves the cache some of its room, for what is read again.
        size = self._terms.window_size if self._terms.follows else _WHOLE_CACHE
        await self._client.announce(wants, window_size=size, bandwidth=self._terms.bandwidth)
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
            progress.read_count,
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
