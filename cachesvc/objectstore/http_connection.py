"""One connection to an HTTP server, on any loop: a request at a time, bodies into a given place.

No client library reads into memory of ours, and each has a task or a thread between the socket and
whoever waits. Here only long bodies have a thread (`longbody.py`).
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio

from cachesvc.objectstore.http_head import END, BadAnswerError, Head
from cachesvc.objectstore.longbody import LONG_SIZE, receive_by_thread

CONNECT_SECONDS = 10.0
"""For each of a server's addresses."""
HEAD_LIMIT = 64 << 10
_RECEIVE_SIZE = 16 << 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to connect to; with *security* by TLS, and only if its certificate is good."""

    host: str
    port: int
    security: ssl.SSLContext | None


class Connection:
    """Owns a connected socket. After an error or a cancelled call it may only be closed."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over *sock*, which does not block."""
        self._socket = sock
        self._left = b""
        """What came of a body together with its head."""

    @property
    def is_over(self) -> bool:
        """Say whether the server hung up since the last answer, or sent what nobody asked for."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    async def ask(self, request: bytes) -> Head:
        """Send a request and return the head of the answer. Raises OSError, BadAnswerError."""
        rest = memoryview(request)
        while rest:
            send = partial(self._socket.send, rest)
            rest = rest[await _patient(self._socket, send, anyio.wait_writable) :]
        head = await self._head()
        while head.status < 200:  # an interim answer, which anybody may send
            head = await self._head()
        return head

    async def receive_into(self, view: memoryview) -> None:
        """Fill *view* with the next bytes of the body."""
        is_long = len(view) >= LONG_SIZE and not isinstance(self._socket, ssl.SSLSocket)
        taken = min(len(self._left), len(view))
        view[:taken], self._left = self._left[:taken], self._left[taken:]
        view = view[taken:]
        if is_long:
            view = await receive_by_thread(self._socket, view)
        while view:
            receive = partial(self._socket.recv_into, view)
            size = await _patient(self._socket, receive, anyio.wait_readable)
            if not size:
                raise ConnectionResetError("the connection ended within an answer")
            view = view[size:]

    async def receive_some(self, limit: int) -> bytes:
        """Return the next bytes of the body, *limit* at most; none at its end."""
        if self._left:
            some, self._left = self._left[:limit], self._left[limit:]
            return some
        receive = partial(self._socket.recv, limit)
        return await _patient(self._socket, receive, anyio.wait_readable)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    async def _head(self) -> Head:
        text, self._left = self._left, b""
        while (end := text.find(END)) < 0:
            more = await self.receive_some(_RECEIVE_SIZE)
            if not more:
                raise ConnectionResetError("the connection ended before an answer")
            text += more
            if len(text) > HEAD_LIMIT:
                raise BadAnswerError("the answer's head has no end")
        self._left = text[end + len(END) :]
        return Head.parse(text[:end])


async def connect(server: Server) -> Connection:
    """Connect to the first of a server's addresses that answers. Raises OSError."""
    found = await anyio.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    for last, (family, _, _, _, address) in enumerate(found, 1 - len(found)):
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                return Connection(await _connected(server, family, address))
        except OSError:
            if last == 0:
                raise
    raise OSError(f"{server.host} has no address")


async def _connected(
    server: Server, family: socket.AddressFamily, address: tuple[str | int, ...]
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            sock.connect(address)
        await anyio.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if server.security is not None:
            sock = server.security.wrap_socket(
                sock, server_hostname=server.host, do_handshake_on_connect=False
            )
            await _patient(sock, sock.do_handshake, anyio.wait_writable)
    except BaseException:
        sock.close()
        raise
    return sock


async def _patient(
    sock: socket.socket,
    step: Callable[[], T],
    wait: Callable[[socket.socket], Awaitable[None]],
) -> T:
    """Do what may not be possible yet, waiting with *wait* or as TLS wants it."""
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            await anyio.wait_readable(sock)
        except ssl.SSLWantWriteError:
            await anyio.wait_writable(sock)
        except BlockingIOError:
            await wait(sock)
