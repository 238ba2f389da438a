"""Object storage as far away as it usually is: a relay that waits, paces and counts.

`python -m bench.latency HOST:PORT` relays to that server from a port of its own, which it prints.
Each line on stdin is answered by what was counted so far; it ends when stdin does. A thread serves
each connection, and bodies never enter Python (`bench.inbound`): 1,150 to 1,580 MB/s by 1 to 64
connections without latency, measured on two cores.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import click

from bench.httphead import BadMessageError, Ends, Head
from bench.inbound import PIPE_SIZE, Inbound, body_pieces, large_pipe

PACED_STEP = 128 << 10
"""At 80 MB/s one step each 1.6 ms: as smooth as a network, and few wake-ups."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Shape:
    """How far away a server is: time to the first byte, bytes a second on each connection."""

    first_byte_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """0: as fast as it goes."""

    @property
    def step(self) -> int:
        """How many bytes to move at once."""
        return PACED_STEP if self.bytes_per_second else PIPE_SIZE

    def due(self, asked: float, byte_count: int) -> float:
        """Return when the byte after *byte_count* may arrive of what was *asked* for then."""
        paced = byte_count / self.bytes_per_second if self.bytes_per_second else 0.0
        return asked + self.first_byte_seconds + paced


@dataclass(slots=True)
class Tally:
    """What was asked, and how many bytes of answers' bodies were sent."""

    requests: Counter[str] = field(default_factory=Counter)
    byte_count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, method: str) -> None:
        """Count a request."""
        with self._lock:
            self.requests[method] += 1

    def sent(self, byte_count: int) -> None:
        """Count bytes."""
        with self._lock:
            self.byte_count += byte_count

    def as_json(self) -> str:
        """Return all counts."""
        with self._lock:
            return json.dumps({"requests": self.requests, "byte_count": self.byte_count})


@dataclass(frozen=True, slots=True)
class Relay:
    """One client's connection, and one of its own to the server."""

    client: socket.socket
    server: socket.socket
    requests: Inbound
    responses: Inbound
    shape: Shape
    tally: Tally

    def serve(self) -> None:
        """Relay one exchange after the other until either side has had enough."""
        while self._exchange():
            pass

    def _exchange(self) -> bool:
        request = self.requests.head()
        if request is None:
            return False
        self.tally.asked(request.method)
        self._forward(request)
        asked = time.monotonic()
        response = self.responses.head()
        if response is None:
            return False
        sleep_until(self.shape.due(asked, 0))
        self.client.sendall(response.encode())
        body = response.response_body(request.method)
        self._answer(body, asked)
        return not (request.closes or response.closes or body is Ends.WITH_CONNECTION)

    def _forward(self, request: Head) -> None:
        if request.header(b"expect"):
            self.client.sendall(CONTINUE)
        self.server.sendall(request.without(b"expect").encode())
        body = request.request_body()
        for piece in body_pieces(self.requests, body, PIPE_SIZE):
            piece.send(self.server)

    def _answer(self, body: int | Ends, asked: float) -> None:
        sent = 0
        for piece in body_pieces(self.responses, body, self.shape.step):
            sent += piece.size
            sleep_until(self.shape.due(asked, sent))
            # First, so that who has read bytes finds them counted.
            self.tally.sent(piece.size)
            piece.send(self.client)


def sleep_until(moment: float) -> None:
    """Return at *moment* of the monotonic clock, or at once when it has passed."""
    if (seconds := moment - time.monotonic()) > 0:
        time.sleep(seconds)


def serve_client(
    client: socket.socket, upstream: tuple[str, int], shape: Shape, tally: Tally
) -> None:
    """Serve one connection to its end. That either side hangs up is how connections end."""
    with (
        client,
        contextlib.suppress(OSError, BadMessageError),
        socket.create_connection(upstream) as server,
        large_pipe() as pipe,
    ):
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        requests, responses = Inbound(client, pipe), Inbound(server, pipe)
        Relay(client, server, requests, responses, shape, tally).serve()


def accept_all(
    listener: socket.socket, upstream: tuple[str, int], shape: Shape, tally: Tally
) -> None:
    """Give each connection a thread, for ever."""
    while True:
        client, _ = listener.accept()
        arguments = (client, upstream, shape, tally)
        threading.Thread(target=serve_client, args=arguments, daemon=True).start()


@click.command()
@click.argument("upstream")
@click.option("--first-byte-ms", default=0.0)
@click.option("--megabytes-per-second", default=0.0)
def main(upstream: str, first_byte_ms: float, megabytes_per_second: float) -> None:
    """Relay to UPSTREAM, a host and a port, until stdin ends."""
    host, _, port = upstream.rpartition(":")
    shape, tally = Shape(first_byte_ms / 1e3, megabytes_per_second * 1e6), Tally()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        arguments = (listener, (host, int(port)), shape, tally)
        threading.Thread(target=accept_all, args=arguments, daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        for _ in sys.stdin:
            print(tally.as_json(), flush=True)


if __name__ == "__main__":
    main()
