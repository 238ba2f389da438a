"""Which permission bits a mount shows. Pure."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import Final

from vfs.manifest.inode import Inode, Kind

FILE_TYPES: Final = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
}
READABLE = 0o444
PERMISSIONS = 0o777


@dataclass(frozen=True, slots=True)
class Modes:
    """The bits of every inode; without settings those that the snapshot has.

    `files` is what all files show instead of their own, and directories with a way in wherever they
    may be read. With `is_open` everybody may read everything.
    """

    files: int | None = None
    is_open: bool = False

    def st_mode(self, inode: Inode) -> int:
        """Return the kind of *inode* and its bits."""
        return FILE_TYPES[inode.kind] | self.shown(inode)

    def shown(self, inode: Inode) -> int:
        """Return the bits of *inode*."""
        if inode.kind is Kind.SYMLINK:
            return inode.mode
        mode = inode.mode if self.files is None else self.files & PERMISSIONS
        if self.is_open and self.files is None:
            mode |= READABLE
        if inode.kind is Kind.DIRECTORY and (self.is_open or self.files is not None):
            mode |= (mode & READABLE) >> 2
        return mode
