"""What fsspec is told of an inode. Pure."""

from __future__ import annotations

import os
import stat
from typing import Any

from vfs.manifest.inode import Inode, Kind

_TYPES = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "link"}
_FORMATS = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}


def info_of(path: str, inode: Inode) -> dict[str, Any]:
    """Return the description of *inode*, which lies at *path*."""
    return {
        "name": path,
        "size": inode.size,
        "type": _TYPES[inode.kind],
        "mtime": inode.mtime_ns / 1e9,
        "mode": _FORMATS[inode.kind] | inode.mode,
        "ino": inode.position,
        "nlink": inode.nlink,
        "islink": False,
    }


def link_info_of(path: str, link: Inode, target: Inode | None) -> dict[str, Any]:
    """Return the description of a symlink: *target*'s, but None where it leads to nothing."""
    shown = info_of(path, target or link)
    return {**shown, "islink": True, "destination": os.fsdecode(link.target)}
