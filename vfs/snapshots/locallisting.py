"""A local tree as it lies: names are bytes, symlinks stay symlinks, special files are left out."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence

import anyio.to_thread

from vfs.errors import SourceUnreadableError
from vfs.snapshots.listing import BATCH_COUNT, Listed, ListedKind
from vfs.snapshots.names import Skipped, SkipReason, printable


class LocalListing:
    """One pass over a local directory, in threads and a batch at a time, so it can be cancelled.

    A file that vanishes meanwhile is counted as skipped; a directory that may not be read ends the
    pass, since a snapshot that silently lacks a part is worse than none.
    """

    def __init__(self, root: str, left_out: frozenset[bytes] = frozenset()) -> None:
        """List below *root* all but the directories *left_out*, given as paths."""
        self.skipped = Skipped()
        self._root = os.fsencode(root)
        self._left_out = left_out

    async def batches(self) -> AsyncIterator[Sequence[Listed]]:
        """Yield all there is, the root first and a directory before what is in it."""
        walk = self._walk()
        while (batch := await anyio.to_thread.run_sync(next, walk, None)) is not None:
            yield batch

    def visible(self, batch: Sequence[Listed]) -> Iterator[Listed]:
        """Yield all of *batch*: a file system has one thing at a path."""
        return iter(batch)

    def _walk(self) -> Iterator[list[Listed]]:
        batch = [self._top()]
        pending = [b""]
        while pending:
            for entry in self._scan(pending.pop()):
                batch.append(entry)
                if entry.kind is ListedKind.DIRECTORY:
                    pending.append(entry.path)
                if len(batch) >= BATCH_COUNT:
                    yield batch
                    batch = []
        yield batch

    def _top(self) -> Listed:
        try:
            status = os.stat(self._root)
        except OSError as exc:
            raise unreadable(self._root, exc) from exc
        if not stat.S_ISDIR(status.st_mode):
            raise SourceUnreadableError(f"{printable(self._root)} is not a directory")
        return directory_entry(b"", status)

    def _scan(self, directory: bytes) -> Iterator[Listed]:
        place = os.path.join(self._root, directory)
        prefix = directory + b"/" if directory else b""
        try:
            with os.scandir(place) as found:
                for child in found:
                    entry = self._entry(prefix + child.name, child)
                    if entry is not None:
                        yield entry
        except FileNotFoundError:
            self.skipped.add(SkipReason.VANISHED, directory)
        except OSError as exc:
            raise unreadable(place, exc) from exc

    def _entry(self, path: bytes, child: os.DirEntry[bytes]) -> Listed | None:
        try:
            status = child.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                return file_entry(path, status)
            if stat.S_ISLNK(status.st_mode):
                return symlink_entry(path, status, os.readlink(child.path))
        except FileNotFoundError:
            self.skipped.add(SkipReason.VANISHED, path)
            return None
        if stat.S_ISDIR(status.st_mode):
            return None if path in self._left_out else directory_entry(path, status)
        self.skipped.add(SkipReason.SPECIAL_FILE, path)
        return None


def file_entry(path: bytes, status: os.stat_result) -> Listed:
    """Describe a regular file; its version is what the local store goes by, the mtime."""
    mtime_ns = status.st_mtime_ns
    mode = stat.S_IMODE(status.st_mode)
    return Listed(ListedKind.FILE, path, status.st_size, mtime_ns, mode, str(mtime_ns))


def directory_entry(path: bytes, status: os.stat_result) -> Listed:
    """Describe a directory."""
    return Listed(ListedKind.DIRECTORY, path, 0, status.st_mtime_ns, stat.S_IMODE(status.st_mode))


def symlink_entry(path: bytes, status: os.stat_result, target: bytes) -> Listed:
    """Describe a symlink, which is kept as it is, wherever it leads."""
    return Listed(ListedKind.SYMLINK, path, len(target), status.st_mtime_ns, 0o777, target=target)


def unreadable(place: bytes, exc: OSError) -> SourceUnreadableError:
    """Say which place could not be read and why."""
    return SourceUnreadableError(f"cannot read {printable(place)}: {exc.strerror}")
