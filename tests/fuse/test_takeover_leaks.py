"""Many deaths leave nothing behind in those who live on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cachesvc.spawn import service_pid
from tests.fakes.counting_supervisor import READY
from tests.fuse.fleet import FILES, WORKERS, Fleet, kill, launched_fleet
from tests.node import Node, wait_until

DEATHS = 100
DEATHS_OF_EACH = 8
SUPERVISOR_DEATHS = 8
IDLE_SECONDS, END_SECONDS = 200, 20
"""So long the supervisor waits for its first mount, and the test for its end."""
OPENED_LATE = 4
"""What a process may have opened since, once and for all: fewer than there are deaths of any."""

Pids = Sequence[int]


@dataclass(frozen=True, slots=True)
class Counting:
    """A fleet whose supervisor counts its tasks."""

    fleet: Fleet
    supervisor: subprocess.Popen[str]

    def tasks(self) -> int:
        """Return how many tasks the supervisor has."""
        assert self.supervisor.stdout is not None
        self.supervisor.send_signal(signal.SIGUSR1)
        return int(self.supervisor.stdout.readline())


@contextmanager
def counting(node: Node, source: Path) -> Iterator[Counting]:
    """Give a fleet, and take it down before its supervisor ends."""
    command = [sys.executable, "-m", "tests.fakes.counting_supervisor"]
    environment = node.environment | {"HEADRACE_IDLE_SECONDS": str(IDLE_SECONDS)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        try:
            assert supervisor.stdout is not None
            assert supervisor.stdout.readline().strip() == READY
            fleet = launched_fleet(node, source)
            yield Counting(fleet, supervisor)
            node.umount(fleet.mount)
            supervisor.terminate()
            assert supervisor.wait(END_SECONDS) == 0
        finally:
            supervisor.kill()


def test_a_hundred_workers_die(node: Node, source: Path) -> None:
    """Supervisor, keeper, zygote and cache service hold no more descriptors, threads and tasks
    after 100 workers died than before.
    """
    with counting(node, source) as made:
        found = made.fleet.node.processes()
        survivors = [*found["supervisor"], *found["keeper"], *found["cachesvc"], *zygotes(node)]
        before, tasks_before = holdings(survivors), made.tasks()
        for number in range(DEATHS):
            replace(workers(node)[number % WORKERS], partial(workers, node), WORKERS)
            read_anew(made.fleet, number)
        wait_until(lambda: at_most(holdings(survivors), before))
        wait_until(lambda: made.tasks() <= tasks_before)


def test_everybody_else_dies(node: Node, source: Path) -> None:
    """Supervisor and workers hold no more descriptors, threads and tasks after keeper, zygote and
    cache service died many times than before.
    """
    with counting(node, source) as made:
        survivors = [made.supervisor.pid, *workers(node)]
        before, tasks_before = holdings(survivors), made.tasks()
        for number in range(DEATHS_OF_EACH):
            for find in (keepers, cache_services, zygotes):
                replace(find(node)[0], partial(find, node), 1)
            read_anew(made.fleet, number)
        assert survivors[1:] == workers(node)
        wait_until(lambda: at_most(holdings(survivors), before))
        wait_until(lambda: made.tasks() <= tasks_before)


def test_supervisors_die(node: Node, source: Path) -> None:
    """Workers and keeper hold no more descriptors and threads after many supervisors died than
    before.
    """
    fleet = launched_fleet(node, source)
    survivors = [*workers(node), *keepers(node)]
    before = holdings(survivors)
    for number in range(SUPERVISOR_DEATHS):
        replace(supervisors(node)[0], partial(supervisors, node), 1)
        wait_until(fleet.is_whole)
        read_anew(fleet, number)
    assert survivors == [*workers(node), *keepers(node)]
    wait_until(lambda: at_most(holdings(survivors), before))


def replace(victim: int, find: Callable[[], Pids], count: int) -> None:
    """Kill *victim* and wait until there are *count* others."""
    kill(victim)
    wait_until(lambda: len(find()) == count and victim not in find())


def read_anew(fleet: Fleet, number: int) -> None:
    """Have a worker send a file, whatever the kernel has of it."""
    name = f"f{number % FILES}"
    with (fleet.mount / name).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert file.read() == (fleet.source / name).read_bytes()


def workers(node: Node) -> Pids:
    """Return who serves the one mount, faster than a command would tell."""
    (state,) = (node.directory / "run").glob("mounts/*/state.json")
    found: list[int] = json.loads(state.read_text())["workers"]
    return found


def zygotes(node: Node) -> Pids:
    """Return the process from which workers are forked; those have its command line."""
    return [pid for pid in node.pids_of("vfs.mounting.zygote") if not is_worker(pid)]


def is_worker(pid: int) -> bool:
    """Say whether a process bears the name that workers give themselves."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == "headrace-worker"


def keepers(node: Node) -> Pids:
    """Return the keeper."""
    return node.pids_of("vfs.mounting.keeper")


def supervisors(node: Node) -> Pids:
    """Return the supervisor."""
    return node.pids_of("vfs.mounting.supervisor")


def cache_services(node: Node) -> Pids:
    """Return the cache service, once it answers."""
    pid = service_pid(node.cache)
    return [] if pid is None else [pid]


def holdings(pids: Pids) -> list[tuple[int, int]]:
    """Return how many descriptors and threads each process has."""
    return [(count(pid, "fd"), count(pid, "task")) for pid in pids]


def count(pid: int, what: str) -> int:
    """Return how much the kernel lists in a process's directory."""
    return len(os.listdir(f"/proc/{pid}/{what}"))


def at_most(now: Sequence[tuple[int, int]], before: Sequence[tuple[int, int]]) -> bool:
    """Say whether nobody holds more of anything than before, but for what is opened late."""
    return all(
        each <= limit + OPENED_LATE
        for counts, limits in zip(now, before, strict=True)
        for each, limit in zip(counts, limits, strict=True)
    )
