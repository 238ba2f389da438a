"""A token service for tests: it gives credentials for tokens that it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs

GRANTED = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken></SessionToken><Expiration>{end}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"""
LIFETIME = timedelta(hours=1)


class FakeSts:
    """Gives (access key, secret) for a role and a token."""

    def __init__(self) -> None:
        self.url = ""
        self.grants: dict[tuple[str, str], tuple[str, str]] = {}
        """By role and token."""
        self.expired: set[str] = set()
        """Tokens that were good once."""
        self.unlucky: set[str] = set()
        """Tokens that are answered with HTTP 500."""
        self.asked: list[str] = []
        """Tokens that were brought, in order."""
        self._lock = Lock()

    def answer(self, form: Mapping[str, str]) -> tuple[int, str]:
        """Return status and body for a request."""
        token = form.get("WebIdentityToken", "")
        with self._lock:
            self.asked.append(token)
            granted = self.grants.get((form.get("RoleArn", ""), token))
            if token in self.unlucky:
                return 500, REFUSED.format(code="InternalFailure", message="Not today")
            if token in self.expired:
                return 400, REFUSED.format(code="ExpiredTokenException", message="Token expired")
            if granted is None:
                return 400, REFUSED.format(code="InvalidIdentityToken", message="Unknown token")
            end = (datetime.now(UTC) + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
            return 200, GRANTED.format(key=granted[0], secret=granted[1], end=end)


@contextmanager
def fake_sts() -> Iterator[FakeSts]:
    """Serve one over plain HTTP for the length of a block; its `url` says where."""
    sts = FakeSts()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the base looks for this name
            size = int(self.headers.get("Content-Length") or 0)
            form = parse_qs(self.rfile.read(size).decode())
            status, body = sts.answer({name: words[0] for name, words in form.items()})
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sts.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield sts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
