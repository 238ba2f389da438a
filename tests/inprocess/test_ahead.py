"""What a read costs, and what follows from reading in order."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from tests.inprocess.conftest import NAMES, Desk
from tests.node import wait_until
from vfs.inprocess.content import EPOCH
from vfs.inprocess.filesystem import HeadraceFileSystem
from vfs.inprocess.loopthread import LoopThread
from vfs.serving.awaited import Claim, shared_awaited

WAIT_SECONDS = 20.0


def is_here(fs: HeadraceFileSystem, name: str) -> bool:
    """Say whether all of a file is in the cache, without reading it."""
    content = fs.connect().content
    wants = content.wants(fs._range(name, None, None))
    return all(content._client.readable(want.chunk) for want in wants)


def test_files_after_those_that_are_read_in_order(lonely_desk: Desk) -> None:
    """Reading the first files of a directory in order has the next ones fetched."""
    place = lonely_desk.node.directory / "data"
    place.mkdir()
    for number in range(60):
        (place / f"{number:02}").write_bytes(os.urandom(20_000))
    lonely_desk.publish(place)
    fs = lonely_desk.open(place)
    for number in range(6):
        fs.cat_file(f"{number:02}")
    wait_until(lambda: is_here(fs, "08"))


def test_processes_that_read_in_order_together(lonely_desk: Desk) -> None:
    """What one had fetched ahead is awaited no more once another has read it: they share the bytes
    that may be fetched in vain, and ask for each file once.
    """
    place = lonely_desk.node.directory / "data"
    place.mkdir()
    for number in range(60):
        (place / f"{number:02}").write_bytes(os.urandom(20_000))
    snapshot_id = lonely_desk.publish(place)
    fs = lonely_desk.open(place)
    for number in range(6):
        fs.cat_file(f"{number:02}")
    wait_until(lambda: is_here(fs, "08"))
    table = shared_awaited(lonely_desk.node.cache, snapshot_id)
    file = EPOCH, fs.connect().names.inode("08").position
    assert table.claim(file, time.monotonic()) is Claim.REFUSED
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        # The first has to wait: from there on reads are told.
        pool.apply(read_files, (fs, ["59", "08"]))
        wait_until(lambda: table.claim(file, time.monotonic()) is Claim.GRANTED)


def read_files(fs: HeadraceFileSystem, names: list[str]) -> None:
    for name in names:
        fs.cat_file(name)


def test_files_of_an_announced_order_come_in_that_order_alone(lonely_desk: Desk) -> None:
    """Announced files that are read in order have nothing fetched but what was announced."""
    place = lonely_desk.node.directory / "data"
    place.mkdir()
    names = [f"{number:03}" for number in range(200)]
    for name in names:
        (place / name).write_bytes(os.urandom(2000))
    lonely_desk.publish(place)
    fs = lonely_desk.open(place)
    fs.announce(names[:6])
    wait_until(lambda: all(is_here(fs, name) for name in names[:6]))
    fs.cat_file("150")  # has to wait: from here on reads are told
    for name in (*names[:6], *names[151:156]):
        fs.cat_file(name)
    wait_until(lambda: is_here(fs, "158"))
    assert not any(is_here(fs, name) for name in names[6:150])


def test_a_large_file_that_is_read_in_order(lonely_desk: Desk) -> None:
    """Reading on in an open file has what follows fetched."""
    place = lonely_desk.node.directory / "data"
    place.mkdir()
    (place / "file").write_bytes(os.urandom(33 << 20))
    lonely_desk.publish(place)
    fs = lonely_desk.open(place)
    wants = fs.connect().content.wants(fs._range("file", None, None))
    with fs.open("file") as file:
        for _ in range(9):
            file.read(1 << 20)
        wait_until(lambda: fs.connect().content._client.readable(wants[3].chunk))


def test_who_reads_does_not_wait_for_the_loop() -> None:
    """What is only told to the loop's thread is told at once, however busy that is."""
    loop = LoopThread()
    told: list[int] = []
    is_busy, may_go_on = Event(), Event()

    def be_busy() -> None:
        is_busy.set()
        may_go_on.wait(WAIT_SECONDS)

    loop.call_soon(be_busy)
    assert is_busy.wait(WAIT_SECONDS)
    for number in range(3):
        loop.call_soon(told.append, number)
    assert told == []
    may_go_on.set()
    wait_until(lambda: told == [0, 1, 2])
    loop.stop()


def test_random_reads_of_a_large_file(lonely_desk: Desk) -> None:
    """The first random read within 4 MiB of a large file fetches the blocks of 128 KiB that it
    touches; the next one there has the 4 MiB fetched as well.
    """
    place = lonely_desk.node.directory / "data"
    place.mkdir()
    content = os.urandom(40 << 20)
    (place / "file").write_bytes(content)
    lonely_desk.publish(place)
    fs = lonely_desk.open(place)
    client = fs.connect().content._client
    wants = fs.connect().content.wants(fs._range("file", None, None))

    def read(offset: int) -> None:
        assert fs.cat_file("file", offset, offset + 5000) == content[offset : offset + 5000]

    def whole() -> list[int]:
        return [index for index, want in enumerate(wants) if client.readable(want.chunk)]

    touched = [9, 2, 6]
    for index in touched * 2:
        read((index << 22) + 1_000_000)
    assert whole() == []
    for index in touched:
        read((index << 22) + 3_000_000)
    wait_until(lambda: whole() == sorted(touched))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_hit_makes_no_system_call(desk: Desk, source: Path, tmp_path: Path) -> None:
    """Of files that were read before, reading again makes none but the interpreter's own futex(2),
    when the loop's thread wakes up for a moment.
    """
    program = (
        "import math, os, sys, vfs\n"
        "from cachesvc.store import paging\n"
        "paging.SLOW_SECONDS = math.inf\n"  # or else a busy machine makes it watchful again
        "fs = vfs.open(sys.argv[1], cache_dir=sys.argv[2])\n"
        "def read():\n"
        "    for name in sys.argv[3:] * 600:\n"
        "        fs.cat_file(name)\n"
        "read()\n"
        "os.write(1, b'begin')\n"
        "read()\n"
        "os.write(1, b'end')\n"
    )
    small = [name for name, size in NAMES.items() if size < 100_000]
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-o", trace, sys.executable, "-c", program, source, desk.node.cache, *small],
        env=desk.node.environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    between = trace.read_text().partition('"begin"')[2].partition('"end"')[0]
    calls = between.splitlines()[1:-1]
    assert [call for call in calls if not call.startswith("futex")] == []
