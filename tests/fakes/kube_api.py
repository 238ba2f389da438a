"""A Kubernetes API server for tests: one node, and the events that were written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any


class FakeKubeApi:
    """Counts all requests; answers `refusals` of them with HTTP 500 first."""

    def __init__(self, node_name: str, taints: Sequence[Mapping[str, str]] = ()) -> None:
        self.node_name = node_name
        self.taints = list(taints)
        self.events: list[Mapping[str, Any]] = []
        self.requests: list[str] = []
        self.refusals = 0
        self.meddle: Mapping[str, str] | None = None
        """A taint that somebody else adds between the next read and the write after it."""
        self.url = ""
        self._lock = Lock()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Mapping[str, Any]]:  # noqa: ANN401  JSON
        """Return status and object for one request."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            if self.refusals > 0:
                self.refusals -= 1
                return 500, {"kind": "Status", "message": "not today"}
            if path == f"/api/v1/nodes/{self.node_name}":
                return self._node(method, body)
            if method == "POST" and path.endswith("/events"):
                self.events.append(body)
                return 201, body
            return 404, {"kind": "Status", "message": f"no {path}"}

    def _node(
        self, method: str, body: Sequence[Mapping[str, Any]]
    ) -> tuple[int, Mapping[str, Any]]:
        if method == "PATCH":
            test, replace = body
            if test["value"] != self.taints:
                return 422, {"kind": "Status", "message": "the server rejected our request"}
            self.taints = list(replace["value"])
        node = {"kind": "Node", "spec": {"taints": list(self.taints)} if self.taints else {}}
        if self.meddle is not None:
            self.taints.append(self.meddle)
            self.meddle = None
        return 200, node


@contextmanager
def fake_kube_api(api: FakeKubeApi) -> Iterator[FakeKubeApi]:
    """Serve *api* over plain HTTP for the length of a block; its `url` says where."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            status, answer = api.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = handle_any  # noqa: N815  the base looks for these names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
