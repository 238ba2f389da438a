"""What the kernel knows of other processes: CPU time and private memory."""

from __future__ import annotations

import time
from pathlib import Path

_PRIVATE = ("RssAnon", "RssShmem")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, ended threads included.

    By its CPU clock (clock_getcpuclockid(3)): /proc/PID/stat counts in steps of 10 ms.
    """
    return time.clock_gettime(~pid * 8 + 2)


def private_bytes(pid: int) -> int:
    """Return the memory that is a process's own; pages of mapped files, LMDB's map too, are not."""
    return private_bytes_in(Path(f"/proc/{pid}/status").read_text())


def private_bytes_in(status: str) -> int:
    """Return the private memory that the text of /proc/PID/status tells of."""
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in _PRIVATE)
