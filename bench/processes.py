"""What the kernel knows of other processes: CPU time and private memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

_PRIVATE = ("RssAnon", "RssShmem")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, ended threads included.

    By its CPU clock (clock_getcpuclockid(3)): /proc/PID/stat counts in steps of 10 ms.
    """
    return time.clock_gettime(~pid * 8 + 2)


def spent_seconds(pid: int) -> float:
    """Return the CPU time of a process and of its children that have ended; 0 if it has too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return cpu_seconds(pid) + sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def private_bytes(pid: int) -> int:
    """Return the memory that is a process's own; pages of mapped files, LMDB's map too, are not."""
    return private_bytes_in(Path(f"/proc/{pid}/status").read_text())


def private_bytes_in(status: str) -> int:
    """Return the private memory that the text of /proc/PID/status tells of."""
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in _PRIVATE)
