"""pyfuse3's handlers for a mounted snapshot, each one call deep.

What they raise becomes an errno in one place: `replies_errno`.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import EntryAttributes, FileNameT, InodeT, RequestContext

from vfs.errors import WrongKindError
from vfs.manifest.inode import Inode, Kind
from vfs.serving.attributes import AttributeReader
from vfs.serving.entry import (
    BLOCK_SIZE,
    FOREVER_SECONDS,
    NAME_MAX,
    blocks_of,
    shown_size,
)
from vfs.serving.errno import errno_of
from vfs.serving.modes import Modes
from vfs.serving.mounted import MountedSnapshots

P = ParamSpec("P")
R = TypeVar("R")


def replies_errno(
    handler: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Turn whatever *handler* raises into FUSEError: on all else pyfuse3 ends the mount."""

    @functools.wraps(handler)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            raise pyfuse3.FUSEError(errno_of(error)) from error

    return guarded


class SnapshotOperations(pyfuse3.Operations):
    """Names and attributes. READ, OPEN and READDIR never come here, LOOKUP and GETATTR only when
    something has to be read first: see `vfs.serving.channel`.
    """

    supports_dot_lookup = True

    def __init__(
        self,
        mounted: MountedSnapshots,
        attributes: AttributeReader,
        uid: int,
        gid: int,
        modes: Modes,
    ) -> None:
        """Serve *mounted*; every file belongs to *uid* and *gid* and shows *modes*."""
        super().__init__()
        self._mounted = mounted
        self._attributes = attributes
        self._uid = uid
        self._gid = gid
        self._modes = modes

    @replies_errno
    async def lookup(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """Find *name* in a directory; a known absence is remembered by the kernel as well."""
        if len(name) > NAME_MAX:
            raise pyfuse3.FUSEError(errno.ENAMETOOLONG)
        found = await self._mounted.lookup(parent_inode, name)
        return self._absent() if found is None else self._entry(*found)

    @replies_errno
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """Return what stat(2) shows."""
        _, found = await self._mounted.inode(inode)
        return self._entry(inode, found)

    @replies_errno
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """Return the target of a symlink, as it was recorded."""
        _, found = await self._mounted.inode(inode)
        if found.kind is not Kind.SYMLINK:
            raise WrongKindError(f"inode {inode} is no symlink")
        return FileNameT(found.target)

    @replies_errno
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """Return the snapshot's size: a full, read-only file system."""
        summary = (await self._mounted.current()).superblock
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = BLOCK_SIZE
        data.f_blocks = -(-summary.total_bytes // BLOCK_SIZE)
        data.f_bfree = data.f_bavail = 0
        data.f_files = summary.inode_count
        data.f_ffree = data.f_favail = 0
        data.f_namemax = NAME_MAX
        return data

    @replies_errno
    async def getxattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> bytes:
        """Return one of headrace's own attributes; there are no others."""
        epoch, found = await self._mounted.inode(inode)
        return await self._attributes.value(epoch, found, name)

    @replies_errno
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> list[bytes]:
        """Return the names that `getxattr` knows for this inode."""
        _, found = await self._mounted.inode(inode)
        return self._attributes.names(found)

    def _entry(self, ino: int, inode: Inode) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(ino)
        entry.entry_timeout = entry.attr_timeout = FOREVER_SECONDS
        entry.st_mode = self._modes.st_mode(inode.kind, inode.mode)
        entry.st_nlink = inode.nlink
        entry.st_uid = self._uid
        entry.st_gid = self._gid
        entry.st_size = size = shown_size(inode.kind, inode.size)
        entry.st_blocks = blocks_of(inode.kind, size)
        entry.st_blksize = BLOCK_SIZE
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = inode.mtime_ns
        return entry

    @staticmethod
    def _absent() -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(0)
        entry.entry_timeout = FOREVER_SECONDS
        return entry
