"""Any process of a mount may die at any moment: readers see a pause and the right bytes."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import get_native_id

import pytest

from tests.node import Node, wait_until, waits_for_bytes
from vfs.mounting.mountinfo import mounted_at
from vfs.mounting.process import is_alive, wait_for_end

SIZE = 96 << 20
KILLS = 4


@pytest.fixture
def data(source: Path, node: Node) -> bytes:
    """What the file `big` of the published source holds."""
    content = random.Random(4).randbytes(SIZE)
    (source / "big").write_bytes(content)
    (source / "small").write_bytes(b"small")
    node.snapshot(source)
    return content


def read_while(path: Path, disturb: Callable[[], object]) -> bytes:
    """Read *path* to its end and call *disturb* whenever another part of it was read."""
    content = []
    with path.open("rb", buffering=0) as file:
        while block := file.read(SIZE // KILLS):
            content.append(block)
            if len(content) < KILLS:
                disturb()
    return b"".join(content)


@contextmanager
def blocked_read(node: Node, path: Path) -> Iterator[Future[bytes]]:
    """Begin to read *path*; in the block the cache service stands still and the read waits
    for it.
    """
    threads: list[int] = []

    def read() -> bytes:
        threads.append(get_native_id())
        return path.read_bytes()

    with ThreadPoolExecutor(1) as pool, node.stopped("cachesvc"):
        reading = pool.submit(read)
        wait_until(lambda: threads and waits_for_bytes(threads[0]))
        yield reading


@pytest.mark.parametrize("role", ["worker", "cachesvc"])
def test_a_death_in_the_middle_of_reading(node: Node, source: Path, data: bytes, role: str) -> None:
    """A worker or the cache service may be killed while files are read: readers see a pause and the
    right bytes, and no error (Linux 6.9 and later).
    """
    mount = node.mount(source)
    found = read_while(mount / "big", lambda: node.kill(role))
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()


def test_a_worker_dies_with_a_request_in_hand(node: Node, source: Path, data: bytes) -> None:
    """A request that a worker was answering when it died is answered by the next one."""
    mount = node.mount(source)
    with blocked_read(node, mount / "big") as reading:
        killed = node.kill("worker")
    assert reading.result() == data
    assert not set(node.processes()["worker"]) & set(killed)


def test_the_cache_service_dies_with_a_request_in_hand(
    node: Node, source: Path, data: bytes
) -> None:
    """The cache service is started again by whoever needs it, and asked again what it left."""
    mount = node.mount(source)
    with blocked_read(node, mount / "big") as reading:
        killed = node.kill("cachesvc")
    assert reading.result() == data
    assert not set(node.processes()["cachesvc"]) & set(killed)


def test_one_of_several_workers_dies(node: Node, source: Path, data: bytes) -> None:
    """A mount may have several workers (`--workers`); readers cannot tell, nor when some die."""
    mount = node.mount(source, "--workers", "3")
    pids = node.processes()["worker"]
    assert len(pids) == 3
    with ThreadPoolExecutor(4) as threads:
        reads = [threads.submit((mount / "big").read_bytes) for _ in range(4)]
        for pid in pids[:2]:
            os.kill(pid, signal.SIGKILL)
        assert all(read.result(timeout=60) == data for read in reads)
    wait_until(lambda: len(node.processes()["worker"]) == 3)


def test_a_supervisor_that_is_told_to_stop(node: Node, source: Path, data: bytes) -> None:
    """A supervisor that gets SIGTERM or SIGINT unmounts, and its workers end with it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        mount = node.mount(source, name=number.name)
        assert (mount / "small").read_bytes() == b"small"
        pids = node.processes()
        os.kill(pids["supervisor"][0], number)
        for pid in [*pids["supervisor"], *pids["worker"]]:
            wait_for_end(pid, 10)
            assert not is_alive(pid)
        assert mounted_at(mount) is None
        assert node.mounts() == []


def test_a_supervisor_that_is_killed(node: Node, source: Path, data: bytes) -> None:
    """When the supervisor is killed its workers serve on, and `headrace umount` ends them as
    ever.
    """
    mount = node.mount(source)
    node.kill("supervisor")
    assert (mount / "big").read_bytes() == data
    workers = node.processes()["worker"]
    node.umount(mount)
    assert not any(map(is_alive, workers))


def test_a_reader_can_be_killed(node: Node, source: Path, data: bytes) -> None:
    """Who waits for the bytes of a file can be killed, however long they take."""
    mount = node.mount(source)
    with node.stopped("cachesvc"):
        reader = subprocess.Popen(["cat", mount / "big"], stdout=subprocess.DEVNULL)
        wait_until(lambda: waits_for_bytes(reader.pid))
        reader.kill()
        assert reader.wait(timeout=10) == -signal.SIGKILL
    assert (mount / "small").read_bytes() == b"small"


def test_unmounting_under_a_reader(node: Node, source: Path, data: bytes) -> None:
    """`umount --lazy` hides a mount at once; who has a file open reads on, and with the last one
    the processes end.
    """
    mount = node.mount(source)
    pids = node.processes()
    with (mount / "big").open("rb") as file:
        node.run("umount", "--lazy", mount)
        assert mounted_at(mount) is None
        assert os.listdir(mount) == []
        assert file.read() == data
        assert all(map(is_alive, pids["worker"]))
    for pid in [*pids["supervisor"], *pids["worker"]]:
        wait_for_end(pid, 10)
        assert not is_alive(pid)
