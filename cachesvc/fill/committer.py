"""The one task through which everything that touches the chunk store goes, in batches.

Knows what becomes of chunks when the disk is full, the directory is gone or LMDB is damaged. Knows
nothing of object storage or clients.

Blocking calls run in a thread, one batch at a time: all that was queued meanwhile is the next
batch, so a busy service commits many chunks at once and an idle one commits at once. `Residents` is
touched in the event loop only, never in the thread.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from cachesvc.chunk import ChunkId
from cachesvc.errors import CacheDamagedError, CacheUnusableError
from cachesvc.fill.batch import Batch, Call, ChunkTable, Put
from cachesvc.fill.residents import Residents
from cachesvc.metrics import Metrics
from cachesvc.store.chunkstore import ChunkState, NewChunk
from cachesvc.store.slab import stored_size
from cachesvc.units import MIB

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK_SECONDS = 1.0
STALL_SECONDS = 5.0
"""A batch that takes longer than this is not waited for: its bytes are carried."""

_REOPEN_SECONDS = (1.0, 60.0)
_BATCH_SIZE = 32 * MIB
_BATCH_COUNT = 512
_HOT_COUNT = 1024
_READER_CHECK_TICKS = 10


class Committer:
    """Owns the chunk store and what is known of its content.

    A store that cannot be used is closed and opened anew at growing intervals; meanwhile nothing is
    stored, `put` says so, and `generation` is empty.
    """

    def __init__(
        self,
        open_table: Callable[[], ChunkTable],
        new_residents: Callable[[], Residents],
        metrics: Metrics,
    ) -> None:
        """Open the store with *open_table*, in the thread, at first and whenever it broke."""
        self._open_table = open_table
        self._new_residents = new_residents
        self._metrics = metrics
        self._residents = new_residents()
        self._table: ChunkTable | None = None
        self._puts: deque[Put] = deque()
        self._calls: list[Call] = []
        self._condemned: list[ChunkId] = []
        self._work = anyio.Event()
        self._current: Batch | None = None
        self._current_since = 0.0
        self._reopen_at = 0.0
        self._reopen_delay = _REOPEN_SECONDS[0]
        self._moved = False

    @property
    def generation(self) -> bytes:
        """The generation of the store's files; empty while there is no usable store."""
        return b"" if self._table is None else self._table.generation

    @property
    def residents(self) -> Residents:
        """What is stored. To be looked at between two awaits."""
        return self._residents

    def directory_moved(self) -> None:
        """Close the store and open it anew: its directory is not the one that it was opened in."""
        self._moved = True
        self._work.set()

    def touch(self, chunks: Iterable[ChunkId]) -> None:
        """Take note that *chunks* were read."""
        for chunk in chunks:
            self._residents.touch(chunk)

    async def put(self, entries: Sequence[NewChunk]) -> bool:
        """Store chunks; returns whether they can be read now. If not, answer with the bytes."""
        if self._table is None or self._is_stalled():
            return False
        put = Put(entries)
        self._puts.append(put)
        self._work.set()
        await put.done.wait()
        return put.stored

    async def ask(self, function: Callable[[ChunkTable], T]) -> T:
        """Call *function* with the store, in the thread, between two batches."""
        if self._table is None:
            raise _unusable()
        call = Call(function)
        self._calls.append(call)
        self._work.set()
        await call.done.wait()
        if not call.answered:
            raise _unusable()
        result: T = call.result
        return result

    async def verified(self, chunk: ChunkId) -> bool:
        """Say whether a chunk can be read, checking its bytes when that is due."""
        try:
            good = await self.ask(lambda table: table.verify(chunk))
        except CacheUnusableError:
            good = False
        if good:
            self._residents.trust(chunk)
        else:
            self.rejected([chunk])
        return good

    def rejected(self, chunks: Sequence[ChunkId]) -> None:
        """Forget chunks that turned out to be damaged, and are gone from the store."""
        for chunk in chunks:
            self._residents.drop(chunk)
        self._metrics.chunks_rejected += len(chunks)

    async def shrink(self, size: int) -> int:
        """Evict until at most *size* bytes are stored; returns how many chunks went."""
        count = 0
        while excess := max(0, self._residents.size - size):
            victims = self._residents.victims(min(excess, _BATCH_SIZE), anyio.current_time())
            if not victims:
                break
            await self._delete(victims)
            count += len(victims)
        return count

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled, then close the store cleanly. Started once the store is open."""
        await self._open()
        task_status.started()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tick)
                await self._serve()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()

    async def _delete(self, victims: Sequence[ChunkId]) -> None:
        """Delete chunks from the store that count as gone already.

        They are evictions of the next batch, which come before its puts: a victim that is fetched
        again meanwhile stays.
        """
        self._condemned.extend(victims)
        await self.ask(lambda _table: None)

    async def _serve(self) -> None:
        """Work off whatever is queued, for ever."""
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            if self._moved:
                await self._close()
            if self._table is None and anyio.current_time() >= self._reopen_at:
                await self._open()
            while self._table is not None and (batch := self._next_batch()):
                await self._commit(self._table, batch)

    async def _tick(self) -> None:
        """Wake the loop every second, and answer for it when the disk holds it up."""
        ticks = 0
        while True:
            await anyio.sleep(TICK_SECONDS)
            ticks += 1
            if ticks % _READER_CHECK_TICKS == 0 and self._table is not None:
                self._calls.append(Call(lambda table: table.check_readers()))
            if self._is_stalled():
                self._give_up_puts()
            self._work.set()

    # Batches ---------------------------------------------------------------------------------

    def _next_batch(self) -> Batch:
        """Return all that is queued, within the bounds of a batch."""
        puts = self._take_puts()
        incoming = sum(put.size for put in puts)
        # Hot marks wait for company: nobody waits for them.
        many = self._residents.newly_hot_count >= _HOT_COUNT
        calls, self._calls = self._calls, []
        condemned, self._condemned = self._condemned, []
        return Batch(
            evictions=[*condemned, *self._residents.due(incoming, anyio.current_time())],
            hot=self._residents.newly_hot() if many else (),
            puts=puts,
            calls=calls,
        )

    def _take_puts(self) -> list[Put]:
        """Take puts from the queue until a batch is full."""
        taken: list[Put] = []
        size = 0
        while self._puts and len(taken) < _BATCH_COUNT and size < _BATCH_SIZE:
            put = self._puts.popleft()
            size += put.size
            taken.append(put)
        return taken

    async def _commit(self, table: ChunkTable, batch: Batch) -> None:
        """Let the thread apply a batch; when there was no room, evict and try once more."""
        try:
            await self._apply(table, batch)
            if batch.full:
                retry = Batch(evictions=self._emergency(batch.puts), puts=batch.puts)
                await self._apply(table, retry)
                batch.full = retry.full
        except Exception as error:  # noqa: BLE001  whatever LMDB raises, the service goes on without it
            await self._break(error)
        self._settle(batch)

    async def _apply(self, table: ChunkTable, batch: Batch) -> None:
        """Run one batch in the thread."""
        self._current, self._current_since = batch, anyio.current_time()
        try:
            await anyio.to_thread.run_sync(batch.apply, table)
        finally:
            self._current = None
        self._metrics.commits += bool(batch.puts)
        self._metrics.chunks_evicted += len(batch.evictions)

    def _emergency(self, puts: Iterable[Put]) -> list[ChunkId]:
        """Return what to evict when the disk is full: twice what comes, or 2 % of what is there."""
        needed = max(2 * sum(put.size for put in puts), self._residents.size // 50)
        return self._residents.victims(needed, anyio.current_time())

    def _settle(self, batch: Batch) -> None:
        """Tell everyone who waits for a batch what became of it."""
        stored = self._table is not None and not batch.full
        for put in batch.puts:
            if stored:
                self._reopen_delay = _REOPEN_SECONDS[0]
                self._admit(put.entries)
            elif batch.full:
                self._drop_replaced(put.entries)
            put.settle(stored=stored)
        for call in batch.calls:
            call.done.set()
        if batch.full:
            self._metrics.commits_refused += 1
            self._residents.disk_full(anyio.current_time())

    def _admit(self, entries: Iterable[NewChunk]) -> None:
        """Count chunks as stored."""
        now = anyio.current_time()
        for entry in entries:
            self._residents.admit(entry.chunk, stored_size(len(entry.data)), now)
            self._metrics.chunks_admitted += 1

    def _drop_replaced(self, entries: Iterable[NewChunk]) -> None:
        """Forget what lay in the place of chunks that found no room: the store deleted it."""
        for entry in entries:
            self._residents.drop(entry.chunk)

    # A slow disk -----------------------------------------------------------------------------

    def _is_stalled(self) -> bool:
        """Say whether the batch in the thread takes unreasonably long."""
        late = anyio.current_time() - self._current_since > STALL_SECONDS
        return self._current is not None and late

    def _give_up_puts(self) -> None:
        """Let those who wait answer with the bytes; what is in the thread may finish."""
        for put in (*(self._current.puts if self._current else ()), *self._puts):
            put.settle(stored=False)
        self._puts.clear()

    # A store that broke ----------------------------------------------------------------------

    async def _open(self) -> None:
        """Open the store and take stock, or try again later."""
        try:
            self._table = await anyio.to_thread.run_sync(self._open_table)
            self._residents = await anyio.to_thread.run_sync(self._take_stock, self._table)
        except Exception as error:  # noqa: BLE001  a service without a store still serves bytes
            await self._break(error)

    def _take_stock(self, table: ChunkTable) -> Residents:
        """Count what the store holds, in the thread."""
        residents = self._new_residents()
        for stored in table.scan():
            doubtful = stored.state is ChunkState.UNVERIFIED
            residents.restore(stored.chunk, stored.size, hot=stored.hot, doubtful=doubtful)
        return residents

    async def _break(self, error: Exception) -> None:
        """Go on without a store, and have it opened anew after a while."""
        expected = isinstance(error, CacheUnusableError)
        log.error("going on without the cache: %s", error, exc_info=None if expected else error)
        self._metrics.store_breaks += 1
        self._reopen_at = anyio.current_time() + self._reopen_delay
        self._reopen_delay = min(2 * self._reopen_delay, _REOPEN_SECONDS[1])
        await self._close(damaged=isinstance(error, CacheDamagedError))

    async def _close(self, *, damaged: bool = False) -> None:
        """Close the store if there is one; those who wait learn that nothing is stored."""
        table, self._table = self._table, None
        self._moved = False
        if table is not None:
            hot = self._residents.newly_hot()
            await anyio.to_thread.run_sync(_close_table, table, () if damaged else hot, damaged)
        self._residents = self._new_residents()
        self._give_up_puts()
        calls, self._calls = self._calls, []
        self._settle(Batch(calls=calls))


def _close_table(table: ChunkTable, hot: Sequence[ChunkId], damaged: bool) -> None:
    """Close a store that may be broken; throw away one that is damaged."""
    try:
        if hot:
            table.mark_hot(hot)
    except Exception:
        log.debug("could not remember which chunks are hot", exc_info=True)
    try:
        (table.discard if damaged else table.close)()
    except Exception:
        log.exception("could not close the cache cleanly")


def _unusable() -> CacheUnusableError:
    """Return the error for questions that nobody can answer now."""
    return CacheUnusableError("the cache cannot be used at the moment; its service's log says why")
