"""Who serves a mount may die, any two of them at once too: the mount does not notice."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from tests.fuse.fleet import FILE_SIZE, Fleet, kill, launched_fleet
from tests.node import ROLES, Node, wait_until, waits_for_bytes
from vfs.mounting.process import is_alive

LONGEST_STALL_SECONDS = 5.0


@pytest.fixture
def fleet(node: Node, source: Path) -> Fleet:
    """A mount of two workers."""
    return launched_fleet(node, source)


def test_any_two_die_at_once(fleet: Fleet) -> None:
    """Any two of worker, supervisor, keeper and cache service may be killed at once while files are
    read: readers see a pause, the right bytes and no error (Linux 6.9 and later).
    """
    with fleet.readers() as readers:
        for first, second in combinations_with_replacement(ROLES, 2):
            wait_until(fleet.is_whole)
            found = fleet.node.processes()
            kill(*{found[first][0], found[second][-1]})
            readers.wait_for_rounds(1)
    assert readers.errors == []
    assert readers.longest_stall_seconds < LONGEST_STALL_SECONDS


def test_workers_outlive_supervisor_and_keeper(fleet: Fleet) -> None:
    """When supervisor and keeper die at once the workers serve on, start both anew and hand the
    connection back.
    """
    before = fleet.node.processes()
    kill(*before["supervisor"], *before["keeper"])
    assert len(fleet.read(1)) == FILE_SIZE
    wait_until(fleet.is_whole)
    after = fleet.node.processes()
    assert after["worker"] == before["worker"]
    kill(*after["worker"])
    assert len(fleet.read(2)) == FILE_SIZE


def test_the_keeper_alone_brings_a_mount_back(fleet: Fleet) -> None:
    """When the supervisor and all workers die at once the keeper starts a supervisor, and that
    workers.
    """
    before = fleet.node.processes()
    kill(*before["supervisor"], *before["worker"])
    assert len(fleet.read(1)) == FILE_SIZE
    wait_until(fleet.is_whole)


def test_workers_die_before_a_new_supervisor_knows_them(fleet: Fleet) -> None:
    """A request is answered too when its worker dies while a new supervisor does not know it yet
    (Linux 6.9 and later).
    """
    before = fleet.node.processes()
    with fleet.node.stopped("cachesvc"), ThreadPoolExecutor() as pool:
        reading = pool.submit(fleet.read, 1)
        wait_until(lambda: any(map(waits_for_bytes, own_threads())))
        with fleet.node.stopped("worker"):
            kill(*before["supervisor"])
            wait_until(lambda: set(fleet.node.processes()["supervisor"]) - {*before["supervisor"]})
            kill(*before["worker"])
        for pid in before["cachesvc"]:
            os.kill(pid, signal.SIGCONT)
        assert len(reading.result(LONGEST_STALL_SECONDS)) == FILE_SIZE


def own_threads() -> list[int]:
    """Return the threads of this process."""
    return [int(name) for name in os.listdir("/proc/self/task")]


def test_the_zygote_dies(fleet: Fleet) -> None:
    """The process from which workers are forked may be killed too, just before one is needed."""
    before = fleet.node.processes()["worker"]
    kill(*set(fleet.node.pids_of("vfs.mounting.zygote")))
    assert len(fleet.read(1)) == FILE_SIZE
    wait_until(fleet.is_whole)
    assert not set(fleet.node.processes()["worker"]) & set(before)


def test_nobody_stays_without_mounts(fleet: Fleet) -> None:
    """When the last mount is taken off all processes end by themselves, whoever was killed."""
    before = fleet.node.processes()
    kill(*before["supervisor"], *before["keeper"])
    fleet.node.umount(fleet.mount)
    assert not any(map(is_alive, before["worker"]))
    wait_until(lambda: not fleet.node.pids_of("vfs.mounting"))


def test_mounting_while_the_last_supervisor_ends(fleet: Fleet) -> None:
    """Who mounts in the moment in which supervisor and keeper end for want of mounts is served."""
    node = fleet.node
    node.environment["HEADRACE_IDLE_SECONDS"] = "0"
    kill(*node.processes()["supervisor"])
    node.umount(fleet.mount)
    for _ in range(4):
        again = node.mount(fleet.source)
        assert (again / "f1").stat().st_size == FILE_SIZE
        node.umount(again)


def test_a_hidden_mount_beside_its_successor(fleet: Fleet, source: Path) -> None:
    """A mount that was taken off lazily and one that took its place are served beside each other,
    each with its own snapshot, also when everybody who serves them is killed.
    """
    before = fleet.read(1)
    with (fleet.mount / "f2").open("rb") as old:
        fleet.node.run("umount", "--lazy", fleet.mount)
        (source / "new").write_bytes(b"new")
        fleet.node.snapshot(source)
        fleet.node.run("mount", source, fleet.mount)
        found = fleet.node.processes()
        kill(*found["supervisor"], *found["worker"])
        assert (fleet.mount / "new").read_bytes() == b"new"
        assert old.read() == (source / "f2").read_bytes() != before
