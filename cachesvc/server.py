"""Serves the cache to local clients over a unix socket: each message is parse, call, answer."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from cachesvc.chunk import CHUNK_ID_SIZE, ChunkId, ObjectRef
from cachesvc.errors import CacheServiceError, HeadraceError
from cachesvc.fill.cache import ChunkCache, Deliver, Wanted
from cachesvc.fill.committer import Committer
from cachesvc.fill.intake import Intake
from cachesvc.fill.plan import Plan
from cachesvc.fill.planfiller import PlanFiller
from cachesvc.fill.prefetch import PrefetchQueue
from cachesvc.fill.sources import Source, Sources
from cachesvc.framesocket import FrameSocket
from cachesvc.metrics import Metrics
from cachesvc.objectstore.keys import checked_key
from cachesvc.objectstore.origin import Origin
from cachesvc.store.slab import Data
from cachesvc.wire import (
    MAX_ANNOUNCED,
    MAX_CHUNK_SIZE,
    MAX_REQUEST_SIZE,
    PROTOCOL_VERSION,
    Announce,
    Ask,
    Attach,
    Carried,
    Chunks,
    Fill,
    Filled,
    Hello,
    Message,
    Prefetch,
    Progress,
    ProtocolError,
    Reject,
    Told,
    Touch,
    Welcome,
    Withdraw,
    decode,
    encode,
    failure_of,
)
from cachesvc.wire import Plan as PlanMessage

log = logging.getLogger(__name__)

_MIN_CHUNK_SIZE = 512
_MAX_CARRIED = 4
_MAX_CLIENTS = 4096
_STALL_SECONDS = 30.0
_ACCEPT_PAUSE_SECONDS = 0.1

Topics = Mapping[str, Callable[[], Awaitable[dict[str, Any]]]]
"""What may be asked, and who answers."""


@dataclass(eq=False, slots=True)
class CacheServer:
    """What all connections share. Requests run in *tasks*: they outlive their connection."""

    cache: ChunkCache
    prefetch: PrefetchQueue
    plans: PlanFiller
    committer: Committer
    sources: Sources
    intake: Intake
    tasks: anyio.abc.TaskGroup
    metrics: Metrics
    directory: Path
    topics: Topics
    client_count: int = 0

    def welcome(self) -> Welcome:
        """Return the greeting for a new client."""
        return Welcome(
            PROTOCOL_VERSION, self.committer.generation, str(self.directory), os.getpid()
        )

    async def serve(self, listener: socket.socket) -> None:
        """Accept clients until cancelled; closes the listener."""
        with listener:
            while True:
                await anyio.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    continue
                except OSError as error:
                    log.warning("cannot take a client: %s", error)
                    await anyio.sleep(_ACCEPT_PAUSE_SECONDS)
                else:
                    self.tasks.start_soon(self._serve_client, sock)

    async def _serve_client(self, sock: socket.socket) -> None:
        """Serve one client until it leaves or breaks the protocol."""
        if self.client_count >= _MAX_CLIENTS:
            log.warning("refused a client: there are %d already", self.client_count)
            sock.close()
            return
        self.client_count += 1
        connection = _Connection(self, sock)
        self.tasks.start_soon(connection.send)
        try:
            await connection.run()
        except CacheServiceError as error:
            log.warning("closed a client's connection: %s", error)
        except Exception:
            log.exception("closed a client's connection")
        finally:
            self.client_count -= 1
            await connection.aclose()


class _Connection:
    """One client: its socket, the origins that it attached, and the order that it announced."""

    def __init__(self, server: CacheServer, sock: socket.socket) -> None:
        self._server = server
        self._frames = FrameSocket(sock, MAX_REQUEST_SIZE, _STALL_SECONDS)
        self._sources: dict[int, Source | HeadraceError] = {}
        self._plan: Plan | None = None
        self._greeted = False

    async def run(self) -> None:
        """Read and dispatch messages until the client leaves. Raises ProtocolError."""
        while (bodies := await self._frames.receive()) is not None:
            for body in bodies:
                await self._dispatch(decode(body))
            await self._frames.drained()

    async def send(self) -> None:
        """Send what is queued, until the connection is closed."""
        await self._frames.run()

    async def aclose(self) -> None:
        """Close the socket, forget the plan and give the origins back."""
        self._frames.close()
        self._withdraw()
        for source in self._sources.values():
            if isinstance(source, Source):
                await self._server.sources.release(source)

    async def _dispatch(self, message: Message) -> None:
        """Act on one message; only waits for room."""
        if not self._greeted:
            self._greet(message)
            return
        match message:
            case Fill() | Reject():
                await self._server.intake.enter(len(message.chunks.indices))
                self._server.tasks.start_soon(self._fill, message)
            case Touch():
                self._touch(message)
            case Prefetch():
                self._prefetch(message)
            case Announce():
                self._announce(message)
            case PlanMessage():
                self._withdraw()
                self._plan = self._server.plans.begin(message, self._wanted, self._tell)
            case Withdraw():
                self._withdraw()
            case Attach():
                await self._attach(message)
            case Ask():
                await self._server.intake.enter(1)
                self._server.tasks.start_soon(self._answer, message)
            case _:
                raise ProtocolError(f"a client sent a {type(message).__name__} message")

    def _greet(self, message: Message) -> None:
        """Answer the first message. The client sees the versions and decides whether to stay."""
        if not isinstance(message, Hello):
            raise ProtocolError("a client did not say hello")
        self._greeted = True
        self._frames.send_nowait(encode(self._server.welcome()))

    async def _attach(self, message: Attach) -> None:
        """Open an origin. Its failure is the answer to whatever is asked of it."""
        old = self._sources.pop(message.handle, None)
        if isinstance(old, Source):
            await self._server.sources.release(old)
        try:
            origin = Origin.from_wire(message.origin)
            self._sources[message.handle] = self._server.sources.acquire(
                origin, message.deadline_seconds
            )
        except HeadraceError as error:
            self._sources[message.handle] = error
        except Exception as error:
            log.exception("cannot open an origin")
            self._sources[message.handle] = CacheServiceError(f"cannot open the origin: {error!r}")
        if self._plan is not None:
            self._server.plans.renew(self._plan)

    def _wanted(self, chunks: Chunks) -> Wanted:
        """Return what a message asks for; the identity of the object is computed here."""
        source = self._sources.get(chunks.handle)
        if source is None:
            raise ProtocolError(f"no origin is attached as {chunks.handle}")
        if isinstance(source, HeadraceError):
            raise source
        checked_key(chunks.key, source.root)
        if not _MIN_CHUNK_SIZE <= chunks.chunk_size <= MAX_CHUNK_SIZE:
            raise ProtocolError(f"chunks of {chunks.chunk_size} bytes are not possible")
        ref = ObjectRef(source.root, chunks.key, chunks.size, chunks.version, chunks.chunk_size)
        indices = chunks.indices
        if not all(type(i) is int and 0 <= i < ref.chunk_count for i in indices):
            raise ProtocolError(f"{chunks.key} does not have all of the chunks asked for")
        hashes = {i: h for i, h in zip(indices, chunks.hashes, strict=False) if h is not None}
        return Wanted(source.store, ref, indices, hashes)

    async def _fill(self, message: Fill | Reject) -> None:
        """Answer one request for chunks."""
        self._server.metrics.fills += 1
        try:
            await self._replied(message.request, partial(self._filled, message))
        finally:
            self._server.intake.leave(len(message.chunks.indices))

    async def _filled(self, message: Fill | Reject) -> Filled:
        """Make readable what was asked for and return the answer.

        The client tells of what it reads from the map then (`_touch`), and not of anything else.
        """
        wanted = self._wanted(message.chunks)

        async def deliver(index: int, data: Data) -> None:
            frame = encode(Carried(message.request, index, data))
            await self._frames.send(frame)
            self._note_read([wanted.ref.chunk_id(index)])

        try:
            await self._bring(message, wanted, deliver)
        except HeadraceError:
            self._note_read([wanted.ref.chunk_id(index) for index in wanted.indices])
            raise
        return Filled(message.request, self._server.committer.generation)

    async def _bring(self, message: Fill | Reject, wanted: Wanted, deliver: Deliver) -> None:
        """Make readable what is wanted, or deliver it."""
        if isinstance(message, Reject):
            await self._server.cache.refetch(wanted, deliver)
        elif message.carry and len(message.chunks.indices) > _MAX_CARRIED:
            raise ProtocolError(f"at most {_MAX_CARRIED} chunks are carried at once")
        elif message.carry:
            await self._server.cache.carry(wanted, deliver)
        else:
            await self._server.cache.fill(wanted, deliver)

    def _prefetch(self, message: Prefetch) -> None:
        """Queue chunks; what cannot be fetched fails when it is read."""
        try:
            self._server.prefetch.add(self._wanted(message.chunks))
        except HeadraceError as error:
            log.debug("not prefetched: %s", error)

    def _announce(self, message: Announce) -> None:
        """Append to the plan, unless the announcement belongs to one that was replaced."""
        if len(message.ids) > MAX_ANNOUNCED * CHUNK_ID_SIZE:
            raise ProtocolError(f"at most {MAX_ANNOUNCED} reads are announced at once")
        if self._plan is not None and self._plan.number == message.plan:
            self._server.plans.announce(self._plan, message)

    def _withdraw(self) -> None:
        """Forget the plan."""
        if self._plan is not None:
            self._server.plans.withdraw(self._plan)
            self._plan = None

    def _tell(self, progress: Progress) -> None:
        """Say how far the plan has come; who does not listen misses it."""
        if not self._frames.is_congested:
            self._frames.send_nowait(encode(progress))

    def _touch(self, message: Touch) -> None:
        """Pass on that chunks were read."""
        chunks = [ChunkId(c) for c in message.chunks if len(c) == CHUNK_ID_SIZE]
        self._server.metrics.chunks_touched += len(chunks)
        self._note_read(chunks)

    def _note_read(self, chunks: Sequence[ChunkId]) -> None:
        """Take note that a reader has the bytes of chunks, or will not have them."""
        self._server.plans.read(chunks)
        self._server.committer.touch(chunks)

    async def _answer(self, message: Ask) -> None:
        """Answer an administrative question."""
        try:
            await self._replied(message.request, partial(self._told, message))
        finally:
            self._server.intake.leave(1)

    async def _told(self, message: Ask) -> Told:
        """Return the answer to an administrative question."""
        topic = self._server.topics.get(message.topic)
        if topic is None:
            raise ProtocolError(f"nobody knows about {message.topic!r}")
        return Told(message.request, await topic())

    async def _replied(self, request: int, call: Callable[[], Awaitable[Filled | Told]]) -> None:
        """Send what *call* returns, or the error it raises. The one edge where errors end."""
        answer: Message
        try:
            answer = await call()
        except HeadraceError as error:
            self._server.metrics.fills_failed += 1
            log.debug("request failed: %s", error)
            answer = failure_of(request, error)
        except Exception as error:
            self._server.metrics.fills_failed += 1
            log.exception("request failed")
            text = f"unexpected {type(error).__name__} in the cache service; see its log"
            answer = failure_of(request, CacheServiceError(text))
        self._frames.send_nowait(encode(answer))
