"""Starting a mount's supervisor, detached from the terminal or in this very process."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from functools import partial

import trio

from vfs.errors import MountError
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import log_path
from vfs.mounting.supervisor import Supervisor

READY_SECONDS = 120


def launch_supervisor(spec: MountSpec) -> None:
    """Start a supervisor for *spec* and return when the mount answers.

    Raises MountError with the supervisor's own words when it does not come to that; nothing is
    left mounted then.
    """
    log = log_path(spec.mountpoint)
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
        status = _first_answer(process, spec.to_json())
    except TimeoutError:
        process.terminate()
        raise MountError(
            f"{spec.mountpoint} was not ready within {READY_SECONDS} s; see {log}"
        ) from None
    if "error" in status:
        process.wait()
        raise MountError(f"cannot mount at {spec.mountpoint}: {status['error']}")
    # The supervisor outlives this command, which must not be blamed for leaving a child behind.
    process.returncode = 0


def _first_answer(process: subprocess.Popen[bytes], order: str) -> dict[str, str]:
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(order.encode())
        process.stdin.close()
        deadline = time.monotonic() + READY_SECONDS
        if not select.select([process.stdout], [], [], deadline - time.monotonic())[0]:
            raise TimeoutError
        line = process.stdout.readline()
    answer: dict[str, str] = json.loads(line or b'{"error": "its supervisor died; see the log"}')
    return answer


def supervise_here(spec: MountSpec, announcement: str) -> None:
    """Serve *spec* in this process until it is unmounted; print *announcement* when it answers."""
    trio.run(Supervisor(spec).run, partial(print, announcement, flush=True))
