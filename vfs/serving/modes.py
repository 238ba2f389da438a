"""Which permission bits a mount shows. Pure."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import Final

from vfs.manifest.inode import Kind

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

    def st_mode(self, kind: Kind, mode: int) -> int:
        """Return what an inode of this *kind* shows that has the bits *mode*."""
        return FILE_TYPES[kind] | self.shown(kind, mode)

    def shown(self, kind: Kind, mode: int) -> int:
        """Return only the bits that it shows."""
        if kind is Kind.SYMLINK:
            return mode
        if self.files is not None:
            mode = self.files & PERMISSIONS
        elif self.is_open:
            mode |= READABLE
        if kind is Kind.DIRECTORY and (self.is_open or self.files is not None):
            mode |= (mode & READABLE) >> 2
        return mode
