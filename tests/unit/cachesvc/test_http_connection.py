"""Heads of answers, and connections to a server that says what a test wants it to say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
import pytest

from cachesvc.objectstore.http_connection import HEAD_LIMIT, Connection, Server, connect
from cachesvc.objectstore.http_head import BadAnswerError, Head

WAIT_SECONDS = 10.0
REQUEST = b"GET /x HTTP/1.1\r\nhost: y\r\n\r\n"
ANSWER = b"HTTP/1.1 206 Partial\r\ncontent-length: 5\r\nContent-Range: bytes 3-7/20\r\n\r\nhello"


@contextmanager
def server_that_says(*pieces: bytes) -> Iterator[Server]:
    """Answer the first request by *pieces*, each when the one before was taken, and hang up."""

    def answer() -> None:
        client, _ = listener.accept()
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.recv(4096)
            for piece in pieces:
                client.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_SECONDS)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield Server("127.0.0.1", listener.getsockname()[1], None)
        finally:
            thread.join()


def play(pieces: Sequence[bytes], scenario: Callable[[Connection], Awaitable[None]]) -> None:
    async def run(server: Server) -> None:
        with anyio.fail_after(WAIT_SECONDS):
            connection = await connect(server)
            try:
                await scenario(connection)
            finally:
                connection.close()

    with server_that_says(*pieces) as server:
        anyio.run(run, server)


async def read_answer(connection: Connection) -> None:
    head = await connection.ask(REQUEST)
    assert (head.status, head.body_size, head.range) == (206, 5, (3, 8, 20))
    body = bytearray(5)
    await connection.receive_into(memoryview(body))
    assert body == b"hello"


@pytest.mark.parametrize("size", [1, 7, 40, len(ANSWER)])
def test_an_answer_may_come_in_any_pieces(size: int) -> None:
    play([ANSWER[at : at + size] for at in range(0, len(ANSWER), size)], read_answer)


def test_interim_answers_are_passed_over() -> None:
    play([b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER], read_answer)


def test_a_server_that_hangs_up_after_its_answer_is_noticed() -> None:
    async def scenario(connection: Connection) -> None:
        await read_answer(connection)
        await anyio.wait_readable(connection._socket)
        assert connection.is_over

    play([ANSWER], scenario)


@pytest.mark.parametrize("answer", [b"", ANSWER[:30], ANSWER[:-1]])
def test_an_answer_that_is_cut_is_an_error(answer: bytes) -> None:
    async def scenario(connection: Connection) -> None:
        with pytest.raises(ConnectionResetError):
            await read_answer(connection)

    play([answer], scenario)


def test_a_head_without_an_end_is_refused() -> None:
    async def scenario(connection: Connection) -> None:
        with pytest.raises(BadAnswerError, match="no end"):
            await connection.ask(REQUEST)

    play([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (HEAD_LIMIT // 5)], scenario)


def test_an_address_that_nobody_answers_at_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = unused.getsockname()

        async def run(server: Server) -> None:
            found = await anyio.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
            dead = (*found[0][:4], nowhere)

            async def both(*_: object, **__: object) -> object:
                return [dead, *found]

            monkeypatch.setattr(anyio, "getaddrinfo", both)
            connection = await connect(server)
            await read_answer(connection)
            connection.close()

        with server_that_says(ANSWER) as server:
            anyio.run(run, server)


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            anyio.run(connect, Server("127.0.0.1", unused.getsockname()[1], None))


@pytest.mark.parametrize("text", [b"", b"SSH-2.0-x", b"HTTP/2 200", b"HTTP/1.1 200 OK\r\nnonsense"])
def test_what_is_no_http_is_refused(text: bytes) -> None:
    with pytest.raises(BadAnswerError):
        Head.parse(text)


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"Content-Length: 12", 12),
        (b"content-length:0", 0),
        (b"Content-Length: -1", None),
        (b"Content-Length: 12\r\nTransfer-Encoding: chunked", None),
        (b"x: y", None),
    ],
)
def test_the_size_of_a_body_is_told_or_not(line: bytes, size: int | None) -> None:
    assert Head.parse(b"HTTP/1.1 200 OK\r\n" + line).body_size == size


@pytest.mark.parametrize(
    ("text", "is_last"),
    [
        (b"HTTP/1.1 200", False),
        (b"HTTP/1.0 200 OK", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close", True),
    ],
)
def test_a_connection_may_end_with_its_answer(text: bytes, *, is_last: bool) -> None:
    assert Head.parse(text).is_last is is_last


@pytest.mark.parametrize("value", ["bytes */20", "bytes 3-7/*", "nonsense", "bytes 3-7/20 "])
def test_a_range_that_is_not_told_whole_is_none(value: str) -> None:
    head = Head(1, 206, {"content-range": value})
    assert head.range is None
