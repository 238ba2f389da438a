"""A map that cannot be read is as good as none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cachesvc.chunk import DIGEST_SIZE, ChunkId, Span
from cachesvc.config import CacheConfig
from cachesvc.followedmap import FollowedMap
from cachesvc.store.chunkreader import ChunkReader
from cachesvc.store.chunkstore import ChunkStore
from cachesvc.store.index import RECORD
from cachesvc.store.lmdbenv import writing
from cachesvc.units import MIB
from tests.fakes.chunks import chunk_of, new_chunk
from tests.fakes.reader_process import ReaderProcess, reader_process

CHUNK = chunk_of("a", 5000)
ABSENT = chunk_of("b", 5000)


@pytest.fixture
def reader() -> Iterator[ReaderProcess]:
    with reader_process() as process:
        yield process


@pytest.fixture
def store(tmp_path: Path, reader: ReaderProcess) -> Iterator[ChunkStore]:
    opened = ChunkStore(CacheConfig(tmp_path / "cache", size=64 * MIB, free_floor=0))
    opened.put([new_chunk("a", 5000)])
    reader.open(tmp_path / "cache")
    yield opened
    opened.close()


def ignored(_: Sequence[Span]) -> None:
    """Take no note."""


def noted(reader: ChunkReader, directory: Path, *chunks: ChunkId) -> tuple[bool, list[ChunkId]]:
    """Read chunks together; return whether there were views, and of what a note was taken."""
    read: list[Span] = []
    followed = FollowedMap(directory, read.extend)
    followed.follow(reader.generation)
    with followed.hits([Span(chunk, 5000, 0, 1) for chunk in chunks]) as views:
        is_hit = views is not None
    followed.close()
    return is_hit, [span.chunk for span in read]


def found_by_name(reader: ChunkReader, directory: Path, chunk: ChunkId) -> tuple[bool, bool]:
    """Say whether a map has a chunk, and whether it is still open after that was asked."""
    followed = FollowedMap(directory, ignored)
    followed.follow(reader.generation)
    has = followed.has(chunk)
    is_open = followed.is_open
    followed.close()
    return has, is_open


def counted(reader: ChunkReader, directory: Path, chunk: ChunkId) -> tuple[dict[int, int], bool]:
    """Return the chunks of an object that a map has, and whether it is still open then."""
    followed = FollowedMap(directory, ignored)
    followed.follow(reader.generation)
    chunks, _ = followed.readable_chunks(chunk[:DIGEST_SIZE], 0)
    is_open = followed.is_open
    followed.close()
    return chunks, is_open


def test_what_is_there_is_found(store: ChunkStore, reader: ReaderProcess, tmp_path: Path) -> None:
    assert reader.call(found_by_name, tmp_path / "cache", CHUNK) == (True, True)
    assert reader.call(counted, tmp_path / "cache", CHUNK) == ({0: 5000}, True)


def test_a_damaged_record_is_a_miss_to_whoever_asks(
    store: ChunkStore, reader: ReaderProcess, tmp_path: Path
) -> None:
    """The map is let go of; the service, which is asked for the chunk then, begins anew."""
    with writing(store._index.env) as txn:
        txn.put(RECORD + CHUNK, b"")
    assert reader.call(found_by_name, tmp_path / "cache", CHUNK) == (False, False)
    assert reader.call(counted, tmp_path / "cache", CHUNK) == ({}, False)


def test_a_note_is_taken_of_what_was_read_and_not_of_what_was_missed(
    store: ChunkStore, reader: ReaderProcess, tmp_path: Path
) -> None:
    assert reader.call(noted, tmp_path / "cache", CHUNK) == (True, [CHUNK])
    assert reader.call(noted, tmp_path / "cache", CHUNK, ABSENT) == (False, [])
    with writing(store._index.env) as txn:
        txn.put(RECORD + CHUNK, b"")
    assert reader.call(noted, tmp_path / "cache", CHUNK) == (False, [])


def test_without_files_nothing_is_found(tmp_path: Path) -> None:
    followed = FollowedMap(tmp_path, ignored)
    assert not followed.has(CHUNK)
    assert followed.readable_chunks(CHUNK[:DIGEST_SIZE], 0) == ({}, None)
