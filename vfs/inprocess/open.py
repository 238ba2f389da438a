"""The one line with which a program begins: the same at a desk and in a pod."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from vfs.inprocess.filesystem import DEADLINE_SECONDS, HeadraceFileSystem
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, mount_table


def open_snapshot(
    dataset: str | os.PathLike[str],
    *,
    repo: str | None = None,
    storage_options: Mapping[str, object] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_size: int | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> AbstractFileSystem:
    """Return a read-only fsspec filesystem of a snapshot, given as `SOURCE[@SNAPSHOT]`.

    A path in a mounted snapshot gives a filesystem of the same kind over that mount's files, for
    programs that cannot share the node's cache, as those in pods; the settings are the mount's.
    Otherwise *repo*, *storage_options* and *cache_dir* mean what they do in `headrace mount`, and
    *cache_size* is in bytes. Raises HeadraceError leaves where the snapshot cannot be read.
    """
    place = os.fspath(dataset)
    if is_in_mount(place):
        return DirFileSystem(os.path.abspath(place), LocalFileSystem())
    made = HeadraceFileSystem(
        place,
        repo=repo,
        storage_options=storage_options,
        cache_dir=cache_dir and os.fspath(cache_dir),
        cache_size=cache_size,
        deadline_seconds=deadline_seconds,
    )
    made.connect()
    return made


def is_in_mount(place: str) -> bool:
    """Say whether *place* is a path that one of our mounts shows."""
    if "://" in place:
        return False
    path = Path(os.path.abspath(place))
    above = [info for info in mount_table() if path.is_relative_to(info.mountpoint)]
    # The deepest shows it; of several at one place the one that was mounted last.
    shown = max(above, key=lambda info: len(info.mountpoint.parts), default=None)
    return shown is not None and shown.filesystem == FILESYSTEM_TYPE
