"""Findings about what mounts that are gone have left: directories, sockets, processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from vfs.doctor.finding import (
    End,
    Finding,
    ForgetMount,
    RemoveSocket,
    Resume,
    problem,
    warning,
)
from vfs.doctor.processes import Process, Role
from vfs.doctor.scene import DaemonSeen, Scene

SETTLING_SECONDS = 10.0
"""A process younger than this may only just be taking its place."""


def leftover_findings(scene: Scene) -> Iterator[Finding]:
    """Find all that serves nothing; nothing is called so while the keeper does not say."""
    orphans = list(orphaned_workers(scene))
    if scene.held is not None:
        yield from _directory_findings(scene)
        yield from map(_orphan_finding, orphans)
    yield from _socket_findings(scene)
    yield from _stopped_findings(scene, orphans if scene.held is not None else [])
    yield from _unreachable_findings(scene)


def _directory_findings(scene: Scene) -> Iterator[Finding]:
    served = {worker.key for worker in scene.of_role(Role.WORKER)}
    for key in sorted(scene.directories - served - scene.mounted_keys - set(scene.held or {})):
        state = scene.states.get(key)
        yield warning(
            str(scene.runtime / "mounts" / key),
            f"it is left from a mount at {state.mountpoint}" if state else "it is left of a mount",
            "remove it, or let --repair do it",
            ForgetMount(key),
        )


def orphaned_workers(scene: Scene) -> Iterator[Process]:
    """Yield the workers of mounts that neither the mount table nor the keeper knows."""
    known = scene.mounted_keys | set(scene.held or {})
    for worker in scene.of_role(Role.WORKER):
        if worker.key is not None and worker.key not in known and _is_settled(worker):
            yield worker


def _orphan_finding(worker: Process) -> Finding:
    return problem(
        f"worker {worker.pid}", "its mount is gone", f"kill -9 {worker.pid}", End(worker)
    )


def _socket_findings(scene: Scene) -> Iterator[Finding]:
    for stale in scene.sockets:
        cure = RemoveSocket(stale.path, stale.lock)
        yield warning(str(stale.path), "nobody listens there", "it is harmless; remove it", cure)


def _stopped_findings(scene: Scene, orphans: list[Process]) -> Iterator[Finding]:
    for process in scene.of_role(*Role):
        if process.is_stopped and process not in orphans:
            yield problem(
                f"{process.role} {process.pid}",
                "it is stopped (state T)",
                f"kill -CONT {process.pid}",
                Resume(process),
            )


def _unreachable_findings(scene: Scene) -> Iterator[Finding]:
    """Find supervisors and keepers of this runtime directory other than the one that listens."""
    reachable: dict[Role, DaemonSeen] = {
        Role.SUPERVISOR: scene.supervisor,
        Role.KEEPER: scene.keeper,
    }
    for role, daemon in reachable.items():
        for process in scene.of_role(role):
            waits_for_its_turn = process.is_successor and daemon.pid is not None
            if process.pid == daemon.pid or waits_for_its_turn or not _is_settled(process):
                continue
            yield problem(
                f"{role} {process.pid}",
                "nobody can reach it",
                f"kill -9 {process.pid}; the mounts stay",
                End(process),
            )


def _is_settled(process: Process) -> bool:
    return age_seconds(process) > SETTLING_SECONDS


def age_seconds(process: Process) -> float:
    """Return for how long a process has been there."""
    ticks: int = os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.born / ticks
