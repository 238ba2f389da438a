"""How a manifest's tables are cut into pages, compressed and checked. Pure.

A table is a number of records in pages. `GROUP_SIZE` pages and the index page that describes them
make a group and lie end to end in the file, index page first; the top index describes the groups.
Knows digests and lengths; not what a record means.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from vfs.errors import ManifestDamagedError

PAGE_RECORDS: Final = 1024
"""Inodes in a page; also objects in a page of the object table."""
HASH_PAGE_RECORDS: Final = 8192
GROUP_SIZE: Final = 512
PAGE_SIZE_LIMIT: Final = 16 << 20
"""Bytes of a page, packed or not: no hostile length makes a reader allocate more."""
COMPRESSION_LEVEL: Final = 1
DIGEST_SIZE: Final = 16
_GROUP: Final = struct.Struct("<QI16s")
_PAGE: Final = struct.Struct("<I16sB")
_INDEX_SIZE_LIMIT: Final = GROUP_SIZE * (_PAGE.size + 255)


@dataclass(frozen=True, slots=True)
class Group:
    """Where one group lies, and its index page's length and digest."""

    offset: int
    index_length: int
    index_digest: bytes


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One page: its length as packed, the digest of those bytes, its first record's name."""

    length: int
    digest: bytes
    first_name: bytes


@dataclass(frozen=True, slots=True)
class IndexPage:
    """The pages of one group; `offsets` has one number more than there are pages."""

    entries: Sequence[PageEntry]
    offsets: Sequence[int]


def digest_of(data: bytes | bytearray) -> bytes:
    """Return the 16-byte blake2b of *data*: what every digest inside a manifest is."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def page_count(record_count: int, page_records: int) -> int:
    """Return how many pages that many records fill."""
    return -(-record_count // page_records)


def group_count(record_count: int, page_records: int) -> int:
    """Return how many groups that many records fill."""
    return -(-page_count(record_count, page_records) // GROUP_SIZE)


def top_index_size(record_count: int, page_records: int) -> int:
    """Return the size of the top index of a table: it is known before any page is written."""
    return group_count(record_count, page_records) * _GROUP.size


def encode_top_index(groups: Sequence[Group]) -> bytes:
    """Return the bytes of a table's top index."""
    return b"".join(_GROUP.pack(g.offset, g.index_length, g.index_digest) for g in groups)


def decode_top_index(data: bytes, digest: bytes, file_size: int) -> tuple[Group, ...]:
    """Return the groups of a table, whose index pages all lie within the file."""
    check_digest(data, digest, "top index")
    groups = tuple(Group(*fields) for fields in _GROUP.iter_unpack(data))
    for group in groups:
        if group.index_length > _INDEX_SIZE_LIMIT or _end(group) > file_size:
            raise damaged("top index points outside the file")
    return groups


def encode_index_page(pages: Sequence[PageEntry]) -> bytes:
    """Return the bytes of a group's index page."""
    return b"".join(
        _PAGE.pack(page.length, page.digest, len(page.first_name)) + page.first_name
        for page in pages
    )


def decode_index_page(data: bytes, group: Group, count: int, file_size: int) -> IndexPage:
    """Return the *count* pages that the index page of *group* describes, all within the file."""
    check_digest(data, group.index_digest, "index page")
    try:
        entries = _unpack_entries(data, count)
    except struct.error as exc:
        raise damaged("index page is malformed") from exc
    offsets = tuple(accumulate((entry.length for entry in entries), initial=_end(group)))
    if offsets[-1] > file_size or any(entry.length > PAGE_SIZE_LIMIT for entry in entries):
        raise damaged("index page points outside the file")
    return IndexPage(entries, offsets)


def _unpack_entries(data: bytes, count: int) -> tuple[PageEntry, ...]:
    entries = []
    at = 0
    for _ in range(count):
        length, digest, name_size = _PAGE.unpack_from(data, at)
        at += _PAGE.size + name_size
        entries.append(PageEntry(length, digest, data[at - name_size : at]))
    if at != len(data):
        raise damaged("index page has the wrong size")
    return tuple(entries)


def pack_page(raw: bytes | bytearray) -> bytes:
    """Return a page as it lies in the file."""
    return zlib.compress(raw, COMPRESSION_LEVEL)


def unpack_page(packed: bytes, digest: bytes, least_size: int) -> bytes:
    """Return a page's own bytes, after its digest was checked and that it is whole."""
    check_digest(packed, digest, "page")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, PAGE_SIZE_LIMIT)
    except zlib.error as exc:
        raise damaged("page cannot be unpacked") from exc
    if not inflater.eof or inflater.unused_data or len(raw) < least_size:
        raise damaged("page has the wrong size")
    return raw


def check_digest(data: bytes, digest: bytes, what: str) -> None:
    """Raise ManifestDamagedError unless *digest* is that of *data*."""
    if digest_of(data) != digest:
        raise damaged(f"{what} is truncated or altered")


def damaged(what: str) -> ManifestDamagedError:
    """Return the error that says *what* is wrong with the manifest, and what to do."""
    return ManifestDamagedError(
        f"the manifest is damaged: {what}; publish the dataset again or use another snapshot"
    )


def _end(group: Group) -> int:
    return group.offset + group.index_length
