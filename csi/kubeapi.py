"""The few calls to the Kubernetes API: one node is read and patched, events are written.

Never on the way of a publish. By http.client in a thread: an asynchronous client would cost every
node 13 MB for a call that is made once.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from csi.errors import ConfigurationError, UnavailableError
from csi.threads import Threads

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CALL_SECONDS = 10.0
MOST_ANSWER_BYTES = 8 << 20
JSON, JSON_PATCH = "application/json", "application/json-patch+json"

Json = Mapping[str, Any]


class KubeApiError(UnavailableError):
    """The API server did not answer, or said no."""


@dataclass(frozen=True, slots=True)
class KubeAccess:
    """Where the API server is, and the files that say who asks; both change while it runs."""

    url: str
    token: Path = SERVICE_ACCOUNT / "token"
    authority: Path = SERVICE_ACCOUNT / "ca.crt"

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is not made yet."""
        parts = urlsplit(self.url)
        if parts.hostname is None:
            raise ConfigurationError(f"{self.url!r} is no address of an API server")
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=CALL_SECONDS)
        context = ssl.create_default_context(cafile=str(self.authority))
        return http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=CALL_SECONDS, context=context
        )

    def headers(self) -> dict[str, str]:
        """Return who asks; over a plain connection nobody says."""
        if self.url.startswith("http:"):
            return {}
        return {"Authorization": f"Bearer {self.token.read_text().strip()}"}


def in_cluster(environ: Mapping[str, str]) -> KubeAccess:
    """Return the access that a pod is given. Raises ConfigurationError outside of one."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise ConfigurationError(
            "no Kubernetes API server is known here; run in a pod, or set HEADRACE_CSI_KUBE_URL"
        )
    return KubeAccess(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")


class KubeApi:
    """Calls the API server. All methods raise KubeApiError, or StuckError when it is silent."""

    def __init__(self, access: KubeAccess, threads: Threads) -> None:
        """Ask as *access* says, in *threads*."""
        self._access = access
        self._threads = threads

    async def node(self, name: str) -> Json:
        """Return a node."""
        return await self._call("GET", f"/api/v1/nodes/{quote(name, safe='')}")

    async def patch_node(self, name: str, operations: Sequence[Json]) -> None:
        """Change a node by a JSON patch, all of it or nothing."""
        path = f"/api/v1/nodes/{quote(name, safe='')}"
        await self._call("PATCH", path, operations, JSON_PATCH)

    async def create_event(self, namespace: str, event: Json) -> None:
        """Write an event."""
        await self._call("POST", f"/api/v1/namespaces/{quote(namespace, safe='')}/events", event)

    async def _call(
        self, method: str, path: str, body: object = None, content_type: str = JSON
    ) -> Json:
        call = partial(request, self._access, method, path, body, content_type)
        return await self._threads.run("ask the API server", call, 2 * CALL_SECONDS)


def request(access: KubeAccess, method: str, path: str, body: object, content_type: str) -> Json:
    """Make one request, blocking, and return the object in the answer. Raises KubeApiError."""
    try:
        with closing(access.connect()) as connection:
            text = None if body is None else json.dumps(body)
            headers = {**access.headers(), "Accept": JSON, "Content-Type": content_type}
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            content = response.read(MOST_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise KubeApiError(f"the API server cannot be asked: {error!r}") from error
    return _answer(f"{method} {path}", response.status, content)


def _answer(what: str, status: int, content: bytes) -> Json:
    """Return the object in an answer of the API server."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise KubeApiError(f"{what}: HTTP {status}, and no object in the answer")
    if status >= http.client.BAD_REQUEST:
        raise KubeApiError(f"{what}: HTTP {status}, {answer.get('message', 'no reason given')}")
    return answer
