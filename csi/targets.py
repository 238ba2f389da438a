"""The steps on a target: make it, bind to it, take everything off it. Each under a deadline.

A step that has begun is waited for, also by who is cancelled: a bind that lands after its publish
was undone would stay for ever. One that is late all the same finds no directory to land on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from csi.errors import InvalidArgumentError, UnavailableError
from csi.inflight import to_the_end
from csi.mounts import Mounts
from csi.threads import Threads
from vfs.mounting.mountinfo import MountInfo

BIND_SECONDS = 10.0
STEP_SECONDS = 4.0
"""Unpublish is to be done within 5 s."""
TARGET_MODE = 0o750


class Targets:
    """What is done to targets, in threads."""

    def __init__(self, mounts: Mounts, threads: Threads) -> None:
        """Mount by *mounts*."""
        self._mounts = mounts
        self._threads = threads

    async def table(self) -> list[MountInfo]:
        """Return everything that is mounted."""
        return await self._threads.run("read mountinfo", self._mounts.table, STEP_SECONDS)

    async def make(self, target: Path) -> None:
        """Make the directory *target* unless it is there; its parent is."""
        call = partial(_make_directory, target)
        await to_the_end(self._threads.run(f"make {target}", call, STEP_SECONDS))

    async def bind(self, source: Path, sub_path: str, target: Path, *, executable: bool) -> None:
        """Show a part of the mount *source* at *target*."""
        call = partial(self._mounts.bind, source, sub_path, target, executable=executable)
        await to_the_end(self._threads.run(f"bind {target}", call, BIND_SECONDS))

    async def detach(self, target: Path) -> None:
        """Take every mount off *target*, without asking whoever serves it."""
        call = partial(self._mounts.detach, target)
        await to_the_end(self._threads.run(f"unmount {target}", call, STEP_SECONDS))

    async def remove(self, target: Path) -> None:
        """Remove the directory *target*; never what is in it."""
        call = partial(_remove_directory, target)
        await to_the_end(self._threads.run(f"remove {target}", call, STEP_SECONDS))


def topmost(table: Iterable[MountInfo], mountpoint: Path) -> MountInfo | None:
    """Return what is to be seen at *mountpoint*, None when nothing is mounted there."""
    found = [info for info in table if info.mountpoint == mountpoint]
    return found[-1] if found else None


def shows(info: MountInfo, source: MountInfo, sub_path: str) -> bool:
    """Whether a mount is a bind of the directory *sub_path* of *source*."""
    root = f"{source.root.rstrip('/')}/{sub_path}".rstrip("/") or "/"
    return (info.major, info.minor, info.root) == (source.major, source.minor, root)


def _make_directory(target: Path) -> None:
    try:
        target.mkdir(mode=TARGET_MODE)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise InvalidArgumentError(
            f"target_path {str(target)!r}: its parent directory does not exist"
        ) from None
    except OSError as error:
        raise UnavailableError(f"cannot make {target}: {error.strerror}") from error


def _remove_directory(target: Path) -> None:
    try:
        os.rmdir(target)
    except FileNotFoundError:
        return
    except OSError as error:
        hint = (
            "; move its files away, they are not the dataset's"
            if error.errno == errno.ENOTEMPTY
            else ""
        )
        raise UnavailableError(f"cannot remove {target}: {error.strerror}{hint}") from error
