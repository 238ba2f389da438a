"""Findings about the processes of which there is one each: supervisor, keeper, cache service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio

from cachesvc.ask import ask_service
from cachesvc.errors import HeadraceError
from cachesvc.spawn import service_pid
from vfs.doctor.finding import End, Finding, StartSupervisor, ok, problem, warning
from vfs.doctor.processes import Role
from vfs.doctor.scene import ANSWER_SECONDS, DaemonSeen, Scene


def daemon_findings(scene: Scene) -> Iterator[Finding]:
    """Judge supervisor and keeper by whether they answer."""
    yield from _of_supervisor(scene)
    if scene.keeper.pid is not None:
        yield from _of_listener(scene, Role.KEEPER, scene.keeper)
    elif scene.live_mounts and scene.supervisor.answers:
        yield warning("keeper", "there is none", "the supervisor starts one; look again")


def _of_supervisor(scene: Scene) -> Iterator[Finding]:
    if scene.supervisor.pid is not None:
        yield from _of_listener(scene, Role.SUPERVISOR, scene.supervisor)
    elif scene.live_mounts and not scene.of_role(Role.SUPERVISOR):
        yield problem(
            "supervisor",
            "there is none, and mounts live",
            "a worker starts one in a moment, or 'headrace doctor --repair'",
            StartSupervisor(),
        )


def _of_listener(scene: Scene, role: Role, daemon: DaemonSeen) -> Iterator[Finding]:
    process = scene.process(daemon.pid)
    if daemon.answers:
        yield ok(f"{role} {daemon.pid}", "it answers")
    elif process is None or not process.is_stopped:
        yield problem(
            f"{role} {daemon.pid}",
            f"it did not answer within {ANSWER_SECONDS:g} s",
            f"kill -9 {daemon.pid}; the mounts stay, and another takes over",
            End(process) if process is not None and scene.is_ours(process) else None,
        )


def cache_service_findings(scene: Scene) -> Iterator[Finding]:
    """Ask each cache service how it is."""
    needed = {
        Path(scene.states[seen.key].cache_directory) for seen in scene.live_mounts if seen.key
    }
    for directory in scene.cache_directories:
        pid = service_pid(directory)
        if pid is not None:
            yield from _of_cache_service(scene, directory, pid)
        elif directory in needed:
            yield warning(
                f"cache service of {directory}",
                "none runs",
                "the next read that needs it starts it",
            )


def _of_cache_service(scene: Scene, directory: Path, pid: int) -> Iterator[Finding]:
    place = f"cache service {pid} of {directory}"
    process = scene.process(pid)
    if process is not None and process.is_stopped:
        return  # that has been said
    try:
        answers = anyio.run(_answers, directory, backend="asyncio")
    except HeadraceError as error:
        yield warning(place, str(error), "'headrace cache stop', then it is started anew")
        return
    if answers:
        yield ok(place, "it answers")
        return
    yield problem(
        place,
        f"it did not answer within {ANSWER_SECONDS:g} s",
        f"kill -9 {pid}; mounts start another",
        End(process) if process is not None and scene.is_ours(process) else None,
    )


async def _answers(directory: Path) -> bool:
    """Say whether the service answers in time."""
    with anyio.move_on_after(ANSWER_SECONDS):
        await ask_service(directory, "stats")
        return True
    return False
