"""Where in an LMDB file the values lie that have pages of their own, read from the file itself.

LMDB does not tell: it shows a value in its map, and py-lmdb touches each page of it, which from the
disk takes 2 ms for 128 KiB. Here only the pages of the B-tree are read, one for some 60 values. The
file must not change meanwhile.

Format: `MDB_meta`, `MDB_page`, `MDB_node` in
https://github.com/LMDB/lmdb/blob/LMDB_0.9.31/libraries/liblmdb/mdb.c, data version 1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from cachesvc.errors import CacheDamagedError

MAGIC: Final = 0xBEEFC0DE
DATA_VERSION: Final = 1
HEADER_SIZE: Final = 16
LEAF: Final = 0x02
HAS_OWN_PAGES: Final = 0x01
NO_PAGE: Final = (1 << 64) - 1
MOST_LEVELS: Final = 32
"""What LMDB's cursors climb at most."""

_META = struct.Struct("<16xII16xI84xQ8xQ")
"""Magic, data version, page size, the root of the tree, and the transaction that wrote it."""
_HEADER = struct.Struct("<Q2xHH2x")
"""The page's own number, its flags, and where the pointers to its nodes end."""
_POINTER = struct.Struct("<H")
_NODE = struct.Struct("<HHHH")
_PAGE = struct.Struct("<Q")


def value_pages(path: Path) -> Generator[tuple[bytes, int], None, None]:
    """Yield key and offset of each value that has pages of its own, in the order of keys.

    The offset is where its first page begins; the value comes after that page's header. Raises
    CacheDamagedError where the file is none of LMDB's, or was cut short.
    """
    with path.open("rb") as file:
        try:
            yield from _in_tree(file.fileno())
        except (struct.error, ValueError) as error:
            raise CacheDamagedError(f"{path} has pages that are none of LMDB's") from error


def _in_tree(file: int) -> Iterator[tuple[bytes, int]]:
    magic, version, page_size, *first = _META.unpack_from(os.pread(file, _META.size, 0))
    if (magic, version) != (MAGIC, DATA_VERSION):
        raise ValueError("no meta page of this version")
    _, _, _, *second = _META.unpack_from(os.pread(file, _META.size, page_size))
    root, _ = max(first, second, key=_transaction)
    if root != NO_PAGE:
        yield from _below(file, page_size, root, MOST_LEVELS)


def _transaction(meta: list[int]) -> int:
    """Return which commit wrote the rest."""
    return meta[1]


def _below(file: int, page_size: int, number: int, levels: int) -> Iterator[tuple[bytes, int]]:
    page = os.pread(file, page_size, number * page_size)
    own_number, flags, lower = _HEADER.unpack_from(page)
    if own_number != number or not levels:
        raise ValueError(f"page {number} is none of the tree")
    for (start,) in _POINTER.iter_unpack(page[HEADER_SIZE:lower]):
        low, middle, high, key_size = _NODE.unpack_from(page, start)
        key_end = start + _NODE.size + key_size
        if not flags & LEAF:
            child = low | middle << 16 | high << 32
            yield from _below(file, page_size, child, levels - 1)
        elif high & HAS_OWN_PAGES:
            (first,) = _PAGE.unpack_from(page, key_end)
            yield page[start + _NODE.size : key_end], first * page_size
