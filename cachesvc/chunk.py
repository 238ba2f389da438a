"""Objects, and the chunks they are fetched and cached in. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NewType

import xxhash

from cachesvc.units import MIB

CHUNK_SIZE = 4 * MIB
"""Bytes of a data object that are fetched, checked and cached together."""

DIGEST_SIZE = 20
CHUNK_ID_SIZE = DIGEST_SIZE + 4

ChunkId = NewType("ChunkId", bytes)
"""A chunk of a version of an object: a 20-byte object digest, a 4-byte big-endian index."""


def following(chunk: ChunkId) -> ChunkId:
    """Return the chunk after *chunk* in its object, which may have no more."""
    index = int.from_bytes(chunk[DIGEST_SIZE:], "big") + 1
    return ChunkId(chunk[:DIGEST_SIZE] + index.to_bytes(4, "big"))


@dataclass(frozen=True)
class ObjectRef:
    """One immutable version of one object.

    `root` is the canonical URL of the origin, endpoint included (see `Origin.root`), `key` the
    object's name below it, `size` its length in bytes. `version` is the store's etag without
    quotes or what stands for it, such as an mtime; None means that the name alone fixes the
    content. `chunk_size` is part of the identity.
    """

    root: str
    key: str
    size: int
    version: str | None
    chunk_size: int = CHUNK_SIZE

    @cached_property
    def digest(self) -> bytes:
        """Digest of the identity; cryptographic, since tenants of one cache must not forge it."""
        parts = (self.root, self.key, str(self.size), repr(self.version), str(self.chunk_size))
        text = "\0".join(parts).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=DIGEST_SIZE).digest()

    @property
    def chunk_count(self) -> int:
        """How many chunks the object has; 0 when it is empty."""
        return -(-self.size // self.chunk_size)

    def chunk_id(self, index: int) -> ChunkId:
        """Return the identity of the chunk number *index*."""
        return ChunkId(self.digest + index.to_bytes(4, "big"))

    def chunk_range(self, index: int) -> tuple[int, int]:
        """Return the half-open byte range of the chunk number *index* within the object."""
        start = index * self.chunk_size
        return start, min(start + self.chunk_size, self.size)


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes `[start, stop)` of one chunk whose whole length is `chunk_length`."""

    chunk: ChunkId
    chunk_length: int
    start: int
    stop: int


def checksum(data: bytes | bytearray | memoryview) -> int:
    """Return the 64-bit xxh3 of *data*: what is stored for a chunk and compared on admit."""
    digest: int = xxhash.xxh3_64_intdigest(data)
    return digest
