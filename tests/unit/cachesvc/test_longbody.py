"""Long bodies that a thread receives, whatever the server does, on either loop."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise

import anyio
import pytest

from cachesvc.objectstore.http_connection import Connection
from cachesvc.objectstore.longbody import LONG_SIZE

WAIT_SECONDS = 10.0
CALL_SECONDS = 0.05
BODY = bytes(range(256)) * (LONG_SIZE // 256)
HEAD = b"HTTP/1.1 206 Partial\r\ncontent-length: %d\r\n\r\n" % len(BODY)

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def _short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachesvc.objectstore.longbody.CALL_SECONDS", CALL_SECONDS)


@contextmanager
def connected(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Give one end of a connection; *serve* has the other until it returns or is hung up on."""

    def answer() -> None:
        with theirs, suppress(OSError):  # when it is hung up
            serve(theirs)

    ours, theirs = tcp_pair()
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield ours
    finally:
        ours.close()
        thread.join()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_SECONDS)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    theirs.settimeout(WAIT_SECONDS)
    return ours, theirs


def sending(*pieces: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    """Answer a request by *pieces*, with pauses between them."""

    def serve(theirs: socket.socket) -> None:
        theirs.recv(4096)
        for piece in pieces:
            theirs.sendall(piece)
            time.sleep(pause)

    return serve


def received(serve: Callable[[socket.socket], None], loop: str) -> tuple[bytes, bool]:
    """Ask, and return the body and whether the socket blocks afterwards."""

    async def run(sock: socket.socket) -> tuple[bytes, bool]:
        connection = Connection(sock)
        await connection.ask(b"GET /x HTTP/1.1\r\n\r\n")
        body = bytearray(len(BODY))
        await connection.receive_into(memoryview(body))
        return bytes(body), os.get_blocking(sock.fileno())

    with connected(serve) as sock:
        return anyio.run(run, sock, backend=loop)


def cut(data: bytes, *places: int) -> Sequence[bytes]:
    """Cut *data* at *places*."""
    bounds = [0, *places, len(data)]
    return [data[start:stop] for start, stop in pairwise(bounds)]


@pytest.mark.parametrize("with_head", [0, 1000])
@pytest.mark.parametrize("pause", [0.0, 2 * CALL_SECONDS])
def test_it_comes_whole_and_leaves_the_connection_as_it_was(
    with_head: int, pause: float, loop: str
) -> None:
    first, *rest = cut(BODY, with_head, 100_000, LONG_SIZE // 2)
    assert received(sending(HEAD + first, *rest, pause=pause), loop) == (BODY, False)


def test_an_end_within_it_is_an_error(loop: str) -> None:
    with pytest.raises(ConnectionResetError):
        received(sending(HEAD, BODY[:-1]), loop)


def test_without_a_thread_to_be_had_it_comes_all_the_same(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("cachesvc.objectstore.longbody.to_thread.run_sync", no_thread)
    assert received(sending(HEAD, *cut(BODY, 100_000)), loop) == (BODY, False)


def silence(theirs: socket.socket) -> None:
    """Send nothing until the other end hangs up."""
    theirs.recv(1)


def trickle(theirs: socket.socket) -> None:
    """Take a minute for a body."""
    for piece in cut(BODY, *range(0, len(BODY), len(BODY) // 6000)):
        theirs.sendall(piece)
        time.sleep(0.01)


@pytest.mark.parametrize("serve", [silence, trickle])
def test_who_waits_for_it_can_be_cancelled(
    serve: Callable[[socket.socket], None], loop: str
) -> None:
    async def run(sock: socket.socket) -> bool:
        connection = Connection(sock)
        with anyio.move_on_after(CALL_SECONDS) as scope:
            await connection.receive_into(memoryview(bytearray(len(BODY))))
        return scope.cancelled_caught

    began = time.monotonic()
    with connected(serve) as sock:
        assert anyio.run(run, sock, backend=loop)
    assert time.monotonic() - began < WAIT_SECONDS
