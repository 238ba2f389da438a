"""Every way to read a file's bytes gives the source's bytes."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fuse.gallery import BIG_SIZE, HUGE_MARKS, HUGE_SIZE, MARK, Gallery

PAGE = 4096


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open *path* for the length of a block."""
    file = os.open(path, flags)
    try:
        yield file
    finally:
        os.close(file)


@pytest.fixture(scope="module")
def big(gallery: Gallery) -> bytes:
    """What the big file's source holds."""
    return (gallery.source / "big").read_bytes()


def test_a_whole_file(gallery: Gallery, big: bytes) -> None:
    """Read from one end to the other, a file has the bytes of its source."""
    assert (gallery.mount / "big").read_bytes() == big


def test_any_range(gallery: Gallery, big: bytes) -> None:
    """A read at any offset and of any length gives what lies there."""
    chance = random.Random(3)
    with opened(gallery.mount / "big") as file:
        for _ in range(300):
            offset = chance.randrange(BIG_SIZE)
            length = chance.choice([1, 100, PAGE, 70_000, 5 << 20])
            assert os.pread(file, length, offset) == big[offset : offset + length]


def test_the_end_of_a_file(gallery: Gallery, big: bytes) -> None:
    """A read across the end of a file is short, one at or behind the end is empty."""
    with opened(gallery.mount / "big") as file:
        assert os.pread(file, 1000, BIG_SIZE - 10) == big[-10:]
        assert os.pread(file, 1000, BIG_SIZE) == b""
        assert os.pread(file, 1000, BIG_SIZE + 12345) == b""


def test_a_file_beyond_4_gib(gallery: Gallery) -> None:
    """Files may be larger than 4 GiB, and every byte of them can be reached."""
    path = gallery.mount / "huge"
    assert path.stat().st_size == HUGE_SIZE
    with opened(path) as file:
        for offset in HUGE_MARKS:
            assert os.pread(file, len(MARK), offset) == MARK
        assert os.pread(file, 100, HUGE_MARKS[1] - 50).replace(b"\0", b"") == MARK


def test_mapped_memory(gallery: Gallery, big: bytes) -> None:
    """A file can be mapped into memory, shared or private; a shared mapping cannot be written."""
    with opened(gallery.mount / "big") as file:
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            with mmap.mmap(file, 0, flags=flags, prot=mmap.PROT_READ) as shown:
                assert shown[-5000:] == big[-5000:]
                assert shown.find(big[9_000_000:9_000_040]) == 9_000_000
        with pytest.raises(PermissionError):
            mmap.mmap(file, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def test_direct_reads(gallery: Gallery) -> None:
    """O_DIRECT reads give the same bytes, past the kernel's page cache."""
    expected = (gallery.source / "again").read_bytes()
    flags = os.O_RDONLY | os.O_DIRECT
    with opened(gallery.mount / "again", flags) as file, mmap.mmap(-1, 3 << 20) as buffer:
        for offset in (0, 7 * PAGE, 4 << 20, (8 << 20) - PAGE, (BIG_SIZE // PAGE) * PAGE):
            count = os.preadv(file, [buffer], offset)
            assert buffer[:count] == expected[offset : offset + (3 << 20)]


def test_sendfile_and_splice(gallery: Gallery, big: bytes) -> None:
    """sendfile(2) and splice(2) send a file's bytes without a copy through user space."""
    with opened(gallery.mount / "big") as file, tempfile.TemporaryFile() as target:
        offset = 0
        while count := os.sendfile(target.fileno(), file, offset, 8 << 20):
            offset += count
        target.seek(0)
        assert target.read() == big
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            count = os.splice(file, writer, 60_000, offset_src=5_000_000)
            os.close(writer)
            assert pipe.readall() == big[5_000_000 : 5_000_000 + count]


def test_copying_out(gallery: Gallery, big: bytes, tmp_path: Path) -> None:
    """copy_file_range(2) to another file system is EXDEV, as between any two, and what copies files
    (cp, shutil) goes another way by itself.
    """
    with opened(gallery.mount / "big") as file, tempfile.TemporaryFile() as target:
        with pytest.raises(OSError, match="cross-device") as caught:
            os.copy_file_range(file, target.fileno(), 1000)
        assert caught.value.errno == errno.EXDEV
    subprocess.run(["cp", gallery.mount / "big", tmp_path / "by_cp"], check=True, timeout=60)
    shutil.copyfile(gallery.mount / "big", tmp_path / "by_shutil")
    assert (tmp_path / "by_cp").read_bytes() == (tmp_path / "by_shutil").read_bytes() == big


def test_files_have_no_holes(gallery: Gallery) -> None:
    """A file has no holes, whatever its source had: SEEK_DATA stays where it is, SEEK_HOLE goes to
    the end, and behind the end both are ENXIO.
    """
    with opened(gallery.mount / "huge") as file:
        for offset in (0, 1 << 30, HUGE_SIZE - 1):
            assert os.lseek(file, offset, os.SEEK_DATA) == offset
            assert os.lseek(file, offset, os.SEEK_HOLE) == HUGE_SIZE
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            with pytest.raises(OSError, match="No such device") as caught:
                os.lseek(file, HUGE_SIZE, whence)
            assert caught.value.errno == errno.ENXIO


def test_many_readers_at_once(gallery: Gallery, big: bytes) -> None:
    """Any number of readers may read one file at the same time."""

    def read(number: int) -> bool:
        chance = random.Random(number)
        with opened(gallery.mount / "big") as file:
            return all(
                os.pread(file, 200_000, offset) == big[offset : offset + 200_000]
                for offset in (chance.randrange(BIG_SIZE) for _ in range(20))
            )

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(read, range(32)))


def test_reading_a_directory_as_a_file(gallery: Gallery) -> None:
    """To read a directory as if it were a file is EISDIR, to list a file ENOTDIR."""
    with opened(gallery.mount / "emptydir") as directory, pytest.raises(IsADirectoryError):
        os.read(directory, 10)
    with pytest.raises(NotADirectoryError):
        os.listdir(gallery.mount / "plain")


def test_reading_ahead(gallery: Gallery, big: bytes) -> None:
    """posix_fadvise(2), readahead(2) and madvise(2) are taken as the hints they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    with opened(gallery.mount / "big") as file:
        for advice in (os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_RANDOM, os.POSIX_FADV_WILLNEED):
            os.posix_fadvise(file, 0, 0, advice)
        assert libc.readahead(file, ctypes.c_int64(0), ctypes.c_size_t(1 << 20)) == 0
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as shown:
            shown.madvise(mmap.MADV_WILLNEED)
            assert shown[:100] == big[:100]


def test_what_was_read_stays_in_memory(gallery: Gallery, big: bytes) -> None:
    """What was read, listed or looked up once, a missing name too, the kernel answers from then on:
    open(2), read(2) and stat(2) of it cost no process anything.
    """

    def look() -> tuple[bytes, list[str], int]:
        (gallery.mount / "absent").exists()
        (gallery.mount / "links" / "to_file").readlink()
        names = os.listdir(gallery.mount / "links")
        with opened(gallery.mount / "big") as file:
            data = os.read(file, BIG_SIZE)
        return data, names, (gallery.mount / "plain").stat().st_size

    seen = look()
    with ThreadPoolExecutor(1) as thread, gallery.node.stopped("worker"):
        assert thread.submit(look).result(timeout=30) == seen == (big, seen[1], 6)
