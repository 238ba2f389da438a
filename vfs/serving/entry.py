"""What the kernel is told of an inode: the bodies of LOOKUP's and GETATTR's answers. Pure."""

from __future__ import annotations

import struct
from typing import Final

from vfs.manifest.inode import Inode, Kind
from vfs.serving.modes import Modes

FOREVER_SECONDS: Final = 2**31
"""How long the kernel may believe what it was told: a snapshot does not change."""
BLOCK_SIZE: Final = 4096
NAME_MAX: Final = 255
ATTRIBUTES: Final = "QQQqqqIIIIIIIIII"
"""`struct fuse_attr`: ino, size, blocks, three times in seconds, their nanoseconds, then mode,
nlink, uid, gid, rdev, blksize and flags."""
ENTRY_OUT: Final = struct.Struct("<QQQQII" + ATTRIBUTES)
"""`struct fuse_entry_out`: number, generation, two lifetimes and their nanoseconds, attributes."""
ATTR_OUT: Final = struct.Struct("<QII" + ATTRIBUTES)
"""`struct fuse_attr_out`: lifetime, its nanoseconds, padding, attributes."""
ABSENT: Final = ENTRY_OUT.pack(0, 0, FOREVER_SECONDS, *[0] * (3 + len(ATTRIBUTES)))
"""The entry of a name that is known not to be there."""


class EntryEncoder:
    """Encodes what an inode shows where every file belongs to one user and group."""

    def __init__(self, uid: int, gid: int, modes: Modes) -> None:
        """Show *uid* and *gid* as the owner of everything, and what *modes* shows as its bits."""
        self._uid = uid
        self._gid = gid
        self._modes = modes

    def entry(self, ino: int, inode: Inode) -> bytes:
        """Return the body of the answer to a look-up that found *inode*."""
        return ENTRY_OUT.pack(
            ino, 0, FOREVER_SECONDS, FOREVER_SECONDS, 0, 0, *self._attributes(ino, inode)
        )

    def attributes(self, ino: int, inode: Inode) -> bytes:
        """Return the body of the answer to GETATTR."""
        return ATTR_OUT.pack(FOREVER_SECONDS, 0, 0, *self._attributes(ino, inode))

    def _attributes(self, ino: int, inode: Inode) -> tuple[int, ...]:
        seconds, nanoseconds = divmod(inode.mtime_ns, 1_000_000_000)
        size = shown_size(inode)
        return (
            ino, size, blocks_of(inode.kind, size),
            seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
            self._modes.st_mode(inode), inode.nlink, self._uid, self._gid, 0, BLOCK_SIZE, 0,
        )  # fmt: skip


def shown_size(inode: Inode) -> int:
    """Return st_size; a directory has a block, whatever lies in it."""
    return BLOCK_SIZE if inode.kind is Kind.DIRECTORY else inode.size


def blocks_of(kind: Kind, size: int) -> int:
    """Return st_blocks as ext4 counts: whole blocks in units of 512 bytes, none for a symlink."""
    if kind is Kind.SYMLINK:
        return 0
    return -(-size // BLOCK_SIZE) * (BLOCK_SIZE // 512)
