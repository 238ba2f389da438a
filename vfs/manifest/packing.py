"""Which files of a manifest lie in packs, and where: decided before it is written. Pure."""

from __future__ import annotations

from array import array
from typing import Final

from vfs.manifest.collected import HASH_SIZE
from vfs.manifest.inode import RUN, Extent
from vfs.manifest.stored import StoredObject

_IN_PLACE: Final = (1 << 32) - 1


class Packing:
    """Packs with the hashes of their chunks, and the files in them by position.

    A position costs 12 bytes, up to the last that is packed.
    """

    def __init__(self) -> None:
        """Leave every file in place."""
        self.objects: list[tuple[StoredObject, bytes]] = []
        self.file_count = 0
        self._numbers = array("I")
        self._offsets = array("Q")

    @property
    def hash_count(self) -> int:
        """How many chunk hashes all packs have together."""
        return sum(len(hashes) for _, hashes in self.objects) // HASH_SIZE

    def add_object(self, stored: StoredObject, hashes: bytes = b"") -> int:
        """Add a pack, with the little-endian xxh3 of all its chunks or none; return its number."""
        if hashes and len(hashes) != stored.chunk_count * HASH_SIZE:
            raise ValueError(f"{len(hashes)} bytes are not the chunk hashes of {stored}")
        self.objects.append((stored, hashes))
        return len(self.objects) - 1

    def place(self, position: int, extent: Extent) -> None:
        """Say that the file at *position* is a copy in a pack that was added."""
        stored, _ = self.objects[extent.number]
        if extent.offset + extent.length > stored.size:
            raise ValueError(f"{extent} ends after {stored}")
        missing = position + 1 - len(self._numbers)
        self._numbers.extend([_IN_PLACE] * missing)
        self._offsets.extend([0] * missing)
        self._numbers[position] = extent.number
        self._offsets[position] = extent.offset
        self.file_count += 1

    def __contains__(self, position: int) -> bool:
        """Say whether the file at *position* lies in a pack."""
        return position < len(self._numbers) and self._numbers[position] != _IN_PLACE

    def run_of(self, position: int) -> bytes:
        """Return where a packed file begins, as its record says it."""
        return RUN.pack(self._numbers[position], self._offsets[position])
