"""Carrying out cures. Each looks once more whether what it is about to mend is still broken."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from vfs.doctor.finding import (
    Cure,
    End,
    ForgetMount,
    ReadAhead,
    RemoveSocket,
    Resume,
    StartSupervisor,
    Unmount,
)
from vfs.doctor.processes import Process, Role, process_of
from vfs.errors import MountError
from vfs.mounting.daemon import SUPERVISOR, ensure_daemon
from vfs.mounting.mount import set_read_ahead, unmount
from vfs.mounting.mountinfo import mounted_at
from vfs.mounting.process import wait_for_end
from vfs.mounting.state import forget_state, mount_directory

END_SECONDS = 5.0


def mend(cure: Cure) -> str:
    """Do it, and return what was done in a few words. Raises MountError."""
    match cure:
        case Unmount():
            done = _unmount(cure)
        case ForgetMount():
            done = _forget(cure)
        case RemoveSocket():
            done = _remove_socket(cure)
        case Resume():
            done = _resume(cure.process)
        case End():
            done = _end(cure.process)
        case StartSupervisor():
            done = _start_supervisor()
        case ReadAhead():
            done = _read_ahead(cure)
    return done


def _unmount(cure: Unmount) -> str:
    there = mounted_at(cure.mountpoint)
    if there is None or there.minor != cure.connection:
        return f"left {cure.mountpoint} alone: something else is mounted there now"
    unmount(cure.mountpoint, lazy=True)
    if cure.key is not None:
        forget_state(cure.key)
    return f"unmounted {cure.mountpoint}"


def _forget(cure: ForgetMount) -> str:
    forget_state(cure.key)
    return f"removed {mount_directory(cure.key)}"


def _resume(process: Process) -> str:
    _send(process, [signal.SIGCONT])
    return f"continued {process.role} {process.pid}"


def _start_supervisor() -> str:
    ensure_daemon(SUPERVISOR)
    return "started a supervisor"


def _read_ahead(cure: ReadAhead) -> str:
    done = set_read_ahead(cure.mount, cure.kibibytes)
    return f"{'set' if done else 'could not set'} read_ahead_kb of {cure.mount.mountpoint}"


def _remove_socket(cure: RemoveSocket) -> str:
    """Remove a socket while its lock keeps anybody from beginning to listen there."""
    lock = os.open(cure.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        cure.socket.unlink(missing_ok=True)
    except BlockingIOError:
        return f"left {cure.socket} alone: somebody is about to use it"
    finally:
        os.close(lock)
    return f"removed {cure.socket}"


def _end(process: Process) -> str:
    """End a process, the gentle way first; a supervisor that is asked to end would unmount all."""
    name = f"{process.role} {process.pid}"
    if process.role is not Role.SUPERVISOR:
        _send(process, [signal.SIGTERM, signal.SIGCONT])
        if wait_for_end(process.pid, END_SECONDS):
            return f"ended {name}"
    _send(process, [signal.SIGKILL])
    if not wait_for_end(process.pid, END_SECONDS):
        raise MountError(f"{name} cannot be ended: it waits for the kernel")
    return f"killed {name}"


def _send(process: Process, signals: Sequence[signal.Signals]) -> None:
    """Send signals to a process, if it still is the one that was looked at."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if process.is_same(process_of(process.pid)):
                for number in signals:
                    signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
