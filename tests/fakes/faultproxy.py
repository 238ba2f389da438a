"""An HTTP proxy in front of a real S3 server that fails on demand, and counts what it was asked.

It runs in a thread of its own, so that tests may use whichever event loop they like.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import urlsplit

import anyio
import anyio.abc
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.fakes.http_message import Message, MessageReader

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends a TCP reset."""

CONNECTION_ENDS = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this status and S3 error code; the server is never asked."""

    status: int
    code: str = "InternalError"
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class HangBeforeHeaders:
    """Never answer."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the request until all faults are forgotten, then let the server answer."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection; the server is never asked."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Let the server do what was asked, and reset the connection instead of answering."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """Promise the whole body, send this much of it, close."""

    keep: int


@dataclass(frozen=True, slots=True)
class Trickle:
    """Send the body this many bytes at a time, with pauses."""

    step: int
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Wait before asking the server."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SetHeader:
    """Answer with this header in place of the server's: another ETag, a wrong Content-Range."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class IgnoreRange:
    """Answer 200 with the whole object, which the test has to know."""

    whole: bytes


@dataclass(frozen=True, slots=True)
class ShortRange:
    """Answer 206 with fewer bytes than were asked for, consistently."""

    keep: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """Send the body in chunks of this many bytes, and do not say how many there are in all."""

    size: int


Fault = (
    Status
    | HangBeforeHeaders
    | Hold
    | Reset
    | LoseAnswer
    | Truncate
    | Trickle
    | Latency
    | SetHeader
    | IgnoreRange
    | ShortRange
    | Chunked
)


@dataclass(slots=True)
class Rule:
    """Which requests fail, and how: those of *method* whose target contains *part*.

    Of those, if there is a *signer*, the ones that carry this access key.
    """

    fault: Fault
    method: str
    part: str
    skip: int
    times: int | None
    signer: str = ""

    def take(self, request: Message) -> bool:
        """Tell whether this request is to fail, and count it."""
        if request.method != self.method or self.part not in request.target:
            return False
        if self.signer not in {"", signer_of(request)}:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


@dataclass(slots=True)
class FaultProxy:
    """A running proxy: what it was asked, and how it shall fail."""

    endpoint: str
    upstream: tuple[str, int]
    portal: BlockingPortal
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    signers: Counter[str] = field(default_factory=Counter)
    """Requests by the access key that signed them."""
    connections: int = 0
    _rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _healed: anyio.Event = field(default_factory=anyio.Event)

    def inject(
        self,
        fault: Fault,
        *,
        method: str = "GET",
        part: str = "",
        skip: int = 0,
        times: int | None = None,
        signer: str = "",
    ) -> None:
        """Fail the next *times* matching requests (all of them: None), after *skip* good ones."""
        with self._lock:
            self._rules.append(Rule(fault, method, part, skip, times, signer))

    def heal(self) -> None:
        """Forget all faults, and let go of what was held."""
        with self._lock:
            self._rules.clear()
        self.portal.call(self._let_go)

    def count(self, method: str, part: str = "") -> int:
        """Return how many requests of *method* came whose target contains *part*."""
        with self._lock:
            return sum(
                count
                for (each, target), count in self.requests.items()
                if each == method and part in target
            )

    def _take(self, request: Message) -> Fault | None:
        with self._lock:
            self.requests[request.method, request.target] += 1
            self.signers[signer_of(request)] += 1
            taken = [rule for rule in self._rules if rule.take(request)]
        return taken[0].fault if taken else None

    def _let_go(self) -> None:
        self._healed.set()
        self._healed = anyio.Event()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Serve one connection: one request after the other."""
        self.connections += 1
        with contextlib.suppress(*CONNECTION_ENDS):
            async with stream:
                reader = MessageReader(stream)
                while (request := await reader.read()) is not None:
                    await self._answer(stream, request, self._take(request))

    async def _answer(
        self, stream: anyio.abc.SocketStream, request: Message, fault: Fault | None
    ) -> None:
        match fault:
            case HangBeforeHeaders():
                await anyio.sleep_forever()
            case Hold():
                await self._healed.wait()
                await _deliver(stream, await self._ask(request), None)
            case Reset():
                await _reset(stream)
            case LoseAnswer():
                await self._ask(request)
                await _reset(stream)
            case Status():
                await stream.send(_refusal(fault, request).encode())
            case Latency(seconds):
                await anyio.sleep(seconds)
                await stream.send((await self._ask(request)).encode())
            case _:
                await _deliver(stream, await self._ask(request), fault)

    async def _ask(self, request: Message) -> Message:
        async with await anyio.connect_tcp(*self.upstream) as server:
            asked = request.without("Expect", "Connection").with_header("Connection", "close")
            await server.send(asked.encode())
            answer = await MessageReader(server).read(body_follows=request.method != "HEAD")
        if answer is None:
            raise anyio.EndOfStream
        return answer.without("Connection")


def signer_of(request: Message) -> str:
    """Return the access key that a request was signed with, "" when it was not."""
    found = re.search(r"Credential=([^/]+)/", request.header("Authorization"))
    return found[1] if found is not None else ""


async def _deliver(stream: anyio.abc.SocketStream, answer: Message, fault: Fault | None) -> None:
    match fault:
        case Truncate(keep):
            await stream.send(answer.head() + answer.body[:keep])
            await stream.aclose()
        case Trickle(step, pause_seconds):
            await stream.send(answer.head())
            for start in range(0, len(answer.body), step):
                await stream.send(answer.body[start : start + step])
                await anyio.sleep(pause_seconds)
        case SetHeader(name, value):
            await stream.send(answer.with_header(name, value).encode())
        case IgnoreRange(whole):
            await stream.send(_whole(answer, whole).encode())
        case ShortRange(keep):
            await stream.send(_shortened(answer, keep).encode())
        case Chunked(size):
            await stream.send(_chunked(answer, size).encode())
        case _:
            await stream.send(answer.encode())


def _refusal(fault: Status, request: Message) -> Message:
    body = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code></Error>".encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    if fault.retry_after is not None:
        headers.append(("Retry-After", fault.retry_after))
    sent = b"" if request.method == "HEAD" else body
    return Message(f"HTTP/1.1 {fault.status} Injected", tuple(headers), sent)


def _whole(answer: Message, whole: bytes) -> Message:
    changed = answer.without("Content-Range").with_header("Content-Length", str(len(whole)))
    return replace(changed, start_line="HTTP/1.1 200 OK", body=whole)


def _shortened(answer: Message, keep: int) -> Message:
    sent = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.header("Content-Range"))
    if sent is None:
        message = "a short range wants a range request"
        raise ValueError(message)
    start = int(sent[1])
    changed = answer.with_header("Content-Range", f"bytes {start}-{start + keep - 1}/{sent[3]}")
    return replace(changed.with_header("Content-Length", str(keep)), body=answer.body[:keep])


def _chunked(answer: Message, size: int) -> Message:
    pieces = [answer.body[at : at + size] for at in range(0, len(answer.body), size)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in [*pieces, b""])
    changed = answer.without("Content-Length").with_header("Transfer-Encoding", "chunked")
    return replace(changed, body=body)


async def _reset(stream: anyio.abc.SocketStream) -> None:
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await stream.aclose()


@contextlib.contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy before the server at the URL *upstream*, in a thread that ends with the block."""
    parts = urlsplit(upstream)
    server = (parts.hostname or "127.0.0.1", parts.port or 80)
    with start_blocking_portal() as portal:
        listener = portal.call(partial(anyio.create_tcp_listener, local_host="127.0.0.1"))
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        proxy = FaultProxy(f"http://127.0.0.1:{port}", server, portal)
        serving = portal.start_task_soon(listener.serve, proxy.serve)
        try:
            yield proxy
        finally:
            serving.cancel()
            portal.call(listener.aclose)
