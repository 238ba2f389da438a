"""Every byte is the source's: by ranges, by files that are read and sought in, and in bulk."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inprocess.conftest import NAMES, Desk, fill
from vfs.inprocess.filesystem import HeadraceFileSystem

names = st.sampled_from(sorted(NAMES))
places = st.one_of(st.none(), st.integers(-(10 << 20), 10 << 20))
plain = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@plain
@given(name=names, start=places, end=places)
def test_a_range_is_what_a_slice_is(
    fs: HeadraceFileSystem, source: Path, name: str, start: int | None, end: int | None
) -> None:
    """`cat_file` with any start and end, negative ones too, is the slice of the source's bytes."""
    assert fs.cat_file(name, start, end) == (source / name).read_bytes()[start:end]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_from_s3(s3_fs: HeadraceFileSystem, source: Path, name: str) -> None:
    """Files in a bucket are read whole and in part."""
    expected = (source / name).read_bytes()
    assert s3_fs.cat_file(name) == expected
    assert s3_fs.cat_file(name, -300, -100) == expected[-300:-100]


Step = tuple[str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["read", "seek", "back", "readinto", "line"]), st.integers(0, 300_000)
    ),
    max_size=12,
)


@plain
@given(name=names, steps=steps)
def test_a_file_is_what_a_local_file_is(
    fs: HeadraceFileSystem, source: Path, name: str, steps: list[Step]
) -> None:
    """Whatever is done with an open file, it does what the source's own does."""
    with fs.open(name) as shown, (source / name).open("rb") as expected:
        for verb, number in steps:
            assert _did(shown, verb, number) == _did(expected, verb, number)
        assert shown.read() == expected.read()


def _did(file: io.BufferedIOBase, verb: str, number: int) -> object:
    match verb:
        case "read":
            return file.read(number), file.tell()
        case "seek":
            return file.seek(number)
        case "back":
            return file.seek(-min(number, file.tell()), os.SEEK_CUR)
        case "line":
            return file.readline()
        case _:
            buffer = bytearray(number)
            return file.readinto(buffer), buffer


def test_a_large_file_is_read_in_one_go(fs: HeadraceFileSystem, source: Path) -> None:
    """`read()` and `cat_file` of a file of many chunks give all of it."""
    expected = (source / "large").read_bytes()
    with fs.open("large") as file:
        assert file.read() == expected
        assert file.size == len(expected)
    assert fs.cat_file("large") == expected


def test_a_file_longer_than_a_step(desk: Desk) -> None:
    """A file that is read in several transactions of the map comes whole and in order."""
    place = desk.node.directory / "longer"
    place.mkdir()
    (place / "file").write_bytes(os.urandom(37 << 20))
    desk.publish(place)
    fs = desk.open(place)
    expected = (place / "file").read_bytes()
    assert fs.cat_file("file") == expected
    assert fs.cat_ranges(["file"], 1, None) == [expected[1:]]


def test_text_and_compression(desk: Desk) -> None:
    """What fsspec does on top of bytes works: text, and a compressed file."""
    place = desk.node.directory / "texts"
    place.mkdir()
    (place / "poem").write_text("grün\nblau\n")
    (place / "poem.gz").write_bytes(gzip.compress(b"squeezed"))
    desk.publish(place)
    fs = desk.open(place)
    with fs.open("poem", "r", encoding="utf-8") as file:
        assert list(file) == ["grün\n", "blau\n"]
    assert fs.open("poem.gz", compression="infer").read() == b"squeezed"


def test_many_files_at_a_time(fs: HeadraceFileSystem, source: Path) -> None:
    """`cat` of many and `cat_ranges` give each its own, in order, and errors where they belong."""
    expected = {name: (source / name).read_bytes() for name in NAMES}
    assert fs.cat(sorted(NAMES)) == expected
    assert fs.cat("", recursive=True, on_error="omit") == expected
    found = fs.cat_ranges(["small", "nothing", "large"], [3, 0, 5_000_000], [9, 1, 5_000_100])
    assert found[0] == expected["small"][3:9]
    assert isinstance(found[1], FileNotFoundError)
    assert found[2] == expected["large"][5_000_000:5_000_100]
    with pytest.raises(FileNotFoundError):
        fs.cat(["small", "nothing"])


def test_threads(lonely_desk: Desk) -> None:
    """Threads that all begin with a cold cache read right bytes."""
    place = fill(lonely_desk.node.directory / "data")
    lonely_desk.publish(place)
    fs = lonely_desk.open(place)
    wrong: list[object] = []

    def read(number: int) -> None:
        for name in sorted(NAMES, key=lambda each: hash((each, number))):
            try:
                wrong.extend([name] if fs.cat_file(name) != (place / name).read_bytes() else [])
            except Exception as error:  # noqa: BLE001 - told to the test
                wrong.append(error)

    run_together([partial(read, number) for number in range(8)])
    assert wrong == []


def run_together(jobs: list[Callable[[], None]]) -> None:
    """Run each in a thread of its own and wait for all."""
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_a_cache_smaller_than_the_dataset(lonely_desk: Desk) -> None:
    """What was evicted is fetched again."""
    place = lonely_desk.node.directory / "data"
    place.mkdir()
    for number in range(12):
        (place / str(number)).write_bytes(os.urandom(4 << 20))
    lonely_desk.publish(place)
    fs = lonely_desk.open(place, cache_size=16 << 20)
    for _ in range(2):
        for number in range(12):
            assert fs.cat_file(str(number)) == (place / str(number)).read_bytes()
    assert set(fs.cat(fs.find(""))) == {str(number) for number in range(12)}
