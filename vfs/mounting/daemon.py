"""The processes of which a runtime directory has one each: finding them, starting them.

Each holds a lock for as long as it lives and listens on a socket beside it. Whoever needs one makes
sure that it runs; many may do so at once.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cachesvc.ambient import without_credentials
from cachesvc.detached import Starting, open_log, start_detached
from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.state import runtime_directory

READY, BUSY = "ready", "busy"
START_SECONDS = 30.0
POLL_SECONDS = 0.02
IDLE_VARIABLE = "HEADRACE_IDLE_SECONDS"
IDLE_SECONDS = 5.0
FIRST_CALL_SECONDS = 5.0
"""How long it waits for whoever had it started, however short of patience it is otherwise."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One kind of process and where it is met."""

    name: str
    module: str

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return runtime_directory() / self.name

    @property
    def lock(self) -> Path:
        """What it holds locked."""
        return runtime_directory() / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        """Where it logs."""
        return runtime_directory() / f"{self.name}.log"

    def command(self, *words: str, python: str = sys.executable) -> list[str]:
        """Return what starts it; -P keeps the current directory out of the module path."""
        return [python, "-P", "-m", self.module, *words]


SUPERVISOR = Daemon("supervisor", "vfs.mounting.supervisor")
KEEPER = Daemon("keeper", "vfs.mounting.keeper")


def idle_seconds() -> float:
    """Return how long a process without mounts waits for one before it ends."""
    return float(os.environ.get(IDLE_VARIABLE, IDLE_SECONDS))


def daemon_pid(daemon: Daemon) -> int | None:
    """Return the process that listens, None when none does."""
    try:
        with wire.connect(daemon.socket) as sock:
            return wire.peer_pid(sock)
    except OSError:
        return None


@contextmanager
def daemon_starting(daemon: Daemon) -> Iterator[None]:
    """Have *daemon* started, if it does not answer, while the block runs; at its end it answers.

    Raises MountError.
    """
    starting = _start(daemon) if daemon_pid(daemon) is None else None
    try:
        yield
    finally:
        word = READY if starting is None else starting.outcome(time.monotonic() + START_SECONDS)
    if word != READY:
        _check_word(word, daemon)
        ensure_daemon(daemon)


def ensure_daemon(daemon: Daemon, start_seconds: float = START_SECONDS) -> None:
    """Return once *daemon* answers, started in the background if need be. Raises MountError."""
    deadline = time.monotonic() + start_seconds
    while daemon_pid(daemon) is None:
        word = _start(daemon).outcome(deadline)
        if word == READY:
            return
        _check_word(word, daemon)
        # Somebody else is starting it, or an old one is about to end.
        if time.monotonic() > deadline:
            raise MountError(f"the {daemon.name} does not answer; see {daemon.log}")
        time.sleep(POLL_SECONDS)


def _start(daemon: Daemon) -> Starting:
    """Start the process, which says whether it could."""
    return start_detached(daemon.command(), daemon_environment(), open_log(daemon.log))


def _check_word(word: str, daemon: Daemon) -> None:
    """Raise what kept the process from starting, unless that is another of its kind."""
    if word not in {READY, BUSY}:
        raise MountError(f"the {daemon.name} did not start: {word}; see {daemon.log}")


def daemon_environment() -> dict[str, str]:
    """Return the environment for a process that serves all mounts: no one mount's credentials."""
    directory = str(runtime_directory().absolute())
    return {**without_credentials(os.environ), "HEADRACE_RUNTIME_DIR": directory}


def lock(daemon: Daemon) -> int | None:
    """Return the lock, held for as long as the descriptor is open; None when another has it."""
    descriptor = os.open(daemon.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
