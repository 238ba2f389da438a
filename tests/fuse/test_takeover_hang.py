"""Workers that neither serve nor die, and kernels that do not repeat requests."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuse.fleet import Fleet, kill, launched_fleet
from tests.node import Node, wait_until

BUDGET_SECONDS = 2.0
SLACK_SECONDS = 5.0


def stop(pids: list[int]) -> None:
    """Let processes do nothing, and not even end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def budgeted(node: Node, source: Path) -> Fleet:
    """Launch a fleet that is watched closely."""
    return launched_fleet(node, source, "--hang-budget", str(BUDGET_SECONDS))


def test_workers_that_hang_are_replaced(node: Node, source: Path) -> None:
    """A mount all of whose workers hang is served again within the hang budget and 5 s."""
    fleet = budgeted(node, source)
    stop(node.processes()["worker"])
    began = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        read = thread.submit(fleet.read, 1)
        assert read.result(timeout=60) == (source / "f1").read_bytes()
    assert time.monotonic() - began < BUDGET_SECONDS + SLACK_SECONDS


def test_a_mount_on_which_every_worker_hangs(node: Node, source: Path) -> None:
    """When the workers that replace hanging ones hang as well the mount is made anew and served."""
    fleet = launched_fleet(node, source, "--hang-budget", "1")

    def is_anew() -> bool:
        stop_newest(node)
        return was_mounted_anew(node)

    wait_until(is_anew, seconds=60)
    assert fleet.read(2) == (source / "f2").read_bytes()


def was_mounted_anew(node: Node) -> bool:
    """Say whether the supervisor has made a mount anew; it may have its old number again."""
    return "mounted anew" in node.log()


def stop_newest(node: Node) -> None:
    """Stop whoever serves now, as soon as that is known."""
    for path in (node.directory / "run").glob("mounts/*/state.json"):
        with suppress(ProcessLookupError):
            stop(json.loads(path.read_text())["workers"])


def test_unmounting_while_all_workers_hang(node: Node, source: Path) -> None:
    """`umount` works while no worker does, and leaves none behind."""
    fleet = launched_fleet(node, source)
    stop(node.processes()["worker"])
    node.umount(fleet.mount)
    wait_until(lambda: not node.pids_of("vfs.mounting"))


def test_a_slow_store_is_no_hang(node: Node, source: Path) -> None:
    """Workers that wait for bytes beyond the hang budget are left alone."""
    fleet = budgeted(node, source)
    before = node.processes()["worker"]
    with ThreadPoolExecutor(1) as thread, node.stopped("cachesvc"):
        read = thread.submit(fleet.read, 2)
        time.sleep(2 * BUDGET_SECONDS)
        assert node.processes()["worker"] == before
        assert not read.done()
    assert read.result(timeout=60) == (source / "f2").read_bytes()


def test_a_kernel_that_repeats_nothing(node: Node, source: Path) -> None:
    """Where the kernel repeats no requests (before Linux 6.9; HEADRACE_SIMULATE_NO_RESEND=1) the
    death of a worker fails what is in flight, within seconds, and the mount is made anew.
    """
    node.environment["HEADRACE_SIMULATE_NO_RESEND"] = "1"
    fleet = launched_fleet(node, source)
    with ThreadPoolExecutor(1) as thread, node.stopped("cachesvc"):
        read = thread.submit(fleet.read, 1)
        wait_until(read.running)
        time.sleep(0.5)
        kill(node.processes()["worker"][0])
        with pytest.raises(OSError, match="Errno"):
            read.result(timeout=30)
    wait_until(lambda: was_mounted_anew(node))
    assert fleet.read(2) == (source / "f2").read_bytes()
    wait_until(fleet.is_whole)
