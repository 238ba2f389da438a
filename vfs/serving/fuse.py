"""pyfuse3's handlers for a mounted snapshot, each one call deep.

What they raise becomes an errno in one place: `replies_errno`.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileNameT, InodeT, ReaddirToken, RequestContext

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
from vfs.serving.ino import cookie_of, epoch_of, position_of
from vfs.serving.modes import Modes
from vfs.serving.mounted import MountedSnapshots

DOTS = 2
"""The first entries of each listing: `.` and `..`."""

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


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory as it was in the epoch in which somebody began to list it.

    `lifetime` is how long the kernel may believe its entries: not at all when it is outdated.
    """

    ino: int
    epoch: int
    directory: Inode
    lifetime: float


class SnapshotOperations(pyfuse3.Operations):
    """Names and attributes. READ and OPEN never come here, LOOKUP and GETATTR only when something
    has to be read first: see `vfs.serving.channel`.
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
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """List a directory from the cookie *start_id* on, as it was when the listing began.

        *fh* is the inode, which `as_pyfuse3_readdir` put there. What an outdated listing says of an
        entry the kernel has to ask for again.
        """
        listing = await self._listing(fh, start_id)
        number = position_of(start_id)
        if number < DOTS and not await self._reply_dots(listing, number, token):
            return
        number = max(number, DOTS)
        tree = await self._mounted.tree(listing.epoch)
        async for batch in tree.children(listing.directory, number - DOTS):
            inos = await self._mounted.numbers(listing.epoch, listing.directory, batch)
            for ino, child in zip(inos, batch, strict=True):
                number += 1
                entry = self._entry(ino, child, listing.lifetime)
                cookie = cookie_of(listing.epoch, number)
                if not pyfuse3.readdir_reply(token, child.name, entry, cookie):
                    return

    async def _listing(self, ino: int, cookie: int) -> Listing:
        now, directory = await self._mounted.inode(ino)
        epoch = epoch_of(cookie)
        if cookie == 0 or epoch == now:
            return Listing(ino, now, directory, FOREVER_SECONDS)
        epoch, directory = await self._mounted.listed(ino, epoch)
        return Listing(ino, epoch, directory, 0)

    async def _reply_dots(self, listing: Listing, start: int, token: ReaddirToken) -> bool:
        above = await self._mounted.parent(listing.epoch, listing.directory)
        dots = ((b".", (listing.ino, listing.directory)), (b"..", above))
        return all(
            pyfuse3.readdir_reply(
                token,
                FileNameT(name),
                self._entry(*place, listing.lifetime),
                cookie_of(listing.epoch, number),
            )
            for number, (name, place) in enumerate(dots[start:], start + 1)
        )

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

    def _entry(self, ino: int, inode: Inode, lifetime: float = FOREVER_SECONDS) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(ino)
        entry.entry_timeout = entry.attr_timeout = lifetime
        entry.st_mode = self._modes.st_mode(inode)
        entry.st_nlink = inode.nlink
        entry.st_uid = self._uid
        entry.st_gid = self._gid
        entry.st_size = size = shown_size(inode)
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
