"""Whether a process lives, and waiting until it does not."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def is_alive(pid: int) -> bool:
    """Return whether *pid* runs; a zombie, which nobody has waited for yet, does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def wait_for_end(pid: int, seconds: float) -> bool:
    """Wait until *pid* ends, *seconds* at most; return whether it did. It need not be a child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0, int(1000 * (deadline - time.monotonic())))))
    finally:
        os.close(descriptor)


def pid_namespace() -> int:
    """Return what tells this process's numbering of processes from those of other containers."""
    return os.stat("/proc/self/ns/pid").st_ino


def children() -> list[int]:
    """Return the processes whose parent is this one, the ended ones too."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_child(pid)]


def _is_child(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return int(status.rpartition(")")[2].split()[1]) == os.getpid()


def adopt_orphans() -> None:
    """Make this process the parent of whatever it or its children start and leave behind."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when *parent*, which started it, ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def forbid_core_dumps() -> None:
    """Have the kernel write no memory of this process and its children down: it holds secrets.

    A limit of one byte stops dumps to files and, unlike none, those that are piped to a program.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    least = 0 if most == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (least, least))
