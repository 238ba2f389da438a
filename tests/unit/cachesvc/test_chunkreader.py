from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from cachesvc.chunk import DIGEST_SIZE, ObjectRef, Span
from cachesvc.config import CacheConfig
from cachesvc.errors import CacheDamagedError, CacheUnusableError
from cachesvc.store import maps
from cachesvc.store.chunkreader import MAX_COUNTED, ChunkReader
from cachesvc.store.chunkstore import ChunkStore, NewChunk
from cachesvc.store.index import RECORD
from cachesvc.store.lmdbenv import writing
from cachesvc.store.marker import Marker, Phase, write_marker
from cachesvc.units import MIB
from tests.fakes.chunks import bytes_of, chunk_of, new_chunk, span_of
from tests.fakes.reader_process import ReaderProcess, reader_process
from tests.fakes.store_check import die


@pytest.fixture
def reader() -> Iterator[ReaderProcess]:
    with reader_process() as process:
        yield process


@pytest.fixture
def config(tmp_path: Path) -> CacheConfig:
    return CacheConfig(tmp_path / "cache", size=64 * MIB, free_floor=0)


@pytest.fixture
def store(config: CacheConfig, reader: ReaderProcess) -> Iterator[ChunkStore]:
    opened = ChunkStore(config)
    reader.open(config.directory)
    yield opened
    opened.close()


@pytest.mark.parametrize("length", [1, 4080, 64 * 1024, 64 * 1024 + 1, 300_000, 4 * MIB])
def test_a_chunk_just_put_can_be_read(
    store: ChunkStore, reader: ReaderProcess, length: int
) -> None:
    store.put([new_chunk("a", length)])
    assert reader.read([span_of("a", length)]) == bytes_of("a", length)


def test_spans_are_answered_in_their_order(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 300_000), new_chunk("b", 5000)])
    spans = [
        span_of("b", 5000, 4000, 4200),
        span_of("a", 300_000, 131_000, 131_100),
        span_of("b", 5000, 7, 7),
        span_of("b", 5000, 0, 3),
    ]
    a, b = bytes_of("a", 300_000), bytes_of("b", 5000)
    assert reader.read(spans) == b[4000:4200] + a[131_000:131_100] + b[:3]


def test_a_view_is_given_for_each_slab(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 300_000)])
    assert reader.view_sizes([span_of("a", 300_000, 131_000, 132_000)]) == [72, 928]


@pytest.mark.parametrize("kept", [0, 3, 8, 25, 27])
def test_a_record_that_was_cut_short_is_damage(
    store: ChunkStore, reader: ReaderProcess, kept: int
) -> None:
    """Readers take it for a miss then, and the service, which is asked, begins anew."""
    store.put([new_chunk("a", 5000)])
    key = RECORD + chunk_of("a", 5000)
    with writing(store._index.env) as txn:
        txn.put(key, bytes(txn.get(key) or b"")[:kept])
    with pytest.raises(CacheDamagedError, match="cut short"):
        reader.read([span_of("a", 5000)])
    if kept < 8:
        with pytest.raises(CacheDamagedError, match="cut short"):
            reader.present(chunk_of("a", 5000))
        with pytest.raises(CacheDamagedError, match="cut short"):
            reader.readable_chunks(chunk_of("a", 5000)[:DIGEST_SIZE])
    with pytest.raises(CacheDamagedError):
        store.read(chunk_of("a", 5000))


def test_one_missing_span_makes_it_a_miss(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 5000)])
    assert reader.read([span_of("a", 5000), span_of("b", 5000)]) is None


def test_no_spans_are_a_hit(store: ChunkStore, reader: ReaderProcess) -> None:
    assert store.usage().chunk_count == 0
    assert reader.read([]) == b""


def test_a_chunk_of_another_length_is_a_miss(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 5000)])
    assert reader.read([Span(chunk_of("a", 5000), 5001, 0, 10)]) is None


def test_padding_is_never_shown(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 5000)])
    assert reader.read([Span(chunk_of("a", 5000), 5000, 0, 5001)]) is None


def test_a_deleted_chunk_is_a_miss(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 5000)])
    assert reader.present(chunk_of("a", 5000))
    store.delete([chunk_of("a", 5000)])
    assert reader.read([span_of("a", 5000)]) is None
    assert not reader.present(chunk_of("a", 5000))


def test_a_block_keeps_its_bytes_though_the_chunk_goes_and_others_come(
    store: ChunkStore, reader: ReaderProcess
) -> None:
    store.put([new_chunk("a", MIB)])
    assert reader.hold([span_of("a", MIB)])
    store.delete([chunk_of("a", MIB)])
    for number in range(10):
        store.put([new_chunk(str(number), MIB)])
    assert reader.held_bytes() == bytes_of("a", MIB)
    reader.release()
    assert reader.read([span_of("a", MIB)]) is None


def test_an_unverified_chunk_is_a_miss_also_for_a_reader_from_before(
    config: CacheConfig, reader: ReaderProcess
) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 5000)])
    reader.open(config.directory)
    die(store)
    store = ChunkStore(config)
    assert reader.read([span_of("a", 5000)]) is None
    assert not reader.present(chunk_of("a", 5000))
    store.verify(chunk_of("a", 5000))
    assert reader.read([span_of("a", 5000)]) == bytes_of("a", 5000)
    store.close()


def test_a_reader_of_replaced_files_is_stale_and_reads_on(
    config: CacheConfig, reader: ReaderProcess
) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 5000)])
    generation = reader.open(config.directory)
    assert not reader.stale()
    store.close()
    write_marker(config.directory, Marker(Phase.DIRTY, "another boot"))
    store = ChunkStore(config)
    assert reader.stale()
    assert reader.read([span_of("a", 5000)]) == bytes_of("a", 5000)
    assert reader.open(config.directory) == store.generation != generation
    assert not reader.stale()
    store.close()


def test_a_reader_of_a_rewritten_file_is_stale_and_opens_anew(
    store: ChunkStore, config: CacheConfig, reader: ReaderProcess
) -> None:
    store.put([new_chunk(str(number), MIB) for number in range(20)])
    store.delete([chunk_of(str(number), MIB) for number in range(18)])
    assert store._files.compact()
    assert reader.stale()
    assert reader.open(config.directory) == store.generation
    assert reader.read([span_of("19", MIB)]) == bytes_of("19", MIB)


def test_a_reader_follows_a_map_that_grew(config: CacheConfig, reader: ReaderProcess) -> None:
    small = CacheConfig(config.directory, size=1 * MIB, free_floor=0)
    ChunkStore(small).close()
    reader.open(config.directory)
    store = ChunkStore(CacheConfig(config.directory, size=128 * MIB, free_floor=0))
    for number in range(20):
        store.put([new_chunk(str(number), 4 * MIB)])
    assert reader.read([span_of("19", 4 * MIB)]) is None
    assert reader.read([span_of("19", 4 * MIB)]) == bytes_of("19", 4 * MIB)
    store.close()


def views_after_the_block(reader: ChunkReader, span: Span) -> str:
    with reader.hits([span]) as views:
        assert views is not None
        view = views[0]
    try:
        return str(bytes(view))
    except ValueError as error:
        return str(error)


def test_a_view_used_after_its_block_raises(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 5000)])
    said = reader.call(views_after_the_block, span_of("a", 5000))
    assert said == "operation forbidden on released memoryview object"


def read_while_closing(reader: ChunkReader, span: Span) -> bytes:
    with reader.hits([span]) as views:
        assert views is not None
        reader.close()
        return b"".join(views)


def test_closing_waits_for_the_open_block(store: ChunkStore, reader: ReaderProcess) -> None:
    store.put([new_chunk("a", 5000)])
    assert reader.call(read_while_closing, span_of("a", 5000)) == bytes_of("a", 5000)
    with pytest.raises(CacheUnusableError, match="closed"):
        reader.read([span_of("a", 5000)])


def error_in_a_child(reader: ChunkReader, span: Span) -> str:
    """Fork, read there, and return what went wrong."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        try:
            reader.hits([span]).__enter__()
        except CacheUnusableError as error:
            os.write(theirs, str(error).encode())
        os._exit(0)
    os.close(theirs)
    os.wait()
    with open(ours, "rb") as pipe:
        return pipe.read().decode()


def test_a_reader_is_refused_in_a_child_of_its_process(
    store: ChunkStore, reader: ReaderProcess
) -> None:
    store.put([new_chunk("a", 5000)])
    said = reader.call(error_in_a_child, span_of("a", 5000))
    assert "another process's" in said
    assert reader.read([span_of("a", 5000)]) == bytes_of("a", 5000)


def read_in_threads(reader: ChunkReader, spans: list[Span]) -> list[bytes | None]:
    def read(span: Span) -> bytes | None:
        with reader.hits([span]) as views:
            return None if views is None else b"".join(views)

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(read, spans))


def test_threads_of_one_process_may_read_at_the_same_time(
    store: ChunkStore, reader: ReaderProcess
) -> None:
    store.put([new_chunk(str(number), 200_000) for number in range(20)])
    spans = [span_of(str(number % 20), 200_000) for number in range(200)]
    found = reader.call(read_in_threads, spans)
    assert found == [bytes_of(str(number % 20), 200_000) for number in range(200)]


def read_beside_another(reader: ChunkReader, directory: Path, span: Span) -> list[bytes]:
    """Read by a second reader of the same process, by both, and by the first alone."""
    found = []
    second = ChunkReader(directory)
    for each in (second, reader):
        with each.hits([span]) as views:
            found.append(b"".join(views or ()))
    for _ in range(2):
        second.close()
    with reader.hits([span]) as views:
        found.append(b"".join(views or ()))
    return found


def test_readers_of_one_process_share_what_is_open(
    config: CacheConfig, store: ChunkStore, reader: ReaderProcess
) -> None:
    store.put([new_chunk("a", 5000)])
    found = reader.call(read_beside_another, config.directory, span_of("a", 5000))
    assert found == [bytes_of("a", 5000)] * 3


def read_across_a_fork(reader: ChunkReader, directory: Path, span: Span) -> list[bytes]:
    """Read in a child by a reader of its own, and then in the parent by the old one."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        with ChunkReader(directory).hits([span]) as views:
            os.write(theirs, b"".join(views or ()))
        os._exit(0)
    os.close(theirs)
    os.wait()
    with open(ours, "rb") as pipe, reader.hits([span]) as views:
        return [pipe.read(), b"".join(views or ())]


def test_a_child_opens_its_own_and_the_parent_reads_on(
    config: CacheConfig, store: ChunkStore, reader: ReaderProcess
) -> None:
    store.put([new_chunk("a", 5000)])
    found = reader.call(read_across_a_fork, config.directory, span_of("a", 5000))
    assert found == [bytes_of("a", 5000)] * 2


def hold_across_a_fork(reader: ChunkReader, span: Span) -> tuple[bytes, bytes]:
    """Fork while another thread reads in a block for longer than a fork waits."""
    entered, forked = Event(), Event()

    def hold() -> bytes:
        with reader.hits([span]) as views:
            entered.set()
            forked.wait(10)
            return b"".join(views or ())

    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(hold)
        entered.wait(10)
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        forked.set()
        first = held.result()
    with reader.hits([span]) as views:
        return first, b"".join(views or ())


def test_a_block_that_is_open_at_a_fork_keeps_its_bytes(
    store: ChunkStore, reader: ReaderProcess
) -> None:
    store.put([new_chunk("a", 5000)])
    found = reader.call(hold_across_a_fork, span_of("a", 5000))
    assert found == (bytes_of("a", 5000), bytes_of("a", 5000))


def read_after_a_late_block(reader: ChunkReader, span: Span) -> bytes:
    """Fork beside a block that outlasts the wait for it, and ends before the fork does."""
    maps.FORK_SECONDS = 0.05
    block = reader.hits([span])
    block.__enter__()
    reader._maps.suspend()
    block.__exit__(None, None, None)
    reader._maps.resume()
    with reader.hits([span]) as views:
        return b"".join(views or ())


def test_what_a_fork_did_not_close_is_not_opened_again(
    store: ChunkStore, reader: ReaderProcess
) -> None:
    store.put([new_chunk("a", 5000)])
    assert reader.call(read_after_a_late_block, span_of("a", 5000)) == bytes_of("a", 5000)


def test_there_is_nothing_to_read_before_the_service_ran(tmp_path: Path) -> None:
    with pytest.raises(CacheUnusableError, match="start the cache service"):
        ChunkReader(tmp_path)


def test_the_writers_process_cannot_read_beside_itself(
    store: ChunkStore, config: CacheConfig
) -> None:
    with pytest.raises(CacheUnusableError, match="already open"):
        ChunkReader(config.directory)
    assert store.usage().chunk_count == 0


HUGE = ObjectRef("test://", "huge", (1 << 63) - 1, None, 512)


def put_pieces(store: ChunkStore, ref: ObjectRef, indices: Iterable[int]) -> None:
    store.put([NewChunk(ref.chunk_id(index), bytes(100)) for index in indices])


def test_readable_chunks_are_those_of_the_object_however_large_it_is(
    store: ChunkStore, reader: ReaderProcess
) -> None:
    others = [ObjectRef("test://", str(number), 512, None, 512) for number in range(50)]
    for other in others:
        put_pieces(store, other, [0])
    assert reader.readable_chunks(HUGE.digest) == ({}, None)
    put_pieces(store, HUGE, [0, 7, 1 << 31, (1 << 32) - 1])
    late = {1 << 31: 100, (1 << 32) - 1: 100}
    assert reader.readable_chunks(HUGE.digest) == ({0: 100, 7: 100} | late, None)
    assert reader.readable_chunks(HUGE.digest, 8) == (late, None)
    assert all(reader.readable_chunks(other.digest) == ({0: 100}, None) for other in others)


def test_readable_chunks_come_in_slices(store: ChunkStore, reader: ReaderProcess) -> None:
    put_pieces(store, HUGE, range(MAX_COUNTED))
    slice_of_all = dict.fromkeys(range(MAX_COUNTED), 100)
    assert reader.readable_chunks(HUGE.digest) == (slice_of_all, None)
    put_pieces(store, HUGE, [1 << 20])
    assert reader.readable_chunks(HUGE.digest) == (slice_of_all, 1 << 20)
    assert reader.readable_chunks(HUGE.digest, 1 << 20) == ({1 << 20: 100}, None)


def test_unverified_chunks_are_not_readable_chunks(
    config: CacheConfig, reader: ReaderProcess
) -> None:
    store = ChunkStore(config)
    put_pieces(store, HUGE, [0, 1])
    reader.open(config.directory)
    die(store)
    store = ChunkStore(config)
    assert reader.readable_chunks(HUGE.digest) == ({}, None)
    store.verify(HUGE.chunk_id(1))
    assert reader.readable_chunks(HUGE.digest) == ({1: 100}, None)
    store.close()
