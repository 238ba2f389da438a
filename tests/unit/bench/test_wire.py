from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from bench.wire import Fetch, Request, fetch, requests_for

SIZE = 1_000_000
BODY = bytes(SIZE)


class Ranges(BaseHTTPRequestHandler):
    """Answers a range of `BODY`, and with less than that, or an error, where the path says so."""

    protocol_version = "HTTP/1.1"
    served: ClassVar[Counter[tuple[int, int]]] = Counter()

    def do_GET(self) -> None:
        start, last = map(int, re.findall(r"\d+", self.headers["Range"]))
        body = BODY[start : last + (0 if "/short" in self.path else 1)]
        self.served[start, last + 1] += 1
        self.send_response(403 if "/forbidden" in self.path else 206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if "/cut" in self.path:
            self.close_connection = True
            body = body[:1000]
        with suppress(ConnectionError):  # who is refused does not wait for the rest
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name above us
        pass


@contextmanager
def serving() -> Iterator[int]:
    Ranges.served.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def fetched(path: str, part_size: int, connections: int) -> None:
    with serving() as port:
        url = f"http://127.0.0.1:{port}/{path}?X-Amz-Signature=abc"
        requests = list(requests_for(url, SIZE, part_size))
        fetch(Path(), Fetch(("127.0.0.1", port), requests, connections))


def test_an_object_is_asked_for_in_parts_by_the_signed_url() -> None:
    first, last = requests_for("http://host:1/b/key?X-Amz-Signature=abc", 150, 100)
    assert first == Request(
        b"GET /b/key?X-Amz-Signature=abc HTTP/1.1\r\nHost: host:1\r\nRange: bytes=0-99\r\n\r\n", 100
    )
    assert (b"Range: bytes=100-149\r\n" in last.text, last.size) == (True, 50)


@pytest.mark.parametrize("connections", [1, 3, 50])
def test_every_part_is_fetched_once_over_however_many_connections(connections: int) -> None:
    fetched("object", 90_000, connections)
    assert Ranges.served == Counter(
        (start, min(start + 90_000, SIZE)) for start in range(0, SIZE, 90_000)
    )


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("short", "206 and not 1000000 bytes"),
        ("forbidden", "403 and not 1000000 bytes"),
        ("cut", "hung up in the middle of an answer"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_an_error(path: str, complaint: str) -> None:
    with pytest.raises(OSError, match=complaint):
        fetched(path, SIZE, 1)
