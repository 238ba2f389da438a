"""One connection of this asyncio process to a process of the mounter: messages with descriptors."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from csi.errors import UnavailableError
from vfs.mounting import wire
from vfs.mounting.wire import Message, WireError

log = logging.getLogger(__name__)

SEND_SECONDS = 10.0
"""A peer that reads nothing for so long is as good as gone."""


class Link:
    """Sends and receives messages; owns the socket. One task at a time may receive."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over *sock*."""
        sock.setblocking(False)
        self._socket = sock
        self._sending = asyncio.Lock()

    async def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        """Send a message; its descriptors stay the caller's. Raises UnavailableError."""
        message = Message(kind, fields, tuple(descriptors))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SEND_SECONDS), self._sending:
                while True:
                    try:
                        wire.send(self._socket, message)
                    except BlockingIOError:
                        await self._ready(loop.add_writer, loop.remove_writer)
                    else:
                        return
        except (OSError, WireError) as error:  # TimeoutError is an OSError
            raise UnavailableError(f"the mounter does not take {kind!r}: {error}") from error

    async def receive(self) -> Message | None:
        """Return the next message, its descriptors the caller's; None when the peer is gone."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return wire.receive(self._socket)
            except BlockingIOError:
                await self._ready(loop.add_reader, loop.remove_reader)
            except (OSError, WireError) as error:
                log.error("a connection to the mounter is given up: %s", error)
                return None

    async def _ready(
        self,
        watch: Callable[[socket.socket, Callable[[], None]], object],
        unwatch: Callable[[socket.socket], object],
    ) -> None:
        ready = asyncio.Event()
        watch(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            unwatch(self._socket)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def connect(path: Path) -> Link:
    """Return a connection to who listens at *path*. Raises UnavailableError."""
    try:
        return Link(wire.connect(path))
    except OSError as error:
        raise UnavailableError(
            f"the mounter of this node is not there ({error.strerror}); is its pod running?"
        ) from error
