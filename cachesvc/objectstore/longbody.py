"""Long bodies are received by a thread, to which the kernel hands many pieces in one call.

To tell the event loop of each piece costs more: see ARCHITECTURE. Not for TLS, whose sockets do not
know MSG_WAITALL.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
from anyio import from_thread, to_thread

log = logging.getLogger(__name__)

LONG_SIZE = 1 << 20
"""Shorter ones gain nothing: 1 MB files came at 317 a second by the loop and at 300 by threads."""
CALL_SECONDS = 0.25
"""So long is one call at most, and so late may a thread notice that nobody wants the body."""


async def receive_by_thread(sock: socket.socket, view: memoryview) -> memoryview:
    """Fill *view* from *sock*, which does not block; return the rest of it.

    That is nothing, or all where no thread is to be had. Raises ConnectionResetError at the end of
    the connection. When a scope around this is cancelled, the thread has ended before this does.
    """
    # The default limiter has 40 threads, and the committer needs one of them.
    limiter = anyio.CapacityLimiter(1)
    try:
        return await to_thread.run_sync(_receive, sock, view, limiter=limiter)
    except RuntimeError as error:  # from Thread.start
        log.debug("a body is received without a thread: %s", error)
        return view


def _receive(sock: socket.socket, view: memoryview) -> memoryview:
    with _blocking(sock):
        while view:
            from_thread.check_cancelled()
            with suppress(BlockingIOError):  # nothing came in CALL_SECONDS
                size = sock.recv_into(view, 0, socket.MSG_WAITALL)
                if not size:
                    raise ConnectionResetError("the connection ended within an answer")
                view = view[size:]
    return view


@contextmanager
def _blocking(sock: socket.socket) -> Iterator[None]:
    """Let calls wait for CALL_SECONDS in all, however many pieces come meanwhile.

    `settimeout` would not do: it leaves the descriptor as one that does not block, for which
    MSG_WAITALL means nothing.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(CALL_SECONDS))
    sock.setblocking(True)
    try:
        yield
    finally:
        sock.setblocking(False)


def _timeval(seconds: float) -> bytes:
    """Return *seconds* as socket(7) takes them."""
    whole, part = divmod(round(seconds * 1e6), 1_000_000)
    return struct.pack("@ll", whole, part)
