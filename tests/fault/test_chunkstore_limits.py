"""The chunk store on a full disk, with a full map, with stuck readers, on the wrong mounts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cachesvc.config import CacheConfig
from cachesvc.errors import CacheFullError, CacheUnusableError
from cachesvc.store import lmdbenv, storefiles
from cachesvc.store.chunkstore import ChunkStore
from cachesvc.units import MIB
from tests.fakes.chunks import chunk_of, new_chunk, span_of
from tests.fakes.reader_process import ReaderProcess, reader_process
from tests.fakes.store_check import require_sound

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def reader() -> Iterator[ReaderProcess]:
    with reader_process() as process:
        yield process


@pytest.fixture
def config(tmp_path: Path) -> CacheConfig:
    return CacheConfig(tmp_path / "cache", size=8 * MIB, free_floor=0, max_chunks=1000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill_up(store: ChunkStore) -> int:
    """Put chunks until there is no room; return how many are stored."""
    for number in range(10_000):
        try:
            store.put([new_chunk(str(number), 300_000), new_chunk(str(number), 9000)])
        except CacheFullError:
            return number
    pytest.fail("the store took 3 GB")


def delete_all(store: ChunkStore) -> None:
    store.delete([stored.chunk for stored in store.scan()])


@needs_root
def test_a_full_disk_stores_nothing_more_and_harms_nothing(small_disk: Path) -> None:
    store = ChunkStore(CacheConfig(small_disk / "cache", size=64 * MIB, free_floor=0))
    assert fill_up(store) > 20
    require_sound(store)
    delete_all(store)
    require_sound(store)
    assert fill_up(store) > 20
    require_sound(store)
    store.close()


@needs_root
def test_a_disk_filled_by_others_is_survived(small_disk: Path) -> None:
    store = ChunkStore(CacheConfig(small_disk / "cache", size=64 * MIB, free_floor=0))
    store.put([new_chunk("before", 300_000)])
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "others").write_bytes(bytes(25 * MIB))
    with pytest.raises(CacheFullError):
        store.put([new_chunk("during", MIB)])
    (small_disk / "others").unlink()
    store.put([new_chunk("after", MIB)])
    require_sound(store)
    assert {stored.label for stored in store.scan()} == {"before", "after"}
    store.close()


@needs_root
def test_a_store_on_a_disk_without_any_room_opens_then_or_later(small_disk: Path) -> None:
    config = CacheConfig(small_disk / "cache", size=64 * MIB, free_floor=0)
    store = ChunkStore(config)
    store.put([new_chunk("a", 300_000)])
    store.close()
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "others").write_bytes(bytes(25 * MIB))
    with suppress(CacheFullError):
        ChunkStore(config).close()
    (small_disk / "others").unlink()
    store = ChunkStore(config)
    require_sound(store)
    assert store.usage().chunk_count == 1
    store.close()


@pytest.mark.parametrize("point", ["open.opened", "clear.large", "open.marked"])
def test_a_store_that_failed_to_open_can_be_opened_again(config: CacheConfig, point: str) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 300_000)])
    store._index.withdraw({chunk_of("a", 300_000): 300_000})
    store.close()

    def fail(here: str) -> None:
        if here == point:
            raise CacheUnusableError(here)

    with pytest.raises(CacheUnusableError, match=point):
        ChunkStore(config, fail)
    store = ChunkStore(config)
    require_sound(store)
    store.close()


def test_a_reader_that_stays_fills_the_map_and_its_end_frees_it(
    config: CacheConfig, reader: ReaderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storefiles, "SPARE_BYTES", MIB)
    store = ChunkStore(config)
    store.put([new_chunk("held", 300_000), new_chunk("held", 9000)])
    reader.open(config.directory)
    assert reader.hold([span_of("held", 300_000), span_of("held", 9000)])
    with pytest.raises(CacheFullError):
        churn(store, rounds=200)
    reader.release()
    churn(store, rounds=20)
    require_sound(store)
    store.close()


def churn(store: ChunkStore, rounds: int, length: int = MIB) -> None:
    """Put and delete more than the map can hold, but little at a time."""
    for number in range(rounds):
        store.put([new_chunk(str(number), length)])
        store.delete([chunk_of(str(number), length)])


def test_a_delete_that_finds_the_map_full_is_completed_later(
    config: CacheConfig, reader: ReaderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storefiles, "SPARE_BYTES", MIB)
    store = ChunkStore(config)
    store.put([new_chunk(f"old {number}", 100_000) for number in range(30)])
    reader.open(config.directory)
    assert reader.hold([span_of("old 0", 100_000)])
    for length in (MIB, 100_000):
        with pytest.raises(CacheFullError):
            churn(store, 300, length)
    with pytest.raises(CacheFullError):
        delete_one_by_one(store)
    reader.release()
    delete_one_by_one(store)
    require_sound(store)
    assert store.usage().chunk_count == 0
    store.close()


def delete_one_by_one(store: ChunkStore) -> None:
    for stored in store.scan():
        store.delete([stored.chunk])


def test_a_killed_readers_pages_are_freed(
    config: CacheConfig, reader: ReaderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storefiles, "SPARE_BYTES", MIB)
    store = ChunkStore(config)
    store.put([new_chunk("held", 300_000)])
    reader.open(config.directory)
    assert reader.hold([span_of("held", 300_000)])
    reader.kill()
    assert store.check_readers() > 0
    churn(store, rounds=100)
    require_sound(store)
    store.close()


def test_no_reader_opens_while_all_slots_are_taken_until_dead_ones_are_cleared(
    config: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdbenv, "MAX_READERS", 2)
    with reader_process() as first, reader_process() as second:
        store = ChunkStore(config)
        first.open(config.directory)
        with pytest.raises(CacheUnusableError, match="READERS_FULL"):
            second.open(config.directory)
        first.kill()
        assert store.check_readers() > 0
        second.open(config.directory)
        store.close()


def test_a_reader_clears_dead_ones_that_hold_all_slots(
    config: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdbenv, "MAX_READERS", 3)
    with reader_process() as first, reader_process() as second:
        store = ChunkStore(config)
        store.put([new_chunk("a", 9)])
        for process in (first, second):
            process.open(config.directory)
            assert process.hold([span_of("a", 9)])
        with pytest.raises(CacheUnusableError, match="READERS_FULL"):
            second.read([span_of("a", 9)])
        first.kill()
        assert second.read([span_of("a", 9)]) is not None
        store.close()


@needs_root
def test_a_read_only_mount_is_refused(
    config: CacheConfig, reader: ReaderProcess, tmp_path: Path
) -> None:
    store = ChunkStore(config)
    view = tmp_path / "view"
    view.mkdir()
    subprocess.run(["mount", "--bind", config.directory, view], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
    try:
        with pytest.raises(CacheUnusableError, match="mounted read-write"):
            reader.open(view)
    finally:
        subprocess.run(["umount", "--lazy", view], check=True)
    store.close()


@needs_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_reader_in_another_pid_namespace_is_refused(config: CacheConfig) -> None:
    store = ChunkStore(config)
    program = (
        "import pathlib, sys; from cachesvc.store.chunkreader import ChunkReader; "
        "ChunkReader(pathlib.Path(sys.argv[1]))"
    )
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", program, str(config.directory)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another PID namespace" in ended.stderr
    store.close()


def test_a_directory_that_disappears_is_an_error_and_reading_goes_on(config: CacheConfig) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 300_000)])
    shutil.rmtree(config.directory)
    with pytest.raises(CacheUnusableError):
        store.put([new_chunk("b", 300_000)])
    assert store.read(chunk_of("a", 300_000)) is not None
    store.discard()
