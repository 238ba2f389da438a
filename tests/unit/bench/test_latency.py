from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.distance import Traffic, distant
from bench.latency import Shape

BODY = bytes(range(256)) * 4096


class Echo(BaseHTTPRequestHandler):
    """Answers GET with `BODY`, in chunks where the path says so, and PUT with what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(BODY), 100_000):
                part = BODY[at : at + 100_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_PUT(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name above us
        pass


@pytest.fixture(name="upstream")
def running_upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def client(address: str) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        yield connection


def get(connection: http.client.HTTPConnection, path: str = "/") -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def test_bodies_arrive_whole_on_one_connection_and_are_counted(upstream: str) -> None:
    with distant(upstream, Shape()) as server, client(server.address) as connection:
        assert get(connection) == BODY
        assert get(connection, "/chunked") == BODY
        assert get(connection) == BODY
        # The length of each chunk is in the way of its bytes, and is no more than that.
        extra = server.traffic().byte_count - 3 * len(BODY)
        assert server.traffic().request_count == 3
        assert 0 <= extra < 200


def test_what_is_uploaded_arrives_also_when_the_client_waits_to_be_told_to_go_on(
    upstream: str,
) -> None:
    with distant(upstream, Shape()) as server:
        host, _, port = server.address.partition(":")
        with socket.create_connection((host, int(port)), 20) as connection:
            connection.sendall(
                b"PUT /key HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            answer = b""
            while not answer.endswith(b"abc"):
                answer += connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_the_first_byte_never_comes_earlier_than_it_may(upstream: str) -> None:
    shape = Shape(first_byte_seconds=0.1)
    with distant(upstream, shape) as server, client(server.address) as connection:
        began = time.monotonic()
        get(connection)
        assert time.monotonic() - began >= 0.1


def test_a_connection_is_never_faster_than_its_pace(upstream: str) -> None:
    shape = Shape(bytes_per_second=8e6)
    with distant(upstream, shape) as server, client(server.address) as connection:
        began = time.monotonic()
        get(connection)
        assert time.monotonic() - began >= len(BODY) / 8e6


def test_when_a_byte_is_due() -> None:
    shape = Shape(first_byte_seconds=0.5, bytes_per_second=100.0)
    assert shape.due(10.0, 0) == 10.5
    assert shape.due(10.0, 50) == 11.0
    assert Shape().due(10.0, 50) == 10.0


def test_traffic_is_told_apart_by_when_it_came() -> None:
    assert Traffic(5, 70).since(Traffic(2, 30)) == Traffic(3, 40)
    assert Traffic(5, 70) + Traffic(1, 1) == Traffic(6, 71)
