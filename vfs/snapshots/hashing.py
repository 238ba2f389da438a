"""Content hashes: every chunk of every file, read once while publishing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import anyio

from cachesvc.chunk import CHUNK_SIZE, checksum
from cachesvc.errors import first_error
from cachesvc.objectstore.protocol import ObjectStore
from vfs.snapshots.listing import Listed, ListedKind

READERS = 32
"""Chunks in flight: many, because a small object costs a round trip and little else."""

LARGE_READERS = 8
LARGE_SIZE = 256 << 10
"""Chunks above this size in flight: few, because each takes its size in memory, and twice."""

HASH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a file: where its bytes lie, and where its hash belongs."""

    file: Listed
    start: int
    stop: int
    hashes: bytearray


async def chunk_hashes(
    store: ObjectStore, batch: Sequence[Listed], done: Callable[[int], None]
) -> list[bytes | None]:
    """Return for each entry of *batch* the hashes of its chunks, None for what is not a file.

    *done* is called with the bytes read. Raises ObjectChangedError when a file is no longer the
    version that was listed.
    """
    tables = [hash_table(entry) for entry in batch]
    pieces = all_pieces(zip(batch, tables, strict=True))
    large = anyio.Semaphore(LARGE_READERS)
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(READERS):
                tasks.start_soon(_hash_pieces, store, pieces, large, done)
    except ExceptionGroup as group:
        raise first_error(group) from group
    return [None if table is None else bytes(table) for table in tables]


async def _hash_pieces(
    store: ObjectStore,
    pieces: Iterator[Piece],
    large: anyio.Semaphore,
    done: Callable[[int], None],
) -> None:
    for piece in pieces:  # the iterator is shared: each piece goes to one reader
        key = piece.file.path.decode("utf-8", "surrogateescape")
        async with large if piece.stop - piece.start > LARGE_SIZE else nullcontext():
            data = await store.get_range(key, piece.start, piece.stop, piece.file.version)
        at = piece.start // CHUNK_SIZE * HASH_SIZE
        piece.hashes[at : at + HASH_SIZE] = checksum(data).to_bytes(HASH_SIZE, "little")
        done(len(data))


def hash_table(entry: Listed) -> bytearray | None:
    """Return room for the hashes of a file's chunks."""
    if entry.kind is not ListedKind.FILE:
        return None
    return bytearray(-(-entry.size // CHUNK_SIZE) * HASH_SIZE)


def all_pieces(files: Iterable[tuple[Listed, bytearray | None]]) -> Iterator[Piece]:
    """Yield every chunk of every file, in order."""
    for file, hashes in files:
        if hashes is not None:
            for start in range(0, file.size, CHUNK_SIZE):
                yield Piece(file, start, min(start + CHUNK_SIZE, file.size), hashes)
