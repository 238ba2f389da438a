"""Hit or fill: makes the chunks of objects readable, fetching each of them once.

Knows the order of things: held and verified, or already on its way, or fetched in ranges that are
as large as is useful, checked, and handed to the committer. Knows nothing of sockets or of LMDB.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import Protocol

import anyio
import anyio.abc

from cachesvc.chunk import ChunkId, ObjectRef, checksum
from cachesvc.errors import CacheUnusableError, ChunkCorruptError, HeadraceError, StoreError
from cachesvc.fill.committer import Committer
from cachesvc.fill.gate import FetchGate, Pass, Urgency
from cachesvc.fill.parts import fetch_in_parts
from cachesvc.fill.singleflight import Flight, FlightAbandonedError, SingleFlight
from cachesvc.metrics import Metrics
from cachesvc.store.chunkstore import NewChunk
from cachesvc.store.slab import Data
from cachesvc.units import MIB

log = logging.getLogger(__name__)

MAX_RANGE_SIZE = 16 * MIB
"""One connection yields 48, 60, 69 MB/s with ranges of 4, 8, 16 MiB and 30 ms to the first byte."""

_MAX_ROUNDS = 3


class RangeSource(Protocol):
    """Where bytes of objects come from, as whoever mounted asks for them; retries are inside."""

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> Data:
        """Return exactly these bytes of that version of the object."""
        ...


Deliver = Callable[[int, Data], Awaitable[None]]
"""Takes the index of a chunk and its bytes, when the chunk could not be cached."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Chunks of one object that somebody wants to read, and the hashes that a manifest gives."""

    source: RangeSource
    ref: ObjectRef
    indices: Sequence[int]
    hashes: Mapping[int, int] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Run:
    """Adjacent chunks of one object that are fetched as one range, and who wants them carried."""

    wanted: Wanted
    first: int
    last: int
    urgency: InitVar[Urgency]
    audience: list[tuple[int, Deliver]] = field(default_factory=list)
    held: Pass = field(init=False)
    """The run's place at the gate."""

    def __post_init__(self, urgency: Urgency) -> None:
        """Ask for as much room as the bytes take."""
        start, stop = self.bounds
        self.held = Pass(stop - start, urgency)

    @property
    def indices(self) -> range:
        """The chunks' numbers."""
        return range(self.first, self.last + 1)

    @property
    def bounds(self) -> tuple[int, int]:
        """The half-open byte range of all chunks together."""
        ref = self.wanted.ref
        return ref.chunk_range(self.first)[0], ref.chunk_range(self.last)[1]


def runs_of(indices: Sequence[int], chunk_size: int) -> Iterator[tuple[int, int]]:
    """Join adjacent chunk numbers into (first, last) of at most MAX_RANGE_SIZE bytes, in order."""
    most = max(1, MAX_RANGE_SIZE // chunk_size)
    first = last = -1
    for index in sorted(set(indices)):
        if first >= 0 and index == last + 1 and index - first < most:
            last = index
            continue
        if first >= 0:
            yield first, last
        first = last = index
    if first >= 0:
        yield first, last


ChunkFlight = Flight[ChunkId, Run]


class ChunkCache:
    """Fills chunks on behalf of many clients.

    Flights that nobody carries inline run in *tasks*. Whoever calls `fill` should be a task of the
    service too, not of one connection: it may be fetching for others.
    """

    def __init__(
        self,
        committer: Committer,
        gate: FetchGate,
        tasks: anyio.abc.TaskGroup,
        metrics: Metrics,
    ) -> None:
        """Store through *committer*, fetch within *gate*."""
        self._committer = committer
        self._gate = gate
        self._tasks = tasks
        self._metrics = metrics
        self._flights: SingleFlight[ChunkId, Run] = SingleFlight()

    async def fill(
        self, wanted: Wanted, deliver: Deliver, urgency: Urgency = Urgency.DEMAND
    ) -> None:
        """Return when all chunks are in the cache, or were delivered because they cannot be.

        A fetch that failed for somebody else is tried again as *wanted.source* before it counts.
        """
        self._metrics.chunks_wanted += len(wanted.indices)
        missing = [i for i in wanted.indices if not await self._held(wanted.ref.chunk_id(i))]
        await self._bring(wanted, missing, deliver, urgency)

    async def refetch(self, wanted: Wanted, deliver: Deliver) -> None:
        """Fetch chunks that somebody found wrong, though they be held; as `fill` otherwise.

        What is held stays until other bytes have come: a client that is mistaken costs a fetch.
        """
        ref = wanted.ref
        log.warning("%s/%s: a client found damage in it; fetching anew", ref.root, ref.key)
        self._metrics.chunks_disputed += len(wanted.indices)
        await self._bring(wanted, wanted.indices, deliver, Urgency.DEMAND, anew=True)

    def lacks(self, chunk: ChunkId) -> bool:
        """Say whether a chunk can be read neither now nor when the fetches under way are done."""
        return (
            not self._committer.residents.is_readable(chunk) and self._flights.find(chunk) is None
        )

    async def carry(self, wanted: Wanted, deliver: Deliver) -> None:
        """Deliver the bytes of all chunks, whether or not they are cached."""
        carried: set[int] = set()

        async def noting(index: int, data: Data) -> None:
            carried.add(index)
            await deliver(index, data)

        await self.fill(wanted, noting)
        for index in set(wanted.indices) - carried:
            await deliver(index, await self._read(wanted, index))

    async def _held(self, chunk: ChunkId) -> bool:
        """Say whether a chunk is stored, its bytes verified where that is due."""
        residents = self._committer.residents
        if chunk not in residents:
            return False
        self._metrics.chunks_held += 1
        return not residents.is_doubtful(chunk) or await self._committer.verified(chunk)

    async def _read(self, wanted: Wanted, index: int) -> Data:
        """Return a chunk's bytes from the store, or from the origin if the store lost it."""
        chunk = wanted.ref.chunk_id(index)
        try:
            data = await self._committer.ask(lambda table: table.read(chunk))
        except CacheUnusableError:
            data = None
        if data is not None:
            return data
        run = Run(wanted, index, index, Urgency.DEMAND)
        async with self._gate.holding(run.held):
            return (await self._fetch(run))[0].data

    async def _bring(
        self,
        wanted: Wanted,
        indices: Sequence[int],
        deliver: Deliver,
        urgency: Urgency,
        *,
        anew: bool = False,
    ) -> None:
        """Have *indices* fetched, *anew* also where they are held."""
        for _ in range(_MAX_ROUNDS):
            indices = await self._try_to_bring(wanted, indices, deliver, urgency, anew=anew)
            if not indices:
                return
        raise StoreError(f"{wanted.ref.key}: others' fetches of it keep failing; try again")

    async def _try_to_bring(
        self,
        wanted: Wanted,
        indices: Sequence[int],
        deliver: Deliver,
        urgency: Urgency,
        *,
        anew: bool,
    ) -> list[int]:
        """Join or start the flights that bring *indices*; return those to be tried again."""
        joined = self._join(wanted.ref, indices, deliver, urgency)
        flying = {chunk for flight in joined for chunk in flight.keys}
        # Asked again: what was found missing a moment ago may have been brought meanwhile.
        held = () if anew else self._committer.residents
        chunks = {i: wanted.ref.chunk_id(i) for i in indices}
        absent = [i for i, chunk in chunks.items() if chunk not in flying and chunk not in held]
        own = [
            self._announce(Run(wanted, first, last, urgency), deliver)
            for first, last in runs_of(absent, wanted.ref.chunk_size)
        ]
        for flight in own[1:]:
            self._tasks.start_soon(self._carry_quietly, flight)
        if own:
            await self._flights.carry(own[0], partial(self._fly, own[0].cargo))
        for flight in own[1:]:
            await flight.wait()
        again: list[int] = []
        for flight in joined:
            if not await self._arrived(flight, wanted.source):
                again += [i for i, chunk in chunks.items() if chunk in flight.keys]
        return again

    def _join(
        self, ref: ObjectRef, indices: Sequence[int], deliver: Deliver, urgency: Urgency
    ) -> list[ChunkFlight]:
        """Return the flights under way that bring some of *indices*, listening to them.

        What was to be fetched ahead goes with demand once a reader waits for it.
        """
        joined: dict[int, ChunkFlight] = {}
        for index in indices:
            flight = self._flights.find(ref.chunk_id(index))
            if flight is not None:
                flight.cargo.audience.append((index, deliver))
                if urgency is Urgency.DEMAND:
                    self._gate.hasten(flight.cargo.held)
                joined[id(flight)] = flight
                self._metrics.chunks_joined += 1
        return list(joined.values())

    def _announce(self, run: Run, deliver: Deliver) -> ChunkFlight:
        """Register the flight of a run whose chunks nobody is fetching."""
        run.audience.extend((index, deliver) for index in run.indices)
        return self._flights.announce(map(run.wanted.ref.chunk_id, run.indices), run)

    async def _arrived(self, flight: ChunkFlight, source: RangeSource) -> bool:
        """Wait for a flight of somebody else; False where its failure may be theirs alone."""
        try:
            await flight.wait()
        except FlightAbandonedError:
            return False
        except StoreError:
            if flight.cargo.wanted.source is source:
                raise
            return False
        return True

    async def _carry_quietly(self, flight: ChunkFlight) -> None:
        """Carry a flight in a task of its own; those who wait for it learn of its failure."""
        try:
            await self._flights.carry(flight, partial(self._fly, flight.cargo))
        except HeadraceError as error:
            log.debug("a fetch failed: %s", error)
        except Exception:
            log.exception("a fetch of %s failed", flight.cargo.wanted.ref.key)

    async def _fly(self, run: Run) -> None:
        """Fetch a run, and store it or else deliver it; all of its bytes are gone afterwards."""
        async with self._gate.holding(run.held):
            entries = await self._fetch(run)
            self._gate.fetched(run.held)
            if not await self._committer.put(entries):
                await self._deliver(run, entries)

    async def _deliver(self, run: Run, entries: Sequence[NewChunk]) -> None:
        """Give the bytes to all who wait for them, those included who join meanwhile."""
        for index, deliver in run.audience:
            self._metrics.chunks_carried += 1
            await deliver(index, entries[index - run.first].data)

    async def _fetch(self, run: Run) -> list[NewChunk]:
        """Return the run's chunks, verified; a second fetch gets the chance to mend the first."""
        for _ in range(2):
            data = await self._fetch_range(run)
            bad = _corrupt_chunk(run, data)
            if bad is None:
                return _entries(run, data)
            self._metrics.ranges_corrupt += 1
        message = (
            f"{run.wanted.ref.key}: chunk {bad} does not match the hash in its manifest, twice"
        )
        log.error("%s/%s", run.wanted.ref.root, message)
        raise ChunkCorruptError(message)

    async def _fetch_range(self, run: Run) -> Data:
        """Return the run's bytes, whose number is right, though they may still be wrong."""
        start, stop = run.bounds
        ref = run.wanted.ref
        get = partial(run.wanted.source.get_range, ref.key, version=ref.version)
        data = await fetch_in_parts(get, start, stop, run.held.part_count)
        if len(data) != stop - start:
            raise StoreError(f"{ref.key}: {len(data)} bytes came where {stop - start} were due")
        self._metrics.ranges_fetched += run.held.part_count
        self._metrics.chunks_fetched += len(run.indices)
        self._metrics.bytes_fetched += len(data)
        return data


def _pieces(run: Run, data: Data) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each chunk in the data of a run."""
    view = memoryview(data)
    offset = run.bounds[0]
    for index in run.indices:
        start, stop = run.wanted.ref.chunk_range(index)
        yield index, view[start - offset : stop - offset]


def _corrupt_chunk(run: Run, data: Data) -> int | None:
    """Return the first chunk that does not match its hash, if there is one."""
    hashes = run.wanted.hashes
    for index, piece in _pieces(run, data) if hashes else ():
        if index in hashes and checksum(piece) != hashes[index]:
            return index
    return None


def _entries(run: Run, data: Data) -> list[NewChunk]:
    """Return what is to be stored of the data of a run."""
    ref = run.wanted.ref
    return [NewChunk(ref.chunk_id(index), piece, ref.key) for index, piece in _pieces(run, data)]
