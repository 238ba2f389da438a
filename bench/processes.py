"""What the kernel knows of other processes: CPU time, memory, what they have open."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

_PRIVATE = ("RssAnon", "RssShmem")
_SHARE = ("Pss_Anon", "Pss_Shmem")


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


def bytes_read_from_disk(pid: int) -> int:
    """Return what a process had read from disks, by page faults too; 0 if it has ended."""
    try:
        return _sum_of(Path(f"/proc/{pid}/io").read_text(), ("read_bytes",), unit=1)
    except OSError:
        return 0


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def private_bytes(pid: int) -> int:
    """Return the memory that is a process's own; pages of mapped files, LMDB's map too, are not."""
    return private_bytes_in(Path(f"/proc/{pid}/status").read_text())


def private_bytes_in(status: str) -> int:
    """Return the private memory that the text of /proc/PID/status tells of."""
    return _sum_of(status, _PRIVATE)


def share_bytes(pid: int) -> int:
    """Return a process's share of the memory that is no file's: what processes have in common with
    the one that they were forked from is divided among them, so that shares can be added up.
    """
    return share_bytes_in(Path(f"/proc/{pid}/smaps_rollup").read_text())


def share_bytes_in(rollup: str) -> int:
    """Return the share of memory that the text of /proc/PID/smaps_rollup tells of."""
    return _sum_of(rollup, _SHARE)


def descriptor_count(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def thread_count(pid: int) -> int:
    """Return how many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def _sum_of(text: str, names: Sequence[str], unit: int = 1024) -> int:
    """Add up lines such as `RssAnon: 2000 kB`."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return sum(int(fields[name].split()[0]) * unit for name in names)
