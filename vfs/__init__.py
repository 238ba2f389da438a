"""Mounted snapshots. Knows inodes, names, extents and mounts; not LMDB, object stores or pods.

`vfs.open` reads a snapshot in process, without a mount.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfs.inprocess import open_snapshot as open  # noqa: A004 - read as vfs.open, like gzip.open

__all__ = ["open"]


def __getattr__(name: str) -> object:
    """Import the in-process API when it is first used: whoever serves a mount needs no fsspec."""
    if name == "open":
        found: object = import_module("vfs.inprocess").open_snapshot
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
