"""One connection of a trio process to another process of the node."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence

import trio

from vfs.mounting import wire
from vfs.mounting.wire import Message, WireError

log = logging.getLogger(__name__)


class Link:
    """Sends and receives messages; owns the socket. One task at a time may receive."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over *sock*."""
        sock.setblocking(False)
        self._socket = sock
        self._delivering = trio.Lock()

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> bool:
        """Send a message now; False when the peer is gone or has left too many unread."""
        try:
            wire.send(self._socket, Message(kind, fields, tuple(descriptors)))
        except OSError:
            return False
        return True

    async def deliver(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> bool:
        """Send a message as soon as there is room for it; False when the peer is gone.

        The descriptors are needed only until this begins to wait.
        """
        message = Message(kind, fields, tuple(map(os.dup, descriptors)))
        try:
            async with self._delivering:
                return await self._deliver(message)
        finally:
            message.close()

    async def _deliver(self, message: Message) -> bool:
        while True:
            try:
                wire.send(self._socket, message)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                except trio.ClosedResourceError:
                    return False
            except OSError:
                return False
            else:
                return True

    async def receive(self) -> Message | None:
        """Return the next message; None when the peer is gone or the link was closed."""
        while True:
            try:
                return wire.receive(self._socket)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_readable(self._socket)
                except trio.ClosedResourceError:
                    return None
            except OSError:
                return None
            except WireError as error:
                log.error("a connection is given up: %s", error)
                return None

    def close(self) -> None:
        """Close the connection; who waits for a message is woken."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
