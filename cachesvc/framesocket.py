"""Frames over a connected unix socket, on trio and on asyncio. Knows nothing of what they say."""

from __future__ import annotations

import logging
import socket
from collections import deque
from contextlib import suppress

import anyio

from cachesvc.units import MIB
from cachesvc.wire import FrameBuffer

log = logging.getLogger(__name__)

_RECEIVE_SIZE = 256 * 1024
_MAX_BACKLOG = 1 * MIB


class FrameSocket:
    """Sends and receives frames; owns the socket.

    `run` must be a task for as long as frames are sent. Sending never waits in mid-frame, so a
    cancelled sender leaves no half a frame behind.
    """

    def __init__(self, sock: socket.socket, max_frame_size: int, stall_seconds: float) -> None:
        """Take over *sock*. It is closed when its peer reads nothing for *stall_seconds*."""
        sock.setblocking(False)
        self._socket = sock
        self._frames = FrameBuffer(max_frame_size)
        self._stall_seconds = stall_seconds
        self._backlog: deque[memoryview] = deque()
        self._backlog_size = 0
        self._closed = False
        self._queued = anyio.Event()
        self._drained = anyio.Event()

    async def receive(self) -> list[bytes] | None:
        """Return the frames that arrive next, possibly none yet; None when the peer is gone."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_SIZE)
            except BlockingIOError:
                with suppress(anyio.ClosedResourceError):
                    await anyio.wait_readable(self._socket)
            except OSError:
                return None
            else:
                return self._frames.feed(data) if data else None

    def send_nowait(self, frame: bytes) -> None:
        """Send a small frame now, or queue what the socket does not take."""
        if self._closed:
            return
        view = memoryview(frame)
        if not self._backlog:
            view = view[self._try_send(view) :]
        if view:
            self._backlog.append(view)
            self._backlog_size += len(view)
            self._queued.set()

    async def send(self, frame: bytes) -> None:
        """Send a frame of any size; returns once little is queued."""
        self.send_nowait(frame)
        await self.drained()

    @property
    def is_congested(self) -> bool:
        """Say whether the peer takes less than what is sent to it."""
        return self._backlog_size > _MAX_BACKLOG

    async def drained(self) -> None:
        """Wait until the peer has taken most of what was sent to it."""
        while self._backlog_size > _MAX_BACKLOG:
            self._drained = anyio.Event() if self._drained.is_set() else self._drained
            await self._drained.wait()

    async def run(self) -> None:
        """Send what is queued as the peer takes it, until the socket is closed."""
        while not self._closed:
            await self._queued.wait()
            self._queued = anyio.Event()
            while self._backlog:
                await self._wait_writable()
                self._send_first()

    def close(self) -> None:
        """Close the socket; whoever waits on it is woken, and what is sent later is dropped."""
        self._closed = True
        self._backlog.clear()
        self._backlog_size = 0
        self._drained.set()
        self._queued.set()
        anyio.notify_closing(self._socket)
        self._socket.close()

    async def _wait_writable(self) -> None:
        """Wait until the peer takes more; one that does not for too long is left."""
        with anyio.move_on_after(self._stall_seconds) as scope, suppress(anyio.ClosedResourceError):
            await anyio.wait_writable(self._socket)
        if scope.cancelled_caught:
            log.warning(
                "a peer read nothing for %g s; its connection is closed", self._stall_seconds
            )
            self.close()

    def _send_first(self) -> None:
        """Send of the oldest queued frame what the socket takes."""
        if not self._backlog:
            return
        view = self._backlog.popleft()
        sent = self._try_send(view)
        if sent < len(view):
            self._backlog.appendleft(view[sent:])
        self._backlog_size -= sent
        if self._backlog_size <= _MAX_BACKLOG:
            self._drained.set()

    def _try_send(self, view: memoryview) -> int:
        """Send without waiting; a broken connection is noticed by the receiver, not here."""
        try:
            return self._socket.send(view, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            return len(view)
