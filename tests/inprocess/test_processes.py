"""Forked and spawned processes go on reading, and so do those that they come from."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inprocess.conftest import NAMES, Desk, fill
from vfs.inprocess.filesystem import HeadraceFileSystem

SECONDS = 60


def check(fs: HeadraceFileSystem, source: Path) -> None:
    """Read all and compare."""
    for name in NAMES:
        assert fs.cat_file(name) == (source / name).read_bytes(), name


def reads_the_map(fs: HeadraceFileSystem) -> bool:
    """Say whether this process reads the map itself; if not, the service hands it the bytes."""
    with fs.connect().content._client.hits([]) as views:
        return views is not None


def in_fork(job: Callable[[], None]) -> bool:
    """Do *job* in a fork of this process; say whether it went well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job()
            code = 0
        except BaseException:  # noqa: BLE001 - the parent sees the exit code
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_reads_from_the_map(fs: HeadraceFileSystem, source: Path) -> None:
    """A child of a process that has the map open reads from its own, and so do its children."""
    check(fs, source)

    def child() -> None:
        check(fs, source)
        assert reads_the_map(fs)
        assert in_fork(lambda: check(fs, source))
        check(fs, source)

    assert in_fork(child)
    assert reads_the_map(fs)
    check(fs, source)


def test_a_file_that_was_open_at_the_fork(fs: HeadraceFileSystem, source: Path) -> None:
    """Both sides read on in it, each at its own place."""
    expected = (source / "large").read_bytes()
    with fs.open("large") as file:
        file.seek(5_000_000)

        def child() -> None:
            assert file.read(100_000) == expected[5_000_000:5_100_000]

        assert in_fork(child)
        assert file.read(77) == expected[5_000_000:5_000_077]


def test_forks_while_threads_read(lonely_desk: Desk) -> None:
    """Threads of the parent read on, right bytes only, while it forks children that read."""
    source = fill(lonely_desk.node.directory / "data")
    lonely_desk.publish(source)
    fs = lonely_desk.open(source)
    stop = threading.Event()
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                check(fs, source)
        except BaseException as error:  # noqa: BLE001 - told to the test
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        went = [in_fork(lambda: check(fs, source)) for _ in range(8)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
    assert wrong == []
    assert went == [True] * 8


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools(fs: HeadraceFileSystem, source: Path, method: str) -> None:
    """multiprocessing hands the filesystem to its workers, however it starts them."""
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        found = pool.starmap_async(_read, [(fs, name) for name in NAMES]).get(SECONDS)
    assert found == [(source / name).read_bytes() for name in NAMES]


def _read(fs: HeadraceFileSystem, name: str) -> bytes:
    return bytes(fs.cat_file(name))


def test_two_datasets_in_one_process(fs: HeadraceFileSystem, desk: Desk, source: Path) -> None:
    """LMDB opens no file twice in a process; all that it has open read the same map."""
    other = fill(desk.node.directory / "other", seed=9)
    desk.publish(other)
    second = desk.open(other)
    check(second, other)
    check(fs, source)
    assert reads_the_map(fs)
    assert reads_the_map(second)
    second.close()
    check(fs, source)
    assert reads_the_map(fs)


def test_a_program_ends_by_itself(desk: Desk, source: Path) -> None:
    """A program that closes nothing ends at once, silently and with its own exit code."""
    program = (
        "import sys, vfs\n"
        "fs = vfs.open(sys.argv[1], cache_dir=sys.argv[2])\n"
        "print(len(fs.cat_file('large')))\n"
        "sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, source, desk.node.cache],
        env=desk.node.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{NAMES['large']}\n", "", 7)
