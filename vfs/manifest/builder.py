"""Collects a listing in memory, in any order, and turns it into a manifest.

A file costs 64 bytes, its name and an eighth of slack; a directory some 400. Knows paths;
`collected` packs the children of a directory, `writer` lays everything out in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cachesvc.chunk import CHUNK_SIZE
from vfs.errors import InvalidNameError
from vfs.manifest.breadth import files_in_order
from vfs.manifest.collected import HASH_SIZE, CollectedDirectory, collision
from vfs.manifest.inode import (
    MODE_MASK,
    SIZE_LIMIT,
    TARGET_SIZE_LIMIT,
    Inode,
    check_name,
    encode_file,
    encode_symlink,
)
from vfs.manifest.packing import Packing
from vfs.manifest.page import digest_of
from vfs.manifest.writer import Plan, SnapshotInfo, Written, write_manifest

__all__ = ["ManifestBuilder", "SnapshotInfo", "Written"]

_MTIME_LIMIT: Final = (1 << 63) - 1


class ManifestBuilder:
    """A dataset's paths, sizes, versions and times, collected one by one and written once.

    Paths are relative, components parted by `/`; parents that are not added are made with mode 0755
    and their newest child's mtime. Adding raises InvalidNameError; a path that comes twice raises
    NameCollisionError, in `write` at the latest. Nothing can be added after `write`.
    """

    def __init__(self, chunk_size: int = CHUNK_SIZE) -> None:
        """Make an empty dataset whose hashes, if any, are of chunks of *chunk_size* bytes."""
        self._chunk_size = chunk_size
        self._root = CollectedDirectory(b"", None)
        self._directories = [self._root]  # each after its parent
        self._latest_path = b""
        self._latest = self._root
        self._file_count = 0
        self._symlink_count = 0
        self._hash_count = 0
        self._unhashed_count = 0
        self._directory_count = 0

    def add_file(  # noqa: PLR0917 - one call a file: keywords would cost a tenth of it
        self,
        path: bytes,
        size: int,
        mtime_ns: int,
        mode: int,
        version: str | None,
        hashes: bytes | None = None,
    ) -> None:
        """Add a file that is one object in place, whose key is its path.

        *hashes* are the little-endian 64-bit xxh3 of each of its chunks, end to end.
        """
        directory, name = self._place_of(path)
        mtime_ns = _clamped(mtime_ns)
        hashes_digest = self._hashes_digest(_checked(size), hashes) if hashes else b""
        entry = encode_file(
            name, _checked(size), mtime_ns, mode & MODE_MASK, version, hashes_digest
        )
        directory.append(name, entry + hashes if hashes else entry, mtime_ns)
        self._count(directory, size, hashed=bool(hashes))

    def add_directory(self, path: bytes, mtime_ns: int, mode: int) -> None:
        """Add a directory, empty or not, or say more of one that was implied; `b""` is the root."""
        directory = self._directory(path)
        if directory.explicit:
            raise collision(path)
        directory.explicit = True
        directory.mode = mode & MODE_MASK
        directory.mtime_ns = _clamped(mtime_ns)

    def add_symlink(self, path: bytes, target: bytes, mtime_ns: int, mode: int) -> None:
        """Add a symlink; its target is any text, and nobody here follows it."""
        if not 0 < len(target) <= TARGET_SIZE_LIMIT or b"\0" in target:
            raise InvalidNameError(f"{path!r}: {target!r} cannot be where a symlink points")
        directory, name = self._place_of(path)
        mtime_ns = _clamped(mtime_ns)
        entry = encode_symlink(name, target, mtime_ns, mode & MODE_MASK)
        directory.append(name, entry, mtime_ns)
        self._symlink_count += 1

    def files(self) -> Iterator[tuple[bytes, list[Inode]]]:
        """Yield each directory's path and files in it, with the positions that they will have.

        Nothing can be added from then on: positions follow from all that there is.
        """
        self._seal()
        return files_in_order(self._root, self._chunk_size)

    def write(self, out_path: Path, info: SnapshotInfo, packing: Packing | None = None) -> Written:
        """Write the manifest to *out_path*, page by page; the builder's memory goes on the way.

        Files that *packing* has a place for are copies there, all others objects of their own.
        """
        if info.hashed and self._unhashed_count:
            raise ValueError(f"{self._unhashed_count} files have no hashes")
        self._seal()
        packing = packing or Packing()
        plan = Plan(
            root=self._root,
            file_count=self._file_count,
            directory_count=self._directory_count,
            symlink_count=self._symlink_count,
            hash_count=self._hash_count + packing.hash_count,
            packing=packing,
            chunk_size=self._chunk_size,
        )
        return write_manifest(out_path, plan, info)

    def _seal(self) -> None:
        """Sort and count all directories, those below first; the second time there are none."""
        self._directory_count += len(self._directories)
        while self._directories:
            self._directories.pop().seal(self._chunk_size)

    def _place_of(self, path: bytes) -> tuple[CollectedDirectory, bytes]:
        """Return the directory that *path* lies in, made if need be, and its last component."""
        directory_path, slash, name = path.rpartition(b"/")
        if slash and not directory_path:
            check_name(directory_path)
        check_name(name)
        return self._directory(directory_path), name

    def _directory(self, path: bytes) -> CollectedDirectory:
        if path == self._latest_path:
            return self._latest
        directory = self._root
        for name in path.split(b"/") if path else ():
            directory = directory.subdirectory(name) or self._made(directory, name)
        self._latest_path, self._latest = path, directory
        return directory

    def _made(self, parent: CollectedDirectory, name: bytes) -> CollectedDirectory:
        check_name(name)
        made = parent.add_subdirectory(name)
        self._directories.append(made)
        return made

    def _count(self, directory: CollectedDirectory, size: int, *, hashed: bool) -> None:
        directory.files_below += 1
        directory.bytes_below += size
        self._file_count += 1
        if size and not hashed:
            self._unhashed_count += 1

    def _hashes_digest(self, size: int, hashes: bytes) -> bytes:
        count = -(-size // self._chunk_size)
        if len(hashes) != count * HASH_SIZE:
            raise ValueError(f"{size} bytes have {count} chunks, not {len(hashes) / HASH_SIZE}")
        self._hash_count += count
        return digest_of(hashes)


def _checked(size: int) -> int:
    if not 0 <= size < SIZE_LIMIT:
        raise ValueError(f"{size} is no size")
    return size


def _clamped(mtime_ns: int) -> int:
    """Return the nearest time that 64 bits can hold: years 1677 to 2262."""
    return max(-_MTIME_LIMIT, min(mtime_ns, _MTIME_LIMIT))
