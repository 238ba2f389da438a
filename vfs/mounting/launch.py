"""Starting a mount's supervisor, detached from the terminal or in this very process."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from cachesvc.errors import first_error
from vfs.errors import MountError
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import forget_state, log_path

READY_SECONDS = 120

Serve = Callable[[MountSpec, str], None]
"""Serve a mount; print the given announcement once it answers."""


@contextmanager
def supervised_apart(mountpoint: Path) -> Iterator[Serve]:
    """Start a supervisor for *mountpoint* and give the function that tells it what to mount there.

    Its imports take as long as choosing a snapshot does: the two go on at the same time. The
    function returns when the mount answers, and raises MountError with the supervisor's own words
    when it does not come to that; nothing is left mounted then. Not called, the supervisor ends.
    """
    log = log_path(mountpoint)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vfs.mounting.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    try:
        yield partial(_hand_over, process)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
            forget_state(mountpoint)


def _hand_over(process: subprocess.Popen[bytes], spec: MountSpec, announcement: str) -> None:
    try:
        status = _first_answer(process, spec.to_json())
    except TimeoutError:
        process.terminate()
        process.returncode = 0
        raise MountError(
            f"{spec.mountpoint} was not ready within {READY_SECONDS} s; "
            f"see {log_path(spec.mountpoint)}"
        ) from None
    if "error" in status:
        process.wait()
        raise MountError(f"cannot mount at {spec.mountpoint}: {status['error']}")
    # The supervisor outlives this command, which must not be blamed for leaving a child behind.
    process.returncode = 0
    print(announcement, flush=True)


def _first_answer(process: subprocess.Popen[bytes], order: str) -> dict[str, str]:
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        with suppress(BrokenPipeError):  # it died before it was asked; its last words say why
            process.stdin.write(order.encode())
            process.stdin.close()
        if not select.select([process.stdout], [], [], READY_SECONDS)[0]:
            raise TimeoutError
        line = process.stdout.readline()
    answer: dict[str, str] = json.loads(line or b'{"error": "its supervisor died; see the log"}')
    return answer


@contextmanager
def supervised_here(_mountpoint: Path) -> Iterator[Serve]:
    """Give the function that serves a mount in this process until it is unmounted."""
    # Importing trio takes 0.15 s, and the command in the background does without.
    import trio  # noqa: PLC0415

    from vfs.mounting.supervisor import Supervisor  # noqa: PLC0415

    def serve(spec: MountSpec, announcement: str) -> None:
        try:
            trio.run(Supervisor(spec).run, partial(print, announcement, flush=True))
        except ExceptionGroup as group:
            raise first_error(group) from group

    yield serve
