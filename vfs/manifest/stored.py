"""The object table: what packed files' extents refer to. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vfs.errors import InvalidNameError
from vfs.manifest.inode import SIZE_LIMIT, check_name
from vfs.manifest.page import damaged
from vfs.manifest.superblock import LEAST_CHUNK_SIZE, MAX_CHUNK_SIZE

_OBJECT: Final = struct.Struct("<QQIHHBB")
LEAST_OBJECT_SIZE: Final = _OBJECT.size + 1


class Place(Enum):
    """Which of the two roots that a manifest may name objects below."""

    SOURCE = 0
    REPOSITORY = 1


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that extents refer to, by its key below the root of `place`.

    `first_hash` is where the hashes of its chunks, of `chunk_size` bytes each, begin in the hash
    table; None when it has none.
    """

    place: Place
    key: str
    size: int
    version: str | None
    chunk_size: int
    first_hash: int | None = None

    @property
    def chunk_count(self) -> int:
        """How many chunks the object has."""
        return -(-self.size // self.chunk_size)


def encode_object(stored: StoredObject) -> bytes:
    """Return the record of an object."""
    key = stored.key.encode("utf-8", "surrogateescape")
    check_key(key)
    version = (stored.version or "").encode("utf-8", "surrogateescape")
    hashed = stored.first_hash is not None
    first = stored.first_hash or 0
    fixed = _OBJECT.pack(
        *(stored.size, first, stored.chunk_size, len(key), len(version)),
        *(stored.place.value, hashed),
    )
    return fixed + key + version


def decode_objects(page: bytes, count: int) -> tuple[StoredObject, ...]:
    """Return the *count* objects of a page, whose keys cannot lead out of their root."""
    objects = []
    at = 0
    for _ in range(count):
        stored, at = _decode_object(page, at)
        objects.append(stored)
    return tuple(objects)


def _decode_object(page: bytes, at: int) -> tuple[StoredObject, int]:
    try:
        size, first, chunk_size, key_size, version_size, place, hashed = _OBJECT.unpack_from(
            page, at
        )
        key_start = at + _OBJECT.size
        version_start = key_start + key_size
        stop = version_start + version_size
        key, version = page[key_start:version_start], page[version_start:stop]
        check_key(key)
        possible = LEAST_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE
        if stop > len(page) or size >= SIZE_LIMIT or hashed > 1 or not possible:
            raise damaged("object table has an impossible record")
        stored = StoredObject(
            place=Place(place),
            key=key.decode("utf-8", "surrogateescape"),
            size=size,
            version=version.decode("utf-8", "surrogateescape") if version else None,
            chunk_size=chunk_size,
            first_hash=first if hashed else None,
        )
    except (struct.error, ValueError, InvalidNameError) as exc:
        raise damaged("object table is malformed") from exc
    return stored, stop


def check_key(key: bytes) -> None:
    """Raise InvalidNameError unless every component of *key* is an ordinary name."""
    for component in key.split(b"/"):
        check_name(component)
