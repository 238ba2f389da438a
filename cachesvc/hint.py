"""Telling the service what will be asked for in a moment, by whoever has no client. Never waits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cachesvc.objectstore.origin import Origin
from cachesvc.unixsocket import connect
from cachesvc.want import Want, chunks_in
from cachesvc.wire import PROTOCOL_VERSION, Attach, Hello, Message, Prefetch, encode


def hint(directory: Path, origin: Origin, deadline_seconds: float, wants: Sequence[Want]) -> None:
    """Have the service on *directory*, if one runs, fetch chunks of one object of *origin*.

    A client that attaches the same origin with the same deadline later shares its connections. The
    service reads what was sent before it sees that this end is closed.
    """
    messages: tuple[Message, ...] = (
        Hello(PROTOCOL_VERSION),
        Attach(wants[0].origin_index, origin.to_wire(), deadline_seconds),
        Prefetch(chunks_in(wants)),
    )
    with suppress(OSError), connect(directory / "socket") as sock:
        sock.send(b"".join(map(encode, messages)))
