"""Replacing the supervisor by another: the old one leaves only when the new one stands ready.

The new one inherits the lock and the listening socket, so nobody can come between and no caller is
turned away. Workers and keeper stay, and tell it the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys

import trio

from vfs.errors import MountError
from vfs.mounting.daemon import READY, SUPERVISOR
from vfs.mounting.keeping import Keeping

TAKE_OVER = "take-over"
READY_SECONDS = 30.0


async def prepare_successor(python: str, lock: int, listener: int) -> None:
    """Start one that takes over as soon as this process ends. Raises MountError if it cannot."""
    process = await trio.lowlevel.open_process(
        SUPERVISOR.command(TAKE_OVER, str(lock), str(listener), python=python),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(lock, listener),
        cwd="/",
        start_new_session=True,
    )
    assert process.stdout is not None
    word = b"it is too slow"
    with trio.move_on_after(READY_SECONDS):
        word = bytes(await process.stdout.receive_some()) or b"it died"
    if word != READY.encode():
        process.kill()
        await process.wait()
        raise MountError(f"the new supervisor does not start: {word.decode(errors='replace')}")


def await_predecessor() -> None:
    """Prove that this process can take over, then wait until the old supervisor is gone."""
    trio.run(_look_around)
    os.write(1, READY.encode())
    os.dup2(2, 1)
    sys.stdin.buffer.read()


async def _look_around() -> None:
    """Ask the keeper for all that it holds, as taking over begins."""
    keeping = Keeping()
    for mount in await keeping.start():
        os.close(mount.connection)
    keeping.close()
