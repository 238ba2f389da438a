"""The chunk store when its process dies: at each step on purpose, and at random points."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from cachesvc.config import CacheConfig
from cachesvc.errors import CacheDamagedError
from cachesvc.store import storefiles
from cachesvc.store.chunkstore import ChunkState, ChunkStore, no_crash
from cachesvc.units import MIB
from tests.fakes.chunks import chunk_of, new_chunk
from tests.fakes.store_check import die, require_sound

OLD = [("old", 9000), ("old", 300_000)]
NEW = [("new", 9000), ("new", 300_000)]
KILLS = 60


@pytest.fixture
def config(tmp_path: Path) -> CacheConfig:
    return CacheConfig(tmp_path / "cache", size=64 * MIB, free_floor=0, max_chunks=10_000)


def in_child(function: Callable[[], object]) -> int:
    """Run *function* in a process of its own that never cleans up; return the status of its end."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # an abort is what some of these tests want
        try:
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(point: str, how: int = signal.SIGKILL) -> Callable[[str], None]:
    def crash_point(here: str) -> None:
        if here == point:
            os.kill(os.getpid(), how)

    return crash_point


def put_old(config: CacheConfig) -> None:
    store = ChunkStore(config)
    store.put([new_chunk(*name) for name in OLD])
    die(store)


def found_in(config: CacheConfig) -> list[tuple[str, int]]:
    """Open the store after a crash, judge it, and return what is in it."""
    store = ChunkStore(config)
    require_sound(store)
    found = [(stored.label, stored.length) for stored in store.scan()]
    store.close()
    return sorted(found)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("withdrawn", OLD),
        ("put.small", OLD),
        ("put.large", OLD),
        ("put.done", sorted(OLD + NEW)),
    ],
)
def test_a_put_cut_short_leaves_all_of_a_batch_or_nothing(
    config: CacheConfig, point: str, expected: list[tuple[str, int]]
) -> None:
    put_old(config)

    def put() -> None:
        ChunkStore(config, killed_at(point)).put([new_chunk(*name) for name in NEW])

    assert in_child(put) == -signal.SIGKILL
    assert found_in(config) == expected


@pytest.mark.parametrize("point", ["withdrawn", "clear.small", "clear.large", "clear.done"])
def test_a_delete_cut_short_is_completed_at_the_next_start(config: CacheConfig, point: str) -> None:
    put_old(config)

    def delete() -> None:
        ChunkStore(config, killed_at(point)).delete([chunk_of(*name) for name in OLD])

    assert in_child(delete) == -signal.SIGKILL
    assert found_in(config) == []


@pytest.mark.parametrize("point", ["open.marked", "open.opened"])
def test_one_death_while_opening_loses_nothing(config: CacheConfig, point: str) -> None:
    put_old(config)
    assert in_child(lambda: ChunkStore(config, killed_at(point))) == -signal.SIGKILL
    assert found_in(config) == OLD


def test_two_aborts_in_a_row_while_opening_begin_anew(config: CacheConfig) -> None:
    put_old(config)
    crash_point = killed_at("open.opened", signal.SIGABRT)
    for _ in range(2):
        assert in_child(lambda: ChunkStore(config, crash_point)) == -signal.SIGABRT
    assert found_in(config) == []


def test_recovery_cut_short_is_done_again(config: CacheConfig) -> None:
    put_old(config)

    def delete() -> None:
        ChunkStore(config, killed_at("withdrawn")).delete([chunk_of(*name) for name in OLD])

    assert in_child(delete) == -signal.SIGKILL
    assert in_child(lambda: ChunkStore(config, killed_at("clear.large"))) == -signal.SIGKILL
    assert found_in(config) == []


def rewritten(config: CacheConfig, crash_point: Callable[[str], None] = no_crash) -> ChunkStore:
    """Return a store of two chunks whose file was written anew, cut short at a point."""
    store = ChunkStore(config, crash_point)
    store.put([new_chunk(str(number), MIB) for number in range(20)])
    store.delete([chunk_of(str(number), MIB) for number in range(18)])
    assert store._files.compact()
    return store


@pytest.mark.parametrize("together", [1, storefiles.PLACED_TOGETHER])
@pytest.mark.parametrize(
    ("point", "is_kept"),
    [
        ("compact.copied", True),
        ("compact.swapped", True),
        ("compact.placing", True),
        ("compact.named", False),
    ],
)
def test_a_death_while_rewriting_a_file_leaves_nothing_wrong(
    config: CacheConfig, monkeypatch: pytest.MonkeyPatch, point: str, together: int, is_kept: bool
) -> None:
    """What is kept is found where its records tell, whether or not all had been written anew."""
    monkeypatch.setattr(storefiles, "PLACED_TOGETHER", together)
    assert in_child(lambda: rewritten(config, killed_at(point))) == -signal.SIGKILL
    assert found_in(config) == ([("18", MIB), ("19", MIB)] if is_kept else [])
    assert not list(config.directory.glob("trash*"))


def test_a_tree_that_is_damaged_after_a_death_in_it_is_a_new_cache(
    config: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(_path: Path) -> NoReturn:
        raise CacheDamagedError("what is meant to be a tree")

    assert in_child(lambda: rewritten(config, killed_at("compact.swapped"))) == -signal.SIGKILL
    monkeypatch.setattr(storefiles, "value_pages", damaged)
    assert found_in(config) == []


def churn(config: CacheConfig, seed: int, ready: int) -> NoReturn:
    """Put and delete for ever, a few chunks at a time."""
    rng = random.Random(seed)
    store = ChunkStore(config)
    os.write(ready, b".")
    lengths = (1, 9000, 65_536, 65_537, 300_000, 2 * MIB)
    while True:
        names = [(str(rng.randrange(30)), rng.choice(lengths)) for _ in range(rng.randrange(1, 5))]
        if rng.random() < 0.6 and store.usage().slab_bytes < 24 * MIB:
            store.put([new_chunk(*name) for name in names])
        else:
            stored = [found.chunk for found in store.scan()]
            store.delete(rng.sample(stored, min(len(stored), 6)))


def kill_while_it_churns(config: CacheConfig, seed: int, seconds: float) -> None:
    ready, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            churn(config, seed, writing)
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(ready, 1) == b"."
    os.close(ready)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_sigkill_at_any_moment_leaves_every_value_right(config: CacheConfig) -> None:
    rng = random.Random(7)
    for seed in range(KILLS):
        kill_while_it_churns(config, seed, rng.uniform(0, 0.06))
        store = ChunkStore(config)
        states = {stored.state for stored in store.scan()}
        assert states <= {ChunkState.UNVERIFIED}
        require_sound(store)
        die(store)
