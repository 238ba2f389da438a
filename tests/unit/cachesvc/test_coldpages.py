from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.store.coldpages import (
    ALERT_READS,
    SLOW_SECONDS,
    SLOW_SECONDS_A_SLAB,
    ColdPages,
    joined,
)
from cachesvc.store.layout import data_file
from cachesvc.store.lmdbenv import Environment, begin_viewing, open_writer, value_offset, writing
from cachesvc.store.slab import LARGE, PAGE_HEADER_SIZE, PAGE_SIZE
from tests.node import wait_until

COUNT = 40
SLABS = {b"%02d" % number: os.urandom(LARGE.slab_size) for number in range(COUNT)}


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    path = tmp_path / "env"
    path.mkdir()
    opened = open_writer(path, 64 << 20, readahead=False)
    with writing(opened) as txn:
        for key, slab in SLABS.items():
            txn.put(key, slab)
    yield opened
    opened.close()


@pytest.fixture
def file(env: Environment) -> Path:
    return data_file(Path(env.path()))


@pytest.fixture
def cold(file: Path) -> Iterator[ColdPages]:
    made = ColdPages(file)
    yield made
    made.close()


def offset_of(env: Environment, key: bytes) -> int:
    with begin_viewing(env) as txn, txn.cursor() as cursor:
        assert cursor.set_key(key)
        return value_offset(cursor)


def pages_of(start: int) -> set[int]:
    """Return the numbers of the pages of a slab that begins there."""
    return set(range(start // PAGE_SIZE, (start + LARGE.disk_size) // PAGE_SIZE))


def resident_pages(file: Path) -> set[int]:
    """Return the numbers of the pages of a file that are in memory, without touching one."""
    size = file.stat().st_size
    found = (ctypes.c_ubyte * -(-size // PAGE_SIZE))()
    libc = ctypes.CDLL(None)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), size) as mapped:
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), found) == 0
    return {number for number, byte in enumerate(found) if byte & 1}


def drop(file: Path) -> None:
    """Let no page of the file be in memory but those that are mapped."""
    descriptor = os.open(file, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def test_the_place_of_a_value_is_known_without_looking_at_it(env: Environment, file: Path) -> None:
    content = file.read_bytes()
    for key, slab in SLABS.items():
        start = offset_of(env, key) + PAGE_HEADER_SIZE
        assert content[start : start + len(slab)] == slab


def test_slabs_on_the_disk_are_read_before_they_are_touched(
    env: Environment, file: Path, cold: ColdPages
) -> None:
    wanted = pages_of(offset_of(env, b"20"))
    env.close()  # what is mapped stays in memory
    drop(file)
    opened = open_writer(file.parent, 64 << 20, readahead=False)
    if len(resident_pages(file) & wanted) > 1:
        pytest.skip("this file system keeps its files in memory")
    cold.ask(opened, [b"20"])
    wait_until(lambda: resident_pages(file) >= wanted)
    assert len(resident_pages(file)) < 4 * len(wanted)
    opened.close()


def test_slow_look_ups_raise_an_alert_and_quick_ones_do_not(cold: ColdPages) -> None:
    limit = SLOW_SECONDS + 8 * SLOW_SECONDS_A_SLAB
    cold.note(0.9 * limit, 8)
    assert not cold.is_alert
    cold.note(1.1 * limit, 8)
    assert cold.is_alert


def test_an_alert_ends_when_nothing_more_was_on_the_disk(
    env: Environment, file: Path, cold: ColdPages
) -> None:
    assert file.read_bytes()
    cold.note(1.0, 1)
    for _ in range(ALERT_READS):
        assert cold.is_alert
        cold.ask(env, [b"07", b"no such slab"])
    assert not cold.is_alert


def test_it_may_be_closed_twice_and_then_asks_for_nothing(env: Environment, file: Path) -> None:
    closed = ColdPages(file)
    closed.close()
    taken = os.open(file, os.O_RDONLY)  # has the number that was given back
    closed.close()
    closed.ask(env, [b"07"])
    os.close(taken)


@given(st.lists(st.integers(0, 20)))
def test_joined_ranges_cover_the_pieces_in_their_order(places: list[int]) -> None:
    ranges = list(joined([place * 10 for place in places], 10))
    assert [at // 10 for start, stop in ranges for at in range(start, stop, 10)] == places
    assert all(before[1] != after[0] for before, after in pairwise(ranges))
