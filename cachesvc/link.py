"""A client's conversation with the service across its deaths: connects, greets, resends.

Knows requests, answers and when to start over. Knows nothing of chunks or of LMDB.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import anyio

from cachesvc.ask import check_version
from cachesvc.errors import CacheServiceError, HeadraceError
from cachesvc.framesocket import FrameSocket
from cachesvc.unixsocket import connect
from cachesvc.wire import (
    MAX_ANSWER_SIZE,
    PROTOCOL_VERSION,
    Carried,
    Failed,
    Fill,
    Filled,
    Hello,
    Message,
    Progress,
    Reject,
    Welcome,
    decode,
    encode,
    error_of,
)

log = logging.getLogger(__name__)

_GREETING_SECONDS = 10.0
_FIRST_DELAY_SECONDS = 0.02
_MAX_DELAY_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class Request:
    """One request that is sent until it is answered. `carried` has bytes by chunk number."""

    frame: bytes
    done: anyio.Event = field(default_factory=anyio.Event)
    carried: dict[int, bytes] = field(default_factory=dict)
    error: HeadraceError | None = None

    async def answered(self) -> dict[int, bytes]:
        """Wait for the answer; raises what was raised in the service."""
        await self.done.wait()
        if self.error is not None:
            raise self.error
        return self.carried


class ServiceLink:
    """Keeps one connection to the service; `run` must be a task for as long as it is used."""

    def __init__(
        self,
        socket_path: Path,
        opening: Sequence[Message],
        *,
        ensure: Callable[[], Awaitable[None]],
        on_generation: Callable[[bytes], None],
        on_connected: Callable[[], None],
        on_progress: Callable[[Progress], None],
        stall_seconds: float,
    ) -> None:
        """Send *opening* on each new connection; *ensure* starts the service where none answers.

        *on_generation* hears which generation the store has, before anybody hears of an answer;
        *on_connected* that there is a new connection, *on_progress* what it says of a plan.
        """
        self._socket_path = socket_path
        self._opening = tuple(opening)
        self._ensure = ensure
        self._on_generation = on_generation
        self._on_connected = on_connected
        self._on_progress = on_progress
        self._stall_seconds = stall_seconds
        self._numbers = count(1)
        self._pending: dict[int, Request] = {}
        self._frames: FrameSocket | None = None

    @contextmanager
    def requested(self, messages: Sequence[Fill | Reject]) -> Iterator[list[Request]]:
        """Send requests, each under a number of its own, until it is answered or the block ends.

        They are sent in one piece, so that the service wakes up once.
        """
        numbers = [next(self._numbers) for _ in messages]
        requests = [
            Request(encode(message._replace(request=number)))
            for number, message in zip(numbers, messages, strict=True)
        ]
        self._pending.update(zip(numbers, requests, strict=True))
        if self._frames is not None:
            self._frames.send_nowait(b"".join(request.frame for request in requests))
        try:
            yield requests
        finally:
            for number in numbers:
                self._pending.pop(number, None)

    def reopen(self, opening: Sequence[Message]) -> None:
        """Send another *opening* from now on, and on the connection that there is."""
        self._opening = tuple(opening)
        if self._frames is not None:
            for message in self._opening:
                self._frames.send_nowait(encode(message))

    def tell_nowait(self, *messages: Message) -> None:
        """Send in one piece what needs no answer, and may be lost."""
        if self._frames is not None and not self._frames.is_congested:
            self._frames.send_nowait(b"".join(map(encode, messages)))

    async def send(self, message: Message) -> None:
        """Send something that needs no answer; waits while much is queued. Lost where none runs."""
        if self._frames is not None:
            await self._frames.send(encode(message))

    async def run(self, frames: FrameSocket) -> None:
        """Converse on the connection that `connect` returned, and on new ones, until cancelled."""
        while True:
            try:
                await self._converse(frames)
            except CacheServiceError as error:
                log.warning("lost the cache service: %s", error)
            # One that takes connections and ends them at once is not asked in a tight loop.
            await anyio.sleep(_FIRST_DELAY_SECONDS)
            frames = await self._reconnect()

    async def _reconnect(self) -> FrameSocket:
        """Connect again, however long it takes; requests have deadlines of their own."""
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                return await self.connect()
            except HeadraceError as error:
                log.warning("no cache service: %s", error)
            await anyio.sleep(delay)
            delay = min(2 * delay, _MAX_DELAY_SECONDS)

    async def connect(self) -> FrameSocket:
        """Return a connection on which the service has greeted, starting it if need be.

        Raises CacheServiceError, or what *ensure* raises.
        """
        try:
            sock = connect(self._socket_path)
        except OSError:
            await self._ensure()
            try:
                sock = connect(self._socket_path)
            except OSError as error:
                raise CacheServiceError(
                    f"the cache service does not answer on {self._socket_path}: {error.strerror}"
                ) from error
        frames = FrameSocket(sock, MAX_ANSWER_SIZE, self._stall_seconds)
        try:
            await self._greet(frames)
        except BaseException:
            frames.close()
            raise
        return frames

    async def _greet(self, frames: FrameSocket) -> None:
        """Exchange greetings within a bounded time."""
        frames.send_nowait(encode(Hello(PROTOCOL_VERSION)))
        with anyio.move_on_after(_GREETING_SECONDS):
            while (bodies := await frames.receive()) is not None:
                for message in map(decode, bodies):
                    if not isinstance(message, Welcome):
                        raise CacheServiceError("the cache service did not greet")
                    check_version(message)
                    self._on_generation(message.generation)
                    return
        raise CacheServiceError("the cache service took the connection and did not greet")

    async def _converse(self, frames: FrameSocket) -> None:
        """Send all that is wanted and take answers, until the connection ends."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(frames.run)
                for message in self._opening:
                    frames.send_nowait(encode(message))
                for request in self._pending.values():
                    request.carried.clear()
                    frames.send_nowait(request.frame)
                self._frames = frames
                self._on_connected()
                error = await self._receive(frames)
                tasks.cancel_scope.cancel()
        finally:
            self._frames = None
            frames.close()
        if error is not None:
            raise error

    async def _receive(self, frames: FrameSocket) -> CacheServiceError | None:
        """Take answers until the service leaves, or says something that it should not."""
        try:
            while (bodies := await frames.receive()) is not None:
                for body in bodies:
                    self._take(decode(body))
        except CacheServiceError as error:
            return error
        return None

    def _take(self, message: Message) -> None:
        """Give an answer to the request that waits for it, if it still does."""
        match message:
            case Carried(number, index, data):
                if number in self._pending:
                    self._pending[number].carried[index] = bytes(data)
            case Filled(number, generation):
                self._on_generation(generation)
                self._settle(number, None)
            case Failed(number):
                self._settle(number, error_of(message))
            case Progress():
                self._on_progress(message)
            case _:
                raise CacheServiceError(
                    f"the cache service sent a {type(message).__name__} message"
                )

    def _settle(self, number: int, error: HeadraceError | None) -> None:
        """Wake the task that waits for a request."""
        request = self._pending.pop(number, None)
        if request is not None:
            request.error = error
            request.done.set()
