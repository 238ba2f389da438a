"""The cache as its readers see it: hits from the map, misses from the service.

Knows when a hit is possible, what to ask the service for, and when to open files that were
replaced. Runs on trio and on asyncio.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import anyio.abc
import anyio.lowlevel

from cachesvc.announcer import Announcer
from cachesvc.chunk import CHUNK_SIZE, ChunkId, ObjectRef, Span
from cachesvc.errors import ChunkCorruptError, CredentialsExpiredError, DeadlineExceededError
from cachesvc.followedmap import FollowedMap
from cachesvc.link import ServiceLink
from cachesvc.objectstore.origin import Origin
from cachesvc.touches import Touches
from cachesvc.want import Want, by_object, chunks_in, spans_of, wants_of
from cachesvc.wire import Attach, Fill, PlanState, Prefetch, Progress, Reject

__all__ = ["CacheClient", "PlanState", "Progress", "Renew", "Want", "spans_of"]

_GRACE_SECONDS = 2.0
"""What a request may take beyond the service's own deadline, whose error says more."""

_CHECK_SECONDS = 1.0
_RENEWAL_ATTEMPTS = 3
_MAX_INDICES = 1024
_MAX_CARRIED = 4
_READ_ATTEMPTS = 4

_MISSED_SECONDS = 10.0
_MAX_FILLED = 4096


Renew = Callable[[], Awaitable[Sequence[Origin]]]
"""Asks for the same origins with credentials that are good now."""


class CacheClient:
    """Reads chunks on behalf of one process, which must not be the service's.

    `run` must be a task for as long as the client is used. `hits` may be called from other threads;
    everything else from the event loop only.
    """

    def __init__(
        self,
        directory: Path,
        origins: Sequence[Origin],
        *,
        ensure: Callable[[], Awaitable[None]],
        renew: Renew | None = None,
        deadline_seconds: float = 60.0,
    ) -> None:
        """Read objects of *origins* through the cache in *directory*; *ensure* starts its service.

        When credentials expired, *renew* is asked for the same origins with new ones. Every wait
        for bytes ends after *deadline_seconds* and a little.
        """
        self._deadline_seconds = deadline_seconds
        self._announcer = Announcer()
        self._touches = Touches()
        self._map = FollowedMap(directory, self._touches.add)
        self._link = ServiceLink(
            directory / "socket",
            self._opening(origins),
            ensure=ensure,
            on_generation=self._map.follow,
            on_connected=self._announcer.connected,
            on_progress=self._take_progress,
            stall_seconds=deadline_seconds + _GRACE_SECONDS,
        )
        self._origins = tuple(origins)
        self._renew = renew
        self._renewing = anyio.Lock()
        self._filled: OrderedDict[ChunkId, float] = OrderedDict()
        self._expired = anyio.Event()

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Stay connected to the service until cancelled; started once it answered.

        Raises CacheServiceError when it cannot be started at first; later it is tried for ever.
        """
        frames = await self._link.connect()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._link.run, frames)
                tasks.start_soon(self._announcer.run, self._link)
                tasks.start_soon(self._renew_for_plan)
                tasks.start_soon(self._touches.run, self._link.tell_nowait)
                tasks.start_soon(self._check)
                task_status.started()
        finally:
            self._map.close()

    def ref(
        self,
        origin_index: int,
        key: str,
        size: int,
        version: str | None,
        chunk_size: int = CHUNK_SIZE,
    ) -> ObjectRef:
        """Return the identity of an object of an origin, as the service will compute it."""
        return ObjectRef(self._origins[origin_index].root, key, size, version, chunk_size)

    def hits(
        self, spans: Sequence[Span], *, waits: bool = True
    ) -> AbstractContextManager[list[memoryview] | None]:
        """Return a block that yields the bytes of *spans* in order; None unless all can be read.

        The views are valid only inside the block. Unless it *waits*, None also where the node's
        disk has to bring them, which it begins to.
        """
        return self._map.hits(spans, waits=waits)

    def readable(self, chunk: ChunkId) -> bool:
        """Say whether a chunk can be read at this moment; to ask is no use of it."""
        return self._map.has(chunk)

    def readable_count(self, ref: ObjectRef, indices: range) -> int:
        """Return how many of an object's chunks can be read; past a thousand it may return less."""
        found, _ = self._map.readable_chunks(ref.digest, indices.start)
        return sum(index < indices.stop for index in found)

    def replace_origins(self, origins: Sequence[Origin], renew: Renew) -> None:
        """Ask for the same places with the credentials of *origins* from now on, later *renew*."""
        self._renew = renew
        self._use(tuple(origins))

    async def cached_bytes(self, ref: ObjectRef) -> int:
        """Return how many bytes of an object can be read without fetching any."""
        return sum((await self.readable_chunks(ref)).values())

    async def readable_chunks(self, ref: ObjectRef) -> dict[int, int]:
        """Return the lengths, by number, of an object's chunks that can be read at this moment.

        Takes time for the chunks that are here, not for the object's size, which may be a lie.
        """
        found: dict[int, int] = {}
        start: int | None = 0
        while start is not None:
            some, start = self._map.readable_chunks(ref.digest, start)
            found |= some
            await anyio.lowlevel.checkpoint()
        return found

    async def fill(self, wants: Sequence[Want], *, anew: bool = False) -> dict[ChunkId, bytes]:
        """Return once all *wants* can be read; the bytes of those that could not be cached.

        Who finds a chunk missing again shortly after it was filled gets its bytes: it was evicted
        already, or this process cannot read it. With *anew*, what is cached is not good enough.
        Raises what the service raised, or DeadlineExceededError.
        """
        if not wants:
            return {}
        try:
            with anyio.fail_after(self._deadline_seconds + _GRACE_SECONDS):
                return await self._fill_renewing(wants, anew=anew)
        except TimeoutError:
            raise DeadlineExceededError(
                f"{wants[0].ref.key}: the cache service brought nothing in "
                f"{self._deadline_seconds:g} s"
            ) from None

    def prefetch_nowait(self, wants: Sequence[Want]) -> None:
        """Have *wants* fetched when there is nothing better to do. May be forgotten."""
        groups = by_object(wants, _MAX_INDICES)
        self._link.tell_nowait(*(Prefetch(chunks_in(group)) for group in groups))

    async def announce(
        self,
        wants: Iterable[Want] | AsyncIterable[Want],
        *,
        window_size: int = 0,
        bandwidth: int = 0,
    ) -> None:
        """Say in which order this process, or others, will read; returns when *wants* ends.

        They are fetched in that order, at most *window_size* bytes ahead of the reader (0: what the
        cache has room for, and half of it once somebody reads) and *bandwidth* bytes a second (0:
        no bound), and the cache keeps what is needed soonest.
        Holds for as long as `run` does, across deaths of the service too, until the next order is
        announced or this one withdrawn. Of all orders together the service takes 2 Mi reads.
        """
        await self._announcer.announce(wants, window_size, bandwidth)

    def announce_nowait(
        self, wants: Iterable[Want], *, window_size: int = 0, bandwidth: int = 0
    ) -> None:
        """Announce as `announce` does, some 10 us a read, without letting others have a turn."""
        self._announcer.announce_nowait(wants, window_size, bandwidth)

    def withdraw_nowait(self) -> None:
        """Take back the order that was announced: the reader will not come."""
        self._announcer.withdraw()

    @property
    def announced_count(self) -> int:
        """How many reads were announced; several of one chunk in a row are one."""
        return self._announcer.announced_count

    async def progressed(self, since: Progress | None = None) -> Progress:
        """Return how far the announced order has come, once that is not *since*.

        Raises CredentialsExpiredError when no good credentials are to be had.
        """
        return await self._announcer.progressed(since)

    async def read(self, origin_index: int, ref: ObjectRef, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)` of an object, from the cache or by way of it."""
        spans = list(spans_of(ref, start, stop))
        return await self._read(wants_of(origin_index, ref, start, stop), spans, {})

    async def reread(
        self, origin_index: int, ref: ObjectRef, start: int, stop: int, bad: bytes
    ) -> bytes:
        """Return the bytes of a range again, for which *bad* came, which cannot be right.

        They are fetched anew, unless the cache has others by now: of those who meet the same
        damage one after the other, the first has it mended.
        """
        spans = list(spans_of(ref, start, stop))
        wants = wants_of(origin_index, ref, start, stop)
        found = self._joined(spans, {})
        if found is not None and found != bad:
            return found
        return await self._read(wants, spans, await self.fill(wants, anew=True))

    async def _read(
        self, wants: Sequence[Want], spans: Sequence[Span], carried: dict[ChunkId, bytes]
    ) -> bytes:
        """Return the bytes of *spans*, pieces of all *wants*; those *carried* need no cache."""
        for _ in range(_READ_ATTEMPTS):
            found = self._joined(spans, carried)
            if found is not None:
                return found
            carried |= await self.fill(wants)
        key = wants[0].ref.key
        raise ChunkCorruptError(f"{key}: its chunks leave the cache faster than they are read")

    async def _fill_renewing(self, wants: Sequence[Want], *, anew: bool) -> dict[ChunkId, bytes]:
        """Fill, and once more with new credentials where the old ones have expired."""
        asked_with = self._origins
        fill = self._refill if anew else self._fill
        try:
            return await fill(wants)
        except CredentialsExpiredError:
            if not await self._has_renewed(asked_with):
                raise
            return await fill(wants)

    async def _has_renewed(self, expired: tuple[Origin, ...]) -> bool:
        """Replace *expired* origins, unless another task just did; False if there are no others."""
        async with self._renewing:
            if self._origins is expired and self._renew is not None:
                renewed = tuple(await self._renew())
                same_places = list(map(_root, renewed)) == list(map(_root, expired))
                # Somebody may have called `replace_origins` meanwhile.
                if renewed != expired and same_places and self._origins is expired:
                    self._use(renewed)
        return self._origins is not expired

    def _use(self, origins: tuple[Origin, ...]) -> None:
        self._origins = origins
        self._link.reopen(self._opening(origins))

    def _take_progress(self, progress: Progress) -> None:
        """Take note of how far the announced order has come, and whether it can go on."""
        if self._announcer.take(progress) and progress.state == PlanState.EXPIRED:
            self._expired.set()

    async def _renew_for_plan(self) -> None:
        """Bring new credentials when fetching ahead has met expired ones; give up if it goes on."""
        attempts, filled_count = 0, -1
        while True:
            await self._expired.wait()
            self._expired = anyio.Event()
            progress = await self._announcer.progressed(None)
            attempts = attempts + 1 if progress.filled_count == filled_count else 1
            filled_count = progress.filled_count
            if attempts > _RENEWAL_ATTEMPTS:
                self._announcer.fail(CredentialsExpiredError(progress.error[1]))
            elif not await self._has_renewed(self._origins):
                self._link.reopen(self._opening(self._origins))

    def _opening(self, origins: Sequence[Origin]) -> list[Attach]:
        """Return what makes the service know *origins*."""
        deadline = self._deadline_seconds
        return [Attach(n, origin.to_wire(), deadline) for n, origin in enumerate(origins)]

    async def _fill(self, wants: Sequence[Want]) -> dict[ChunkId, bytes]:
        """Ask for chunks, object by object, and wait for all."""
        missed = {want.chunk for want in wants if self._is_missed(want.chunk)}
        plain = [want for want in wants if want.chunk not in missed]
        again = [want for want in wants if want.chunk in missed]
        groups = [
            *((group, False) for group in by_object(plain, _MAX_INDICES)),
            *((group, True) for group in by_object(again, _MAX_CARRIED)),
        ]
        requests = [(group[0].ref, Fill(0, chunks_in(group), carry)) for group, carry in groups]
        return await self._request(wants, requests)

    async def _refill(self, wants: Sequence[Want]) -> dict[ChunkId, bytes]:
        """Have chunks replaced, object by object, and wait for all."""
        groups = by_object(wants, _MAX_INDICES)
        requests = [(group[0].ref, Reject(0, chunks_in(group))) for group in groups]
        return await self._request(wants, requests)

    async def _request(
        self, wants: Sequence[Want], requests: Sequence[tuple[ObjectRef, Fill | Reject]]
    ) -> dict[ChunkId, bytes]:
        """Send requests that make *wants* readable, and wait for all; return what was carried."""
        carried: dict[ChunkId, bytes] = {}
        with self._link.requested([message for _, message in requests]) as sent:
            for (ref, _), request in zip(requests, sent, strict=True):
                answer = await request.answered()
                carried |= {ref.chunk_id(i): data for i, data in answer.items()}
        self._note_filled(want.chunk for want in wants if want.chunk not in carried)
        return carried

    def _is_missed(self, chunk: ChunkId) -> bool:
        """Say whether a chunk was filled a moment ago and still cannot be read."""
        if not self._map.is_open:
            return True
        recently = anyio.current_time() - _MISSED_SECONDS
        return self._filled.get(chunk, recently) > recently and not self._map.has(chunk)

    def _note_filled(self, chunks: Iterable[ChunkId]) -> None:
        """Remember for a while which chunks the service said can be read."""
        now = anyio.current_time()
        for chunk in chunks:
            self._filled[chunk] = now
            self._filled.move_to_end(chunk)
        while len(self._filled) > _MAX_FILLED:
            self._filled.popitem(last=False)

    def _joined(self, spans: Sequence[Span], carried: Mapping[ChunkId, bytes]) -> bytes | None:
        """Return the bytes of all spans together, None when some are not here."""
        pieces = [self._copied(span, carried) for span in spans]
        whole = [piece for piece in pieces if piece is not None]
        return b"".join(whole) if len(whole) == len(pieces) else None

    def _copied(self, span: Span, carried: Mapping[ChunkId, bytes]) -> bytes | None:
        """Return the bytes of one span, None when they are not here."""
        if span.chunk in carried:
            return carried[span.chunk][span.start : span.stop]
        with self.hits([span]) as views:
            return None if views is None else b"".join(views)

    async def _check(self) -> None:
        """Every second look whether the files are still the same."""
        while True:
            await anyio.sleep(_CHECK_SECONDS)
            self._map.check()


def _root(origin: Origin) -> str:
    return origin.root
