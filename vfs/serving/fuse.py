"""pyfuse3's handlers for a mounted snapshot, each one call deep.

What they raise becomes an errno in one place: `replies_errno`.
"""

from __future__ import annotations

import errno
import functools
import stat
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileNameT, InodeT, ReaddirToken, RequestContext

from vfs.errors import WrongKindError
from vfs.manifest.inode import Inode, Kind
from vfs.serving.attributes import AttributeReader
from vfs.serving.errno import errno_of
from vfs.serving.ino import ino_of
from vfs.serving.mounted import MountedSnapshots

FOREVER_SECONDS = 2**31
"""How long the kernel may believe what it was told: a snapshot does not change."""
BLOCK_SIZE = 4096
NAME_MAX = 255
FILE_TYPES = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}

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
    """Names and attributes. READ and OPEN never come here: see `vfs.serving.channel`."""

    supports_dot_lookup = True

    def __init__(
        self, mounted: MountedSnapshots, attributes: AttributeReader, uid: int, gid: int
    ) -> None:
        """Serve *mounted*; every file belongs to *uid* and *gid*."""
        super().__init__()
        self._mounted = mounted
        self._attributes = attributes
        self._uid = uid
        self._gid = gid

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
        epoch, parent = await self._mounted.inode(parent_inode)
        found = await self._mounted.lookup(epoch, parent, name)
        return self._absent() if found is None else self._entry(epoch, found)

    @replies_errno
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """Return what stat(2) shows."""
        epoch, found = await self._mounted.inode(inode)
        return self._entry(epoch, found)

    @replies_errno
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """Return the target of a symlink, as it was recorded."""
        _, found = await self._mounted.inode(inode)
        if found.kind is not Kind.SYMLINK:
            raise WrongKindError(f"inode {inode} is no symlink")
        return FileNameT(found.target)

    @replies_errno
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """List a directory from the entry number *start_id* on.

        *fh* is the inode, which `as_pyfuse3_readdir` put there.
        """
        epoch, directory = await self._mounted.inode(fh)
        tree = self._mounted.tree(epoch)
        if start_id < 2 and not await self._reply_dots(epoch, directory, start_id, token):
            return
        next_id = max(start_id, 2)
        async for batch in tree.children(directory, next_id - 2):
            for child in batch:
                next_id += 1
                if not pyfuse3.readdir_reply(token, child.name, self._entry(epoch, child), next_id):
                    return

    async def _reply_dots(
        self, epoch: int, directory: Inode, start_id: int, token: ReaddirToken
    ) -> bool:
        parent = await self._mounted.tree(epoch).inode(directory.parent or directory.position)
        dots = ((b".", directory), (b"..", parent))
        return all(
            pyfuse3.readdir_reply(token, FileNameT(name), self._entry(epoch, inode), number)
            for number, (name, inode) in enumerate(dots[start_id:], start_id + 1)
        )

    @replies_errno
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """Return the snapshot's size: a full, read-only file system."""
        summary = self._mounted.current.superblock
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

    def _entry(self, epoch: int, inode: Inode) -> EntryAttributes:
        ino = ino_of(epoch, inode.position)
        entry = EntryAttributes()
        entry.st_ino = InodeT(ino)
        entry.entry_timeout = entry.attr_timeout = FOREVER_SECONDS
        entry.st_mode = FILE_TYPES[inode.kind] | inode.mode
        entry.st_nlink = inode.nlink
        entry.st_uid = self._uid
        entry.st_gid = self._gid
        size = BLOCK_SIZE if inode.kind is Kind.DIRECTORY else inode.size
        entry.st_size = size
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


def blocks_of(kind: Kind, size: int) -> int:
    """Return st_blocks as ext4 counts: whole blocks in units of 512 bytes, none for a symlink."""
    if kind is Kind.SYMLINK:
        return 0
    return -(-size // BLOCK_SIZE) * (BLOCK_SIZE // 512)
