"""Making a mount and handing it to the supervisor; waiting until one is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from vfs.errors import MountError
from vfs.mounting.ask import ask_supervisor
from vfs.mounting.connection import is_in_place, make_mount
from vfs.mounting.mount import unmount
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec

READY_SECONDS = 120
END_SECONDS = 10
LOOK_SECONDS = 0.25


def launch(spec: MountSpec) -> MountRecord:
    """Mount *spec* and return when it is served.

    Raises MountError when it does not come to that; nothing is left mounted then.
    """
    record, connection = make_mount(spec)
    try:
        answer = ask_supervisor("mount", READY_SECONDS, (connection,), record=record.to_json())
        if answer.kind != "mounted":
            raise MountError(f"cannot mount at {spec.mountpoint}: {answer.fields['error']}")
    except BaseException:
        unmount(spec.mountpoint, lazy=True)
        raise
    finally:
        os.close(connection)
    return record


def await_end(key: str, mountpoint: Path) -> None:
    """Return when the processes of a mount that was taken off are gone. Raises MountError."""
    try:
        ask_supervisor("await_end", END_SECONDS, key=key)
    except MountError as error:
        raise MountError(f"{mountpoint} is unmounted, but its processes are not gone") from error


def stay(record: MountRecord) -> None:
    """Wait until the mount is taken off, or take it off at SIGINT or SIGTERM."""
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while is_in_place(record):
        if signal.sigtimedwait(signals, LOOK_SECONDS) is not None:
            unmount(record.spec.mountpoint, lazy=True)
            await_end(record.key, record.spec.mountpoint)
            return
