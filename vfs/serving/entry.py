"""What the kernel is told of inodes: what LOOKUP, GETATTR and READDIRPLUS answer of each. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from vfs.manifest.inode import DIRECTORY, SYMLINK, Inode, Kind
from vfs.manifest.siblings import Siblings
from vfs.serving.modes import Modes

FOREVER_SECONDS: Final = 2**31
"""How long the kernel may believe what it was told: a snapshot does not change."""
BLOCK_SIZE: Final = 4096
SECTORS: Final = BLOCK_SIZE // 512
NAME_MAX: Final = 255
NANOSECONDS: Final = 1_000_000_000
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

    def entry(self, ino: int, inode: Inode, lifetime: int = FOREVER_SECONDS) -> bytes:
        """Return what the kernel is told of a name that is *inode*, for *lifetime* seconds."""
        return ENTRY_OUT.pack(ino, 0, lifetime, lifetime, 0, 0, *self._attributes(ino, inode))

    def attributes(self, ino: int, inode: Inode) -> bytes:
        """Return the body of the answer to GETATTR."""
        return ATTR_OUT.pack(FOREVER_SECONDS, 0, 0, *self._attributes(ino, inode))

    def entries(self, inos: Sequence[int], siblings: Siblings, lifetime: int) -> list[bytes]:
        """Return the same as `entry` for each of *siblings*: in 0.5 us, where that takes 0.95."""
        pack, uid, gid = ENTRY_OUT.pack, self._uid, self._gid
        kinds = siblings.kinds
        sizes = list(map(shown_size, kinds, siblings.sizes))
        times = map(divmod, siblings.mtimes_ns, repeat(NANOSECONDS))
        columns = (
            inos, sizes, map(blocks_of, kinds, sizes), times, self._st_modes(siblings),
            siblings.nlinks,
        )  # fmt: skip
        return [
            pack(
                ino, 0, lifetime, lifetime, 0, 0, ino, size, blocks,
                seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
                st_mode, nlink, uid, gid, 0, BLOCK_SIZE, 0,
            )
            for ino, size, blocks, (seconds, nanoseconds), st_mode, nlink in zip(
                *columns, strict=True
            )
        ]  # fmt: skip

    def _st_modes(self, siblings: Siblings) -> list[int]:
        """Return what each shows; most have the same."""
        bits = list(zip(siblings.kinds, siblings.modes, strict=True))
        known = {each: self._modes.st_mode(*each) for each in set(bits)}
        return [known[each] for each in bits]

    def _attributes(self, ino: int, inode: Inode) -> tuple[int, ...]:
        seconds, nanoseconds = divmod(inode.mtime_ns, NANOSECONDS)
        size = shown_size(inode.kind, inode.size)
        return (
            ino, size, blocks_of(inode.kind, size),
            seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
            self._modes.st_mode(inode.kind, inode.mode), inode.nlink, self._uid, self._gid,
            0, BLOCK_SIZE, 0,
        )  # fmt: skip


def shown_size(kind: Kind, size: int) -> int:
    """Return st_size; a directory has a block, whatever lies in it."""
    return BLOCK_SIZE if kind is DIRECTORY else size


def blocks_of(kind: Kind, shown: int) -> int:
    """Return st_blocks as ext4 counts: whole blocks in units of 512 bytes, none for a symlink."""
    return 0 if kind is SYMLINK else -(-shown // BLOCK_SIZE) * SECTORS
