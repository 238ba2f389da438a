from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachesvc.config import CacheConfig
from cachesvc.errors import CacheFullError, CacheUnusableError
from cachesvc.store import storefiles
from cachesvc.store.chunkstore import ChunkState, ChunkStore
from cachesvc.store.layout import index_path, slabs_path, trash_path
from cachesvc.store.lmdbenv import writing
from cachesvc.store.marker import Marker, Phase, crash_log_path, read_marker, write_marker
from cachesvc.store.slab import CLASSES, SMALL, class_of, slab_keys, stored_size
from cachesvc.store.storefiles import StoreFiles
from cachesvc.units import MIB
from tests.fakes.chunks import bytes_of, chunk_of, new_chunk
from tests.fakes.store_check import die, require_sound

LENGTHS = (1, 4080, 4081, 64 * 1024, 64 * 1024 + 1, 128 * 1024, 300_000, 4 * MIB)


@pytest.fixture
def config(tmp_path: Path) -> CacheConfig:
    return CacheConfig(tmp_path / "cache", size=64 * MIB, free_floor=0)


@pytest.fixture
def store(config: CacheConfig) -> Iterator[ChunkStore]:
    opened = ChunkStore(config)
    yield opened
    opened.close()


def abandoned(config: CacheConfig) -> ChunkStore:
    """Return a store whose files are closed as if its process had died."""
    store = ChunkStore(config)
    store.put([new_chunk("a", 5000), new_chunk("b", 300_000)])
    die(store)
    return store


def spoil(store: ChunkStore, name: str, length: int) -> None:
    """Overwrite the first slab of a chunk behind the store's back."""
    with writing(store._files.slabs[class_of(length)]) as txn:
        key = next(iter(slab_keys(chunk_of(name, length), length)))
        txn.put(key, b"?" * class_of(length).slab_size)


def slab_counts(store: ChunkStore) -> dict[str, int]:
    """Return how many slabs lie in each environment, whoever they belong to."""
    environments = store._files.slabs
    return {slabs.name: environments[slabs].stat()["entries"] - 1 for slabs in CLASSES}


@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_put_can_be_read(store: ChunkStore, length: int) -> None:
    store.put([new_chunk("a", length)])
    assert store.read(chunk_of("a", length)) == bytes_of("a", length)
    assert store.state(chunk_of("a", length)) is ChunkState.PRESENT


def test_an_unknown_chunk_is_absent(store: ChunkStore) -> None:
    assert store.state(chunk_of("a", 5)) is None
    assert store.read(chunk_of("a", 5)) is None
    assert not store.verify(chunk_of("a", 5))


def test_more_chunks_than_fit_a_commit_are_all_stored(store: ChunkStore) -> None:
    store.put([new_chunk(str(number), 4 * MIB) for number in range(6)])
    store.put([new_chunk(str(number), 10) for number in range(500)])
    assert store.usage().chunk_count == 506
    assert all(store.verify(stored.chunk) for stored in store.scan())


def test_usage_counts_bytes_and_slabs(store: ChunkStore) -> None:
    store.put([new_chunk("a", 5000), new_chunk("b", 300_000)])
    usage = store.usage()
    assert (usage.chunk_count, usage.stored_bytes) == (2, 305_000)
    assert usage.slab_bytes == stored_size(5000) + stored_size(300_000)
    assert usage.file_bytes >= usage.slab_bytes


def test_deleted_chunks_leave_no_slab(store: ChunkStore) -> None:
    store.put([new_chunk(str(length), length) for length in LENGTHS])
    store.delete([stored.chunk for stored in store.scan()])
    assert store.usage().chunk_count == store.usage().slab_bytes == 0
    assert slab_counts(store) == {"small": 0, "large": 0}


def test_deleting_what_is_not_there_is_allowed(store: ChunkStore) -> None:
    store.delete([chunk_of("a", 5)])


def test_putting_a_chunk_again_replaces_it(store: ChunkStore) -> None:
    store.put([new_chunk("a", 5000), new_chunk("a", 5000)])
    spoil(store, "a", 5000)
    store.put([new_chunk("a", 5000)])
    assert store.usage().chunk_count == 1
    assert store.verify(chunk_of("a", 5000))


def test_scan_goes_in_the_order_of_admission_and_tells_all(store: ChunkStore) -> None:
    for name in "zaq":
        store.put([new_chunk(name, 9), new_chunk(name, 8)])
    found = [(stored.label, stored.length) for stored in store.scan()]
    assert found == [("z", 9), ("z", 8), ("a", 9), ("a", 8), ("q", 9), ("q", 8)]


def test_chunks_may_be_deleted_while_scanning(store: ChunkStore) -> None:
    store.put([new_chunk(str(number), 9) for number in range(5)])
    for stored in store.scan():
        store.delete([stored.chunk, chunk_of("4", 9)])
    assert store.usage().chunk_count == 0


def test_hot_marks_survive_a_restart(config: CacheConfig) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 9), new_chunk("b", 9)])
    store.mark_hot([chunk_of("b", 9), chunk_of("unknown", 9)])
    store.close()
    store = ChunkStore(config)
    assert [stored.hot for stored in store.scan()] == [False, True]
    store.close()


def test_verify_deletes_a_chunk_whose_bytes_are_wrong(store: ChunkStore) -> None:
    store.put([new_chunk("a", 5000)])
    spoil(store, "a", 5000)
    assert not store.verify(chunk_of("a", 5000))
    assert store.state(chunk_of("a", 5000)) is None


def test_verify_deletes_a_chunk_that_lacks_a_slab(store: ChunkStore) -> None:
    store.put([new_chunk("a", 5000)])
    with writing(store._files.slabs[SMALL]) as txn:
        txn.delete(list(slab_keys(chunk_of("a", 5000), 5000))[1])
    assert store.read(chunk_of("a", 5000)) is None
    assert not store.verify(chunk_of("a", 5000))


def test_a_clean_restart_keeps_content_and_trust(config: CacheConfig) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 5000)])
    generation = store.generation
    store.close()
    store = ChunkStore(config)
    assert store.state(chunk_of("a", 5000)) is ChunkState.PRESENT
    assert store.generation == generation
    store.close()


def test_after_an_unclean_stop_a_chunk_is_verified_before_use(config: CacheConfig) -> None:
    abandoned(config)
    store = ChunkStore(config)
    assert store.state(chunk_of("a", 5000)) is ChunkState.UNVERIFIED
    assert store.read(chunk_of("a", 5000)) is None
    assert store.verify(chunk_of("a", 5000))
    assert store.read(chunk_of("a", 5000)) == bytes_of("a", 5000)
    store.close()


def test_what_was_never_verified_stays_so_over_a_clean_restart(config: CacheConfig) -> None:
    abandoned(config)
    ChunkStore(config).close()
    store = ChunkStore(config)
    assert store.state(chunk_of("a", 5000)) is ChunkState.UNVERIFIED
    store.close()


def test_an_unverified_chunk_with_wrong_bytes_is_replaced_by_put(config: CacheConfig) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 5000)])
    spoil(store, "a", 5000)
    die(store)
    store = ChunkStore(config)
    store.put([new_chunk("a", 5000)])
    assert store.read(chunk_of("a", 5000)) == bytes_of("a", 5000)
    store.close()


def test_another_boot_after_an_unclean_stop_begins_anew(config: CacheConfig) -> None:
    generation = abandoned(config).generation
    write_marker(config.directory, Marker(Phase.DIRTY, "another boot"))
    store = ChunkStore(config)
    assert store.usage().chunk_count == 0
    assert store.generation != generation
    store.close()


def test_another_boot_after_a_clean_stop_keeps_everything(config: CacheConfig) -> None:
    abandoned(config)
    ChunkStore(config).close()
    write_marker(config.directory, Marker(Phase.CLEAN, "another boot"))
    store = ChunkStore(config)
    assert store.usage().chunk_count == 2
    store.close()


def test_a_second_abort_in_a_row_begins_anew(config: CacheConfig) -> None:
    abandoned(config)
    for expected in (2, 0):
        crash_log_path(config.directory).write_text("Fatal Python error: Aborted")
        store = ChunkStore(config)
        assert store.usage().chunk_count == expected
        die(store)


def test_the_marker_says_dirty_while_the_store_is_open(config: CacheConfig) -> None:
    store = ChunkStore(config)
    marker = read_marker(config.directory)
    assert marker is not None
    assert marker.phase is Phase.DIRTY
    store.close()


@pytest.mark.parametrize("part", ["index", "small", "large"])
def test_a_damaged_environment_is_thrown_away_with_all_others(
    config: CacheConfig, part: str
) -> None:
    abandoned(config)
    (config.directory / "store" / part / "data.mdb").write_bytes(b"not LMDB" * 4096)
    store = ChunkStore(config)
    assert store.usage().chunk_count == 0
    store.put([new_chunk("a", 5000)])
    store.close()


@pytest.mark.parametrize("part", ["index", "small", "large"])
def test_environments_of_different_generations_are_not_mixed(
    config: CacheConfig, tmp_path: Path, part: str
) -> None:
    other = CacheConfig(tmp_path / "other", size=config.size, free_floor=0)
    abandoned(config)
    abandoned(other)
    path = Path("store") / part
    (config.directory / path / "data.mdb").write_bytes(
        (other.directory / path / "data.mdb").read_bytes()
    )
    store = ChunkStore(config)
    assert store.usage().chunk_count == 0
    store.close()


def test_nothing_is_left_of_what_was_thrown_away(config: CacheConfig) -> None:
    abandoned(config)
    write_marker(config.directory, Marker(Phase.DIRTY, "another boot"))
    trash_path(config.directory).mkdir()
    ChunkStore(config).close()
    assert not list(config.directory.glob("trash*"))


def test_files_that_are_no_caches_are_never_deleted(config: CacheConfig) -> None:
    own = [config.directory / "store" / "thesis", config.directory / "trash-of-mine" / "photo"]
    for path in own:
        path.parent.mkdir(parents=True)
        path.write_text("precious")
    with pytest.raises(CacheUnusableError, match="'thesis', which is no cache's"):
        ChunkStore(config)
    own[0].rename(config.directory / "thesis")
    own[0].parent.rmdir()
    ChunkStore(config).close()
    assert own[1].read_text() == "precious"


def test_discard_leaves_an_empty_directory_to_begin_anew_in(config: CacheConfig) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 9)])
    store.discard()
    store = ChunkStore(config)
    assert store.usage().chunk_count == 0
    store.close()


def test_the_free_floor_is_kept_and_nothing_is_stored(config: CacheConfig) -> None:
    greedy = CacheConfig(config.directory, size=config.size, free_floor=1 << 60)
    store = ChunkStore(greedy)
    with pytest.raises(CacheFullError, match="would stay free"):
        store.put([new_chunk("a", 4 * MIB)])
    assert store.state(chunk_of("a", 4 * MIB)) is None
    store.close()


def test_pages_that_are_free_already_may_be_used_below_the_floor(
    config: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ChunkStore(config)
    store.put([new_chunk("a", 4 * MIB)])
    store.delete([chunk_of("a", 4 * MIB)])
    monkeypatch.setattr(StoreFiles, "disk_free", lambda _: -1)
    store.put([new_chunk("b", 2 * MIB)])
    store.close()


def test_a_put_that_finds_no_room_stores_none_of_its_chunks(
    store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put([new_chunk("0", 4 * MIB)])
    free = iter([100 * MIB, -1])
    monkeypatch.setattr(StoreFiles, "disk_free", lambda _: next(free))
    with pytest.raises(CacheFullError):
        store.put([new_chunk(str(number), 4 * MIB) for number in range(6)])
    assert store.usage().chunk_count == 0
    assert slab_counts(store) == {"small": 0, "large": 0}


def test_a_directory_that_is_a_file_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(CacheUnusableError):
        ChunkStore(CacheConfig(tmp_path / "cache"))


def test_a_second_store_in_one_process_is_refused(store: ChunkStore, config: CacheConfig) -> None:
    with pytest.raises(CacheUnusableError):
        ChunkStore(config)
    assert store.usage().chunk_count == 0


@pytest.mark.parametrize(("first", "second"), [(60_000, 2 * MIB), (2 * MIB, 60_000)])
def test_disk_used_by_chunks_of_one_class_is_given_back_for_the_other(
    config: CacheConfig, monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    monkeypatch.setattr(storefiles, "SPARE_BYTES", 4 * MIB)
    capacity = 24 * MIB
    store = ChunkStore(CacheConfig(config.directory, size=capacity, free_floor=0))
    generation = store.generation
    for length in (first, second):
        for number in range(capacity // stored_size(length)):
            delete_oldest_over(store, capacity - stored_size(length))
            store.put([new_chunk(f"{length} {number}", length)])
    require_sound(store)
    assert store.usage().file_bytes < 1.5 * capacity
    assert store.generation != generation
    store.close()


def delete_oldest_over(store: ChunkStore, size: int) -> None:
    for stored in store.scan():
        if store.usage().slab_bytes <= size:
            return
        store.delete([stored.chunk])


@pytest.mark.parametrize("part", ["small", "large"])
def test_an_environment_that_is_gone_takes_the_others_with_it(
    config: CacheConfig, part: str
) -> None:
    abandoned(config)
    shutil.rmtree(config.directory / "store" / part)
    store = ChunkStore(config)
    assert store.usage().chunk_count == 0
    store.close()


def test_three_times_the_capacity_of_mixed_chunks_passes_through(config: CacheConfig) -> None:
    """Equal slabs: no map full, and files that stay near the capacity."""
    capacity = 24 * MIB
    store = ChunkStore(CacheConfig(config.directory, size=capacity, free_floor=0))
    lengths = (3000, 50_000, 110_000, 700_000, 4 * MIB)
    number = written = 0
    while written < 3 * capacity:
        batch = [new_chunk(str(number + n), length) for n, length in enumerate(lengths)]
        number += len(batch)
        written += sum(lengths)
        for stored in store.scan():
            if store.usage().slab_bytes + 6 * MIB < capacity:
                break
            store.delete([stored.chunk])
        store.put(batch)
    assert all(store.verify(stored.chunk) for stored in store.scan())
    assert store.usage().file_bytes < 1.4 * capacity
    assert index_path(config.directory).exists()
    assert slabs_path(config.directory, SMALL).exists()
    store.close()
