"""The process that only holds on: to a copy of every mount's connection and what serving it takes.

It understands neither. When the supervisor dies it starts another, which asks for all of them; it
ends by itself when it has nothing to hold and nobody to hold it for.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from types import FrameType

from cachesvc.detached import detach, tell
from cachesvc.logs import log_to_stderr
from vfs.mounting import wire
from vfs.mounting.daemon import (
    BUSY,
    FIRST_CALL_SECONDS,
    KEEPER,
    READY,
    SUPERVISOR,
    daemon_environment,
    lock,
)
from vfs.mounting.process import forbid_core_dumps
from vfs.mounting.wire import Message, WireError

log = logging.getLogger(__name__)

CALLER_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Kept:
    """One mount: its record, which is opaque here, and its descriptor."""

    record: str = field(repr=False)
    descriptor: int


class Keeper:
    """Holds on. Owns the listener, the descriptors and its callers' connections."""

    def __init__(self, listener: socket.socket, *, hold_only: bool = False) -> None:
        """Hold for whoever calls at *listener*; with *hold_only* do nothing else, and for ever."""
        self._listener = listener
        self._hold_only = hold_only
        self._kept: dict[str, Kept] = {}
        self._callers: set[socket.socket] = set()
        self._supervisor: socket.socket | None = None
        self._python = sys.executable
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._patience_ends = time.monotonic() + FIRST_CALL_SECONDS
        self._next_start = 0.0
        self._backoff = 1.0

    def run(self) -> None:
        """Hold until there is nothing to hold and nobody is there."""
        while not self._is_idle():
            for key, _ in self._selector.select(1.0):
                if key.fileobj is self._listener:
                    self._welcome()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._hear(key.fileobj)
            self._revive_supervisor()

    def _is_idle(self) -> bool:
        waiting = self._hold_only or time.monotonic() < self._patience_ends
        return not (self._kept or self._callers or waiting)

    def _welcome(self) -> None:
        caller, _ = self._listener.accept()
        caller.settimeout(CALLER_SECONDS)
        self._callers.add(caller)
        self._selector.register(caller, selectors.EVENT_READ)

    def _hear(self, caller: socket.socket) -> None:
        try:
            message = wire.receive(caller)
            if message is not None:
                self._patience_ends = 0.0
                self._obey(caller, message)
                return
        except (OSError, WireError, KeyError, ValueError, TypeError) as error:
            log.error("a caller is hung up on: %s", error)
        self._part(caller)

    def _part(self, caller: socket.socket) -> None:
        self._selector.unregister(caller)
        self._callers.discard(caller)
        caller.close()
        if caller is self._supervisor:
            self._supervisor = None
            self._backoff = 1.0

    def _obey(self, caller: socket.socket, message: Message) -> None:
        fields = message.fields
        match message.kind:
            case "watch":
                self._supervisor = caller
                self._python = fields["python"]
            case "put":
                self._drop(fields["key"])
                (descriptor,) = message.descriptors
                self._kept[fields["key"]] = Kept(fields["record"], descriptor)
            case "drop":
                self._drop(fields["key"])
            case "list":
                for key, kept in self._kept.items():
                    record = {"key": key, "record": kept.record}
                    wire.send(caller, Message("kept", record, (kept.descriptor,)))
                wire.send(caller, Message("end"))
            case kind:
                message.close()
                log.error("nobody taught me to %s", kind)

    def _drop(self, key: str) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            os.close(kept.descriptor)

    def _revive_supervisor(self) -> None:
        """Start a supervisor where one is missing; it takes the lock or finds it taken."""
        now = time.monotonic()
        has_one = self._hold_only or self._supervisor is not None
        if has_one or not self._kept or now < self._next_start:
            return
        self._next_start = now + self._backoff
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        log.warning("the supervisor is gone; starting another")
        output = os.open(SUPERVISOR.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        command = SUPERVISOR.command(python=self._python)
        os.posix_spawn(
            command[0],
            command,
            daemon_environment(),
            file_actions=[(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)],
            setsid=True,
            setsigdef=[signal.SIGCHLD],
        )
        os.close(output)


def main(starter: int | None = None, *, hold_only: bool = False) -> int:
    """Keep until idle, in the background when told whom to say that it is ready.

    With *hold_only* it ends at SIGTERM, also as the first process of a container.
    """
    if starter is not None:
        detach()
    log_to_stderr("keeper")
    held = lock(KEEPER)
    if held is None:
        tell(starter, BUSY)
        return 1
    # The supervisors it starts need no reaping then.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if hold_only:
        forbid_core_dumps()
        signal.signal(signal.SIGTERM, _end)
    with wire.listen(KEEPER.socket) as listener:
        tell(starter, READY)
        try:
            Keeper(listener, hold_only=hold_only).run()
        finally:
            KEEPER.socket.unlink(missing_ok=True)
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
