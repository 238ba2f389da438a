"""All processes of one peer, known by a mark in their environment, whoever is their parent now."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from vfs.mounting.process import wait_for_end

STOP_SECONDS = 20


class Family:
    """Processes whose environment says that they are of this family."""

    def __init__(self, variable: str, value: str) -> None:
        """Mark processes by this *variable* with this *value*."""
        self._variable = variable
        self._value = value

    @property
    def environ(self) -> Mapping[str, str]:
        """Our own environment, marked: what the first of the family is started with."""
        return {**os.environ, self._variable: self._value}

    def pids(self) -> list[int]:
        """Return all that are alive."""
        mark = f"{self._variable}={self._value}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has ended, or is another user's
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found

    @contextmanager
    def ended_after(self) -> Iterator[None]:
        """Stop the whole family on the way out."""
        try:
            yield
        finally:
            # Again and again, since one that is just starting may have forked meanwhile.
            while left := self.pids():
                for pid in left:
                    stop(pid)


def stop(pid: int) -> None:
    """Ask a process to end, wait until it has, and kill it if it does not."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
        if wait_for_end(pid, STOP_SECONDS):
            return
