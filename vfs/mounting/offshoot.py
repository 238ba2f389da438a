"""Becoming another program of ours without starting an interpreter: by fork, from a young process.

What both have imported is there once and is not imported again, which takes most of the time that
a process of ours needs to start. To be done only before there is a thread or an event loop.
"""

from __future__ import annotations

import ctypes
import logging
import os
import runpy
import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import trio

STANDARD = (0, 1, 2)
_ARG_START, _ARG_END = 45, 46
"""Where /proc/PID/stat has them, counted from behind the process's name."""

log = logging.getLogger(__name__)


class Offshoot:
    """A child that was forked here. Somebody has to `wait` for it or to `reap` it."""

    def __init__(self, pid: int) -> None:
        """Know the child *pid*."""
        self.pid = pid
        self._code: int | None = None

    def kill(self) -> None:
        """End it at once; once it was reaped its number may be another's."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Return its exit code when it has ended. To be called by one task."""
        descriptor = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        return self.reap()

    def reap(self) -> int:
        """Wait for its end without regard to others; return its exit code."""
        _, status = os.waitpid(self.pid, 0)
        self._code = os.waitstatus_to_exitcode(status)
        return self._code


def fork_module(
    module: str, *words: str, streams: Sequence[int] = STANDARD, kept: Collection[int] = ()
) -> Offshoot:
    """Fork what `python -m MODULE WORDS` would start.

    It has a session of its own, *streams* in the place of stdin, stdout and stderr, and of all
    other descriptors only those *kept*, which have the same numbers.
    """
    pid = os.fork()
    if pid == 0:
        _become(module, words, streams, kept)
    return Offshoot(pid)


def _become(
    module: str, words: Sequence[str], streams: Sequence[int], kept: Collection[int]
) -> None:
    """Be *module* to the end of this process."""
    code: object = 1
    try:
        os.setsid()
        for standard, stream in zip(STANDARD, streams, strict=True):
            os.dup2(stream, standard)
        _close_all_but({*STANDARD, *kept})
        show_command([sys.executable, "-P", "-m", module, *words])
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        log.exception("%s ends unexpectedly", module)
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _close_all_but(kept: Collection[int]) -> None:
    for descriptor in set(map(int, os.listdir("/proc/self/fd"))) - set(kept):
        with suppress(OSError):  # the one by which they were listed
            os.close(descriptor)


def show_command(words: Sequence[str]) -> None:
    """Let /proc/self/cmdline, and so `ps`, show *words*, as far as the real ones have room."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    text = b"".join(os.fsencode(word) + b"\0" for word in words)[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
