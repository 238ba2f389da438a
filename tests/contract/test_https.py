"""Ranges over TLS: from a server whose certificate is good, and from no other."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from cachesvc.errors import StoreUnavailableError
from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import parse_origin
from cachesvc.objectstore.protocol import ObjectStore
from tests.seaweed import SeaweedServer

CONTENT = bytes(range(256)) * 4096


def new_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost that vouches for itself, and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", names),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


class Relay(BaseHTTPRequestHandler):
    """Passes each GET on to the server behind it, headers and all."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer as the server does."""
        upstream = HTTPConnection(str(self.server.upstream))  # type: ignore[attr-defined]
        upstream.request("GET", self.path, headers=dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        upstream.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class TlsServer(ThreadingHTTPServer):
    """Speaks TLS before a server that does not, a thread for each connection."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, upstream: str, certificate: Path, key: Path) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Relay)
        self.upstream = upstream
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients are to hang up here."""


@contextmanager
def tls_before(server: SeaweedServer, certificate: Path, key: Path) -> Iterator[SeaweedServer]:
    """Let *server* be reached by TLS."""
    upstream = server.endpoint.removeprefix("http://")
    with TlsServer(upstream, certificate, key) as relay:
        serving = threading.Thread(target=relay.serve_forever)
        serving.start()
        try:
            # Signatures cover the host: the relay passes on the one that it was asked as.
            yield replace(server, endpoint=f"https://localhost:{relay.server_port}")
        finally:
            relay.shutdown()
            serving.join()


def ranges_of(server: SeaweedServer, url: str) -> list[bytes]:
    """Read three ranges, two of them at once, over connections that are used again."""
    found: list[bytes] = []

    async def read(store: ObjectStore, start: int, stop: int) -> None:
        found.append(bytes(await store.get_range("data", start, stop, None)))

    async def scenario() -> None:
        store = open_store(parse_origin(url, {"engine": "direct"}, server.environ))
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, store, 0, len(CONTENT))
                tasks.start_soon(read, store, 0, len(CONTENT))
            await read(store, 7, 100_007)
        finally:
            await store.aclose()

    anyio.run(scenario)
    return found


@pytest.fixture
def tls_server(s3_server: SeaweedServer, s3_url: str, tmp_path: Path) -> Iterator[SeaweedServer]:
    async def seed() -> None:
        store = open_store(parse_origin(s3_url, {}, s3_server.environ))
        await store.put("data", CONTENT)
        await store.aclose()

    anyio.run(seed)
    with tls_before(s3_server, *new_certificate(tmp_path)) as server:
        yield server


def test_ranges_come_over_tls_when_the_certificate_is_known(
    tls_server: SeaweedServer, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    assert ranges_of(tls_server, s3_url) == [CONTENT, CONTENT, CONTENT[7:100_007]]


def test_a_server_with_an_unknown_certificate_is_not_read_from(
    tls_server: SeaweedServer, s3_url: str
) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        ranges_of(tls_server, s3_url)
    errors = caught.value.exceptions
    assert all(isinstance(error, StoreUnavailableError) for error in errors)
    assert "CERTIFICATE_VERIFY_FAILED" in str(errors[0])
