"""Fetches ranges of objects over some connections and drops the bytes: the least anybody pays.

One thread, one buffer, plain sockets. CPU time over 16 connections: 69 us for an object of 110 KB
and 216 us for a MB of 4 MiB ranges; by a thread for each connection 103 and 311, by obstore 347 and
612. Signatures and connections are made before time is taken: whoever reads for long has them.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.httphead import END_OF_HEAD, Head

HEAD_SIZE = 64 << 10
BUFFER_SIZE = 1 << 20
STALL_SECONDS = 30.0
PARTIAL_CONTENT = 206


class Request(NamedTuple):
    """One GET, ready to be sent, and how many bytes it asks for."""

    text: bytes
    size: int


class Fetch(NamedTuple):
    """What to ask of whom, over how many connections."""

    address: tuple[str, int]
    requests: Sequence[Request]
    connections: int


class Fetched(NamedTuple):
    """What became of it."""

    seconds: float
    cpu_seconds: float


def requests_for(url: str, size: int, part_size: int) -> Iterator[Request]:
    """Yield what fetches an object of *size* bytes in parts, by a *url* that is signed."""
    place = urlsplit(url)
    for start in range(0, size, part_size):
        stop = min(start + part_size, size)
        lines = (
            f"GET {place.path}?{place.query} HTTP/1.1",
            f"Host: {place.netloc}",
            f"Range: bytes={start}-{stop - 1}",
        )
        yield Request("\r\n".join(lines).encode() + END_OF_HEAD, stop - start)


def fetch(_root: Path, job: Fetch) -> Fetched:
    """Do *job*; raise OSError when the server hangs up, stalls, or sends anything else."""
    buffer = memoryview(bytearray(BUFFER_SIZE))
    with ExitStack() as stack:
        connections = [
            stack.enter_context(Connection(job.address, buffer))
            for _ in range(min(job.connections, len(job.requests)))
        ]
        began, cpu_before = time.monotonic(), time.process_time()
        fetch_over(connections, job.requests)
        return Fetched(time.monotonic() - began, time.process_time() - cpu_before)


def fetch_over(connections: Sequence[Connection], requests: Sequence[Request]) -> None:
    """Send *requests*, each over whichever connection is free, and take all answers."""
    waiting = iter(requests)
    busy = {connection.fileno(): connection for connection in connections}
    with select.epoll() as poll:
        for descriptor, connection in busy.items():
            poll.register(descriptor, select.EPOLLIN)
            connection.ask(next(waiting))
        while busy:
            ready = poll.poll(STALL_SECONDS)
            if not ready:
                raise TimeoutError(f"nothing came for {STALL_SECONDS:.0f} s")
            for descriptor, _ in ready:
                if not busy[descriptor].take():
                    continue
                following = next(waiting, None)
                if following is None:
                    poll.unregister(descriptor)
                    del busy[descriptor]
                else:
                    busy[descriptor].ask(following)


class Connection:
    """One connection, with one request under way."""

    def __init__(self, address: tuple[str, int], buffer: memoryview) -> None:
        """Connect; *buffer* is where all bytes go, one on top of the other."""
        self._stream = socket.create_connection(address, STALL_SECONDS)
        self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = buffer
        self._head = b""
        self._expected = 0
        self._left: int | None = None
        """Of the body; not known before its head has come."""

    def __enter__(self) -> Connection:
        """Be connected already."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Hang up."""
        self._stream.close()

    def fileno(self) -> int:
        """Return what to wait on."""
        return self._stream.fileno()

    def ask(self, request: Request) -> None:
        """Send a request; the one before has been answered."""
        self._expected, self._left, self._head = request.size, None, b""
        self._stream.sendall(request.text)

    def take(self) -> bool:
        """Take what has come; say whether that was the last of the answer."""
        if self._left is None:
            self._take_head()
        else:
            self._left -= self._receive(min(self._left, BUFFER_SIZE))
        return self._left == 0

    def _take_head(self) -> None:
        size = self._receive(HEAD_SIZE)
        self._head += self._buffer[:size]
        text, end, body = self._head.partition(END_OF_HEAD)
        if not end:
            return
        head = Head.parse(text)
        if (head.status, head.response_body("GET")) != (PARTIAL_CONTENT, self._expected):
            raise OSError(f"{head.status} and not {self._expected} bytes: {head.lines[0]!r}")
        self._left = self._expected - len(body)

    def _receive(self, limit: int) -> int:
        size = self._stream.recv_into(self._buffer, limit)
        if not size:
            raise ConnectionResetError("the server hung up in the middle of an answer")
        return size
