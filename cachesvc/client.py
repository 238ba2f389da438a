"""The cache as its readers see it: hits from the map, misses from the service.

Knows when a hit is possible, what to ask the service for, and when to open files that were
replaced. Runs on trio and on asyncio.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

import anyio
import anyio.abc
import anyio.lowlevel

from cachesvc.chunk import CHUNK_SIZE, ChunkId, ObjectRef, Span
from cachesvc.errors import (
    CacheUnusableError,
    ChunkCorruptError,
    CredentialsExpiredError,
    DeadlineExceededError,
)
from cachesvc.link import ServiceLink
from cachesvc.objectstore.origin import Origin
from cachesvc.store.chunkreader import ChunkReader, Hits
from cachesvc.wire import MAX_TOUCHES, Attach, Fill, Prefetch, Reject, Touch

log = logging.getLogger(__name__)

_GRACE_SECONDS = 2.0
"""What a request may take beyond the service's own deadline, whose error says more."""

_TICK_SECONDS = 1.0
_MAX_TOUCHED = 64 * 1024
_MAX_INDICES = 1024
_MAX_CARRIED = 4
_READ_ATTEMPTS = 4

_MISSED_SECONDS = 10.0
_MAX_FILLED = 4096


Renew = Callable[[], Awaitable[Sequence[Origin]]]
"""Asks for the same origins with credentials that are good now."""


@dataclass(frozen=True, slots=True)
class Want:
    """One chunk to be made readable: of which origin and object, and its hash if that is known."""

    origin_index: int
    ref: ObjectRef
    index: int
    expected_hash: int | None = None

    @property
    def chunk(self) -> ChunkId:
        """The chunk's identity."""
        return self.ref.chunk_id(self.index)


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
        self._directory = directory
        self._deadline_seconds = deadline_seconds
        self._link = ServiceLink(
            directory / "socket",
            self._opening(origins),
            ensure=ensure,
            on_generation=self._follow,
            stall_seconds=deadline_seconds + _GRACE_SECONDS,
        )
        self._origins = tuple(origins)
        self._renew = renew
        self._renewing = anyio.Lock()
        self._reader: ChunkReader | None = None
        self._generation = b""
        self._touched: set[ChunkId] = set()
        self._filled: OrderedDict[ChunkId, float] = OrderedDict()
        self._reopen_level = logging.WARNING

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
                tasks.start_soon(self._tick)
                task_status.started()
        finally:
            self._close_reader()

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

    def hits(self, spans: Sequence[Span]) -> AbstractContextManager[list[memoryview] | None]:
        """Return a block that yields the bytes of *spans* in order; None unless all can be read.

        The views are valid only inside the block.
        """
        reader = self._reader
        if reader is None:
            return nullcontext(None)
        if len(self._touched) < _MAX_TOUCHED:
            for span in spans:
                self._touched.add(span.chunk)
        return _ForgivingHits(reader.hits(spans), partial(self._give_up, reader))

    def replace_origins(self, origins: Sequence[Origin], renew: Renew) -> None:
        """Ask for the same places with the credentials of *origins* from now on, later *renew*."""
        self._renew = renew
        self._use(tuple(origins))

    async def cached_bytes(self, ref: ObjectRef) -> int:
        """Return how many bytes of an object can be read without fetching any.

        Takes time for the chunks that are here, not for the object's size, which may be a lie.
        """
        size = 0
        start: int | None = 0
        while start is not None:
            if self._reader is None:
                return 0
            some, start = self._reader.readable_bytes(ref.digest, start)
            size += some
            await anyio.lowlevel.checkpoint()
        return size

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
        for group in _by_object(wants, _MAX_INDICES):
            self._link.tell_nowait(Prefetch(*_object_fields(group)))

    async def read(self, origin_index: int, ref: ObjectRef, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)` of an object, from the cache or by way of it."""
        spans = list(spans_of(ref, start, stop))
        return await self._read(_wants_of(origin_index, ref, start, stop), spans, {})

    async def reread(
        self, origin_index: int, ref: ObjectRef, start: int, stop: int, bad: bytes
    ) -> bytes:
        """Return the bytes of a range again, for which *bad* came, which cannot be right.

        They are fetched anew, unless the cache has others by now: of those who meet the same
        damage one after the other, the first has it mended.
        """
        spans = list(spans_of(ref, start, stop))
        wants = _wants_of(origin_index, ref, start, stop)
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
            *((group, False) for group in _by_object(plain, _MAX_INDICES)),
            *((group, True) for group in _by_object(again, _MAX_CARRIED)),
        ]
        requests = [
            (group[0].ref, Fill(0, *_object_fields(group), carry)) for group, carry in groups
        ]
        return await self._request(wants, requests)

    async def _refill(self, wants: Sequence[Want]) -> dict[ChunkId, bytes]:
        """Have chunks replaced, object by object, and wait for all."""
        groups = _by_object(wants, _MAX_INDICES)
        requests = [(group[0].ref, Reject(0, *_object_fields(group))) for group in groups]
        return await self._request(wants, requests)

    async def _request(
        self, wants: Sequence[Want], requests: Sequence[tuple[ObjectRef, Fill | Reject]]
    ) -> dict[ChunkId, bytes]:
        """Send requests that make *wants* readable, and wait for all; return what was carried."""
        carried: dict[ChunkId, bytes] = {}
        with ExitStack() as stack:
            sent = [
                (ref, stack.enter_context(self._link.requested(message)))
                for ref, message in requests
            ]
            for ref, request in sent:
                answer = await request.answered()
                carried |= {ref.chunk_id(i): data for i, data in answer.items()}
        self._note_filled(want.chunk for want in wants if want.chunk not in carried)
        return carried

    def _is_missed(self, chunk: ChunkId) -> bool:
        """Say whether a chunk was filled a moment ago and still cannot be read."""
        if self._reader is None:
            return True
        recently = anyio.current_time() - _MISSED_SECONDS
        return self._filled.get(chunk, recently) > recently and not self._reader.present(chunk)

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

    # The reader and its files ----------------------------------------------------------------

    def _follow(self, generation: bytes) -> None:
        """Read the files that the service writes now, if they are others than before."""
        if generation != self._generation:
            self._generation = generation
            self._reopen()

    def _reopen(self) -> None:
        """Open the cache's files; where that cannot be, the service hands out bytes."""
        self._close_reader()
        if not self._generation:
            return
        try:
            self._reader = ChunkReader(self._directory)
        except CacheUnusableError as error:
            log.log(self._reopen_level, "reading without the map: %s", error)
            self._reopen_level = logging.DEBUG
        else:
            self._reopen_level = logging.WARNING

    def _give_up(self, reader: ChunkReader, error: CacheUnusableError) -> None:
        """Go on without the map, after it could not be read; `_tick` opens it anew."""
        if self._reader is reader:
            log.warning("cannot read the cache's map: %s", error)
            self._close_reader()

    def _close_reader(self) -> None:
        """Close the reader; blocks that use it are still good."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    async def _tick(self) -> None:
        """Every second report what was read, and look whether the files are still the same."""
        while True:
            await anyio.sleep(_TICK_SECONDS)
            self._report_touched()
            if self._reader is None or self._reader.stale():
                self._reopen()

    def _report_touched(self) -> None:
        """Tell the service which chunks were read, so that it keeps what is used."""
        touched, self._touched = list(self._touched), set()
        for start in range(0, len(touched), MAX_TOUCHES):
            self._link.tell_nowait(Touch(list(touched[start : start + MAX_TOUCHES])))


class _ForgivingHits:
    """A block of hits in which a map that cannot be read is a miss. A class is cheaper."""

    __slots__ = ("_entered", "_give_up", "_hits")

    def __init__(self, hits: Hits, give_up: Callable[[CacheUnusableError], None]) -> None:
        self._hits = hits
        self._give_up = give_up
        self._entered = True

    def __enter__(self) -> list[memoryview] | None:
        try:
            return self._hits.__enter__()
        except CacheUnusableError as error:
            self._entered = False
            self._give_up(error)
            return None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._entered:
            self._hits.__exit__(exc_type, exc, traceback)


def _root(origin: Origin) -> str:
    return origin.root


def spans_of(ref: ObjectRef, start: int, stop: int) -> Iterator[Span]:
    """Yield the pieces of chunks that make up the bytes `[start, stop)` of an object, in order."""
    for index in range(start // ref.chunk_size, -(-stop // ref.chunk_size)):
        first, last = ref.chunk_range(index)
        yield Span(
            ref.chunk_id(index), last - first, max(start, first) - first, min(stop, last) - first
        )


def _wants_of(origin_index: int, ref: ObjectRef, start: int, stop: int) -> list[Want]:
    """Return the chunks in which the bytes `[start, stop)` of an object lie."""
    indices = range(start // ref.chunk_size, -(-stop // ref.chunk_size))
    return [Want(origin_index, ref, index) for index in indices]


def _by_object(wants: Sequence[Want], max_count: int) -> Iterator[list[Want]]:
    """Group wants by origin and object, at most *max_count* to a group."""
    groups: dict[tuple[int, bytes], list[Want]] = {}
    for want in wants:
        group = groups.setdefault((want.origin_index, want.ref.digest), [])
        group.append(want)
    for group in groups.values():
        yield from (group[start : start + max_count] for start in range(0, len(group), max_count))


def _object_fields(
    group: Sequence[Want],
) -> tuple[int, str, int, str | None, int, list[int], list[int | None]]:
    """Return what a message says of the chunks of one object."""
    ref = group[0].ref
    indices = [want.index for want in group]
    hashes = [want.expected_hash for want in group]
    known = any(h is not None for h in hashes)
    origin = group[0].origin_index
    return origin, ref.key, ref.size, ref.version, ref.chunk_size, indices, hashes if known else []
