"""How the reads of a plan travel and lie in memory until they are due: packed small. Pure.

A plan may be of a million files. Their keys and versions are looked at when they are about to be
fetched and not before: until then they are one compressed string for each thousand of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgpack

from cachesvc.units import MIB
from cachesvc.want import Want, chunks_in
from cachesvc.wire import MAX_ANNOUNCED, MAX_REQUEST_SIZE, Chunks, ProtocolError, chunks_of

_FASTEST = 1
_MAX_RANGE_SIZE = 16 * MIB
_MAX_KEYS_SIZE = MAX_REQUEST_SIZE // 4


class Piece(NamedTuple):
    """Some reads: the ids of their chunks, end to end, and what else is known of them, packed."""

    use_count: int
    ids: bytes
    wants: bytes


class PiecePacker:
    """Packs reads into pieces that fit into a message. Reads of one chunk in a row become one."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._groups: list[list[Want]] = []
        self._ids = bytearray()
        self._use_count = 0
        self._keys_size = 0

    def add(self, want: Want) -> Iterator[Piece]:
        """Take one read, and yield a piece when one is complete."""
        last = self._groups[-1] if self._groups else None
        if last and _is_same_object(last[-1], want):
            if last[-1].index == want.index:
                return
        else:
            last = None
        if last and len(last) * want.ref.chunk_size < _MAX_RANGE_SIZE:
            last.append(want)
        else:
            self._groups.append([want])
            self._keys_size += len(want.ref.key)
        self._ids += want.chunk
        self._use_count += 1
        if self._use_count == MAX_ANNOUNCED or self._keys_size > _MAX_KEYS_SIZE:
            yield from self.flush()

    def flush(self) -> Iterator[Piece]:
        """Yield what is not in a piece yet."""
        if self._groups:
            yield Piece(self._use_count, bytes(self._ids), pack_wants(map(chunks_in, self._groups)))
        self._groups, self._ids, self._use_count, self._keys_size = [], bytearray(), 0, 0


def _is_same_object(one: Want, other: Want) -> bool:
    return one.origin_index == other.origin_index and (one.ref is other.ref or one.ref == other.ref)


def pack_wants(wants: Iterable[Chunks]) -> bytes:
    """Return the wants of one message: keys of 40 bytes and MD5 versions pack to 30 bytes each."""
    packed: bytes = msgpack.packb(list(wants), unicode_errors="surrogateescape")
    return zlib.compress(packed, _FASTEST)


def unpack_wants(packed: bytes) -> list[Chunks]:
    """Return what was packed; raises ProtocolError for anything else, or too much of it."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, MAX_REQUEST_SIZE)
        if unpacker.unconsumed_tail:
            raise ProtocolError(f"an announcement unpacks to more than {MAX_REQUEST_SIZE} bytes")
        wants = msgpack.unpackb(data, unicode_errors="surrogateescape")
    except (zlib.error, ValueError, msgpack.UnpackException) as error:
        raise ProtocolError(f"an announcement is not what it should be: {error}") from error
    if not isinstance(wants, list):
        raise ProtocolError("an announcement is not what it should be: no list")
    return [chunks_of(want) for want in wants]
