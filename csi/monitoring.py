"""/healthz and /metrics over HTTP, in threads of their own: they do not wait for the loop."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from csi.errors import BrokenError, ConfigurationError
from csi.health import Health

PLAIN = "text/plain; charset=utf-8"
REQUEST_SECONDS = 10.0

Answer = tuple[str, str, bytes]
"""Status, content type, body."""


class Pages:
    """What there is to see, as a WSGI application."""

    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        """Show *health* and *registry*."""
        self._health = health
        self._registry = registry

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        """Answer one request."""
        status, content_type, body = self._answer(environ["PATH_INFO"])
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, path: str) -> Answer:
        match path:
            case "/healthz":
                return self._healthz()
            case "/metrics":
                return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case _:
                return "404 Not Found", PLAIN, b"/healthz or /metrics\n"

    def _healthz(self) -> Answer:
        try:
            ready = self._health.is_ready()
        except BrokenError as error:
            return "503 Service Unavailable", PLAIN, f"{error}\n".encode()
        if ready:
            return "200 OK", PLAIN, b"ok\n"
        return "503 Service Unavailable", PLAIN, b"not serving\n"


class _Server(ThreadingMixIn, WSGIServer):
    """Listens on every address of both families; asks no name server for its own name."""

    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Bind, as the base does but for the look-up of a name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "headrace", self.server_address[1]
        self.setup_environ()


class _QuietHandler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Say nothing: a probe every few seconds is no news."""


@contextmanager
def monitoring(port: int | None, pages: Pages) -> Iterator[int | None]:
    """Serve *pages* for the length of a block and yield the port; None as the port: do not."""
    if port is None:
        yield None
        return
    try:
        server = make_server("", port, pages, _Server, _QuietHandler)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on port {port}: {error.strerror}") from error
    thread = Thread(target=server.serve_forever, name="monitoring", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
