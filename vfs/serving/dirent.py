"""How READDIR and READDIRPLUS tell the entries of a directory. Pure."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Final

from vfs.manifest.inode import NAME_SIZE_LIMIT, Kind
from vfs.serving.entry import ENTRY_OUT
from vfs.serving.modes import FILE_TYPES

_DIRENTS: Final = [
    struct.Struct(f"<QQII{size}s{-size % 8}x") for size in range(NAME_SIZE_LIMIT + 1)
]
"""`struct fuse_dirent` by the size of the name: number, cookie, name size, type, and padding."""
_SIZES: Final = [each.size for each in _DIRENTS]
_SIZES_PLUS: Final = [ENTRY_OUT.size + size for size in _SIZES]
"""`struct fuse_direntplus` is an entry and a dirent."""
_TYPES: Final = {kind: file_type >> 12 for kind, file_type in FILE_TYPES.items()}


def fitting(name_sizes: bytes, room: int, *, plus: bool) -> int:
    """Return how many entries with names so long fit into *room* bytes, without a gap."""
    sizes = _SIZES_PLUS if plus else _SIZES
    return bisect_right(list(accumulate(map(sizes.__getitem__, name_sizes))), room)


def dirents(
    inos: Sequence[int], names: Sequence[bytes], kinds: Sequence[Kind], first_cookie: int
) -> list[bytes]:
    """Return READDIR's entries; after the first, a listing goes on at *first_cookie*."""
    return [
        _DIRENTS[len(name)].pack(ino, cookie, len(name), _TYPES[kind], name)
        for cookie, (ino, name, kind) in enumerate(
            zip(inos, names, kinds, strict=True), first_cookie
        )
    ]


def with_entries(entries: Sequence[bytes], listed: Sequence[bytes]) -> bytes:
    """Return READDIRPLUS's body: what is told of each entry, and its dirent."""
    return b"".join(chain.from_iterable(zip(entries, listed, strict=True)))
