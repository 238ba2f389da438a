"""Asking the supervisor something, whichever supervisor runs by the time it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.daemon import POLL_SECONDS, SUPERVISOR, ensure_daemon
from vfs.mounting.wire import Message


def ask_supervisor(
    kind: str, seconds: float, descriptors: Sequence[int] = (), **fields: object
) -> Message:
    """Return the answer to a question that may be asked twice; a supervisor is started if need be.

    Raises MountError when there is none in time.
    """
    question = Message(kind, fields, tuple(descriptors))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = _ask_once(question, deadline)
        if answer is not None:
            return answer
        ensure_daemon(SUPERVISOR)
    raise MountError(f"the supervisor did not answer within {seconds:g} s; see {SUPERVISOR.log}")


def _ask_once(question: Message, deadline: float) -> Message | None:
    """Return the answer, None when the supervisor ended first or was too slow."""
    try:
        with wire.connect(SUPERVISOR.socket) as sock:
            sock.settimeout(max(POLL_SECONDS, deadline - time.monotonic()))
            wire.send(sock, question)
            return wire.receive(sock)
    except OSError:
        return None
