"""The first process of a mounter: starts the supervisor again when it dies, and reaps who is left.

It does little, so that there is little it could die of: in a container all end with it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from cachesvc.descriptors import raise_descriptor_limit
from cachesvc.spawn import service_pid
from vfs.mounting.process import adopt_orphans, children, forbid_core_dumps

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0
CALM_SECONDS = 10.0
"""One that lived so long is followed by the next at once."""
CACHE_SECONDS = 20.0
"""How long the cache service may take to close its files; what it left open is checked later."""
IDLE_SECONDS = 60.0
END_SECONDS = 5.0
LOOK_SECONDS = 0.1


class Nanny:
    """Looks after one supervisor. Everything that it or its children leave behind is its child."""

    def __init__(self, environment: Mapping[str, str], cache_directory: Path) -> None:
        """Start supervisors in *environment*; they use the cache in *cache_directory*."""
        self._environment = dict(environment)
        self._cache_directory = cache_directory
        self._supervisor: int | None = None
        self._started = 0.0
        self._next_start = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS

    def run(self, grace_seconds: float) -> None:
        """Keep a supervisor running until told to end; then wait *grace_seconds* for it, at most.

        It leaves when another process holds what it serves.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        adopt_orphans()
        forbid_core_dumps()
        raise_descriptor_limit()
        while not self._is_told_to_end():
            self._reap()
            if self._supervisor is None and time.monotonic() >= self._next_start:
                self._start()
        self._end_supervisor(grace_seconds)
        self._end_others()

    def _is_told_to_end(self) -> bool:
        """Wait for a signal, or until a supervisor is due; say whether this is the end."""
        pause = self._next_start - time.monotonic() if self._supervisor is None else IDLE_SECONDS
        told = signal.sigtimedwait(SIGNALS, max(0.0, pause))
        return told is not None and told.si_signo != signal.SIGCHLD

    def _start(self) -> None:
        command = [sys.executable, "-P", "-m", "vfs.mounting.mounter", str(os.getpid())]
        self._supervisor = os.posix_spawn(
            command[0], command, self._environment, setsigmask=[], setsid=True
        )
        self._started = time.monotonic()

    def _reap(self) -> None:
        """Take note of who has ended."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._supervisor:
                    self._note_death(ended[1])

    def _note_death(self, status: int) -> None:
        now = time.monotonic()
        if now - self._started > CALM_SECONDS:
            self._backoff = FIRST_BACKOFF_SECONDS
        log.warning("the supervisor ended: exit %d", os.waitstatus_to_exitcode(status))
        self._supervisor = None
        self._next_start = now + self._backoff
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)

    def _end_supervisor(self, grace_seconds: float) -> None:
        if self._supervisor is None:
            return
        os.kill(self._supervisor, signal.SIGTERM)
        if not self._comes_true(lambda: self._supervisor is None, grace_seconds):
            log.error("nobody came in %g s to hold the mounts; leaving them", grace_seconds)
            os.kill(self._supervisor, signal.SIGKILL)
            self._comes_true(lambda: self._supervisor is None, END_SECONDS)

    def _end_others(self) -> None:
        """End workers at once, whose requests wait for others, and the cache service in order."""
        service = service_pid(self._cache_directory)
        self._comes_true(lambda: not self._kill(set(children()) - {service}), END_SECONDS)
        if service is not None and service in children():
            os.kill(service, signal.SIGTERM)
            self._comes_true(lambda: service not in children(), CACHE_SECONDS)
            self._kill(set(children()))

    @staticmethod
    def _kill(pids: set[int]) -> set[int]:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def _comes_true(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Reap until *condition* holds, *seconds* at most; return whether it does."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            signal.sigtimedwait({signal.SIGCHLD}, LOOK_SECONDS)
            self._reap()
        return True
