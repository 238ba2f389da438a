"""Verified chunks on disk: put, read, verify, delete; the order of commits and what a crash leaves.

The index and the two classes of slabs are LMDB environments that do not commit together, so each
change passes through a state that nobody reads. A chunk to be written is *partial* in the index
(commit), its slabs are written (commit), a record takes the place of the intent (commit). Deleting
goes the other way: record to partial, slabs away, intent away. Whatever stops in between, a full
disk included, leaves partial chunks, and the next change or the next start clears them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

from cachesvc.chunk import ChunkId, Span, checksum
from cachesvc.config import CacheConfig
from cachesvc.errors import CacheFullError
from cachesvc.store.index import MAX_PARTIAL, Record
from cachesvc.store.lmdbenv import Environment, translated_errors, viewing, writing
from cachesvc.store.slab import CLASSES, SlabClass, class_of, slab_keys, slabs_of, stored_size
from cachesvc.store.storefiles import StoreFiles
from cachesvc.units import MIB

T = TypeVar("T")

COMMIT_SIZE = 16 * MIB
"""A write transaction holds its values in memory, and lists the pages it frees in one record."""


class ChunkState(Enum):
    """Whether a chunk that is there may be read."""

    PRESENT = "present"
    """Its bytes matched their checksum in this run of the cache, or in one that ended cleanly."""
    UNVERIFIED = "unverified"
    """Written before an unclean stop: to be verified before anybody reads it."""


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be stored, its bytes already checked. `label` names its object in logs."""

    chunk: ChunkId
    data: bytes | bytearray | memoryview
    label: str = ""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """What the index says of one chunk: `length` bytes that take `size` bytes on disk."""

    chunk: ChunkId
    length: int
    size: int
    state: ChunkState
    hot: bool
    label: str


@dataclass(frozen=True, slots=True)
class Usage:
    """How full the cache is. `slab_bytes` counts against the capacity, `file_bytes` lie on disk."""

    chunk_count: int
    stored_bytes: int
    slab_bytes: int
    file_bytes: int


def no_crash(point: str) -> None:
    """Do nothing at a crash point."""


class ChunkStore:
    """The chunks of one cache directory. Blocking; used by the service's single writer thread only.

    The owner holds the lock `config.lock` from before this opens until after it is closed. Every
    method leaves a consistent store behind, also when it raises or its process dies in it. After a
    CacheDamagedError the owner calls `discard` and opens another store.
    """

    def __init__(self, config: CacheConfig, crash_point: Callable[[str], None] = no_crash) -> None:
        """Open the store or begin it anew; CacheUnusableError where neither is possible."""
        self._config = config
        self._crash_point = crash_point
        self._files = StoreFiles(config, crash_point)
        self._index = self._files.index
        try:
            with suppress(CacheFullError):  # then the next change does it
                self._clear_partial()
            self._files.opened()
        except BaseException:
            self._files.release()
            raise

    @property
    def generation(self) -> bytes:
        """Which files these are: another generation means that readers must open anew."""
        return self._index.meta.generation

    def state(self, chunk: ChunkId) -> ChunkState | None:
        """Return whether *chunk* may be read; None where it is not stored."""
        record = self._index.get(chunk)
        return None if record is None else self._state_of(record)

    def verify(self, chunk: ChunkId) -> bool:
        """Compare a chunk with its checksum: trusted from now on if equal, else deleted."""
        record = self._index.get(chunk)
        if record is None:
            return False
        data = self._slab_bytes(chunk, record)
        if data is None or checksum(data) != record.checksum:
            self.delete([chunk])
            return False
        if record.run != self._index.meta.run:
            self._index.rewrite({chunk: replace(record, run=self._index.meta.run)})
        return True

    def put(self, entries: Sequence[NewChunk]) -> None:
        """Store chunks, many to a commit, in the place of those stored under their ids.

        Raises CacheFullError when there is no room on the disk or in the map: none is stored then.
        """
        wanted = {entry.chunk: entry for entry in entries}
        try:
            self.delete(wanted)
            for batch in _batches(wanted.values(), lambda entry: len(entry.data)):
                self._put_batch(batch)
        except CacheFullError:
            self.delete(wanted)
            raise

    def delete(self, chunks: Iterable[ChunkId]) -> None:
        """Delete chunks; those not stored are passed over. Who is just reading one keeps it."""
        records = self._index.records(chunks)
        for batch in _batches(records.items(), lambda item: item[1].length):
            self._clear_partial()
            self._withdraw({chunk: record.length for chunk, record in batch})
            self._clear_partial()

    def read(self, chunk: ChunkId) -> bytes | None:
        """Return the bytes of a chunk that is PRESENT."""
        record = self._index.get(chunk)
        if record is None or self._state_of(record) is not ChunkState.PRESENT:
            return None
        return self._slab_bytes(chunk, record)

    def usage(self) -> Usage:
        """Return how full the cache is."""
        meta = self._index.meta
        return Usage(meta.chunk_count, meta.stored_bytes, meta.slab_bytes, self._files.total_size())

    def scan(self) -> Iterator[StoredChunk]:
        """Yield all chunks in the order of their admission. The store may change meanwhile."""
        for chunk in self._index.chunks_in_order():
            record = self._index.get(chunk)
            if record is not None:
                yield self._stored(chunk, record)

    def mark_hot(self, chunks: Iterable[ChunkId]) -> None:
        """Remember, across restarts, that chunks were used again."""
        records = self._index.records(chunks)
        cold = {c: replace(record, hot=True) for c, record in records.items() if not record.hot}
        if cold:
            self._index.rewrite(cold)

    def check_readers(self) -> int:
        """Free the slots of readers that died, and so the pages they pinned; return how many."""
        with translated_errors(self._config.directory):
            return sum(env.reader_check() for env in self._files.environments())

    def close(self) -> None:
        """Stop cleanly: what is stored is on disk now, and trusted at the next start."""
        self._files.close()

    def discard(self) -> None:
        """Close, and delete everything that is stored."""
        self._files.discard()

    def _put_batch(self, entries: Sequence[NewChunk]) -> None:
        self._clear_partial()
        self._require_room(entries)
        self._withdraw({entry.chunk: len(entry.data) for entry in entries})
        for slabs, env in self._files.slabs.items():
            _write_slabs(env, [entry for entry in entries if class_of(len(entry.data)) is slabs])
            self._crash_point(f"put.{slabs.name}")
        self._index.admit(self._records_of(entries))
        self._crash_point("put.done")

    def _records_of(self, entries: Sequence[NewChunk]) -> dict[ChunkId, Record]:
        meta = self._index.meta
        runs = self._files.slab_runs({entry.chunk: len(entry.data) for entry in entries})
        return {
            entry.chunk: Record(
                run=meta.run,
                length=len(entry.data),
                sequence=sequence,
                checksum=checksum(entry.data),
                hot=False,
                label=entry.label,
                slab_runs=runs[entry.chunk],
            )
            for sequence, entry in enumerate(entries, start=meta.next_sequence)
        }

    def _withdraw(self, lengths: Mapping[ChunkId, int]) -> None:
        self._index.withdraw(lengths)
        self._crash_point("withdrawn")

    def _clear_partial(self) -> None:
        """Delete all partial chunks, whatever there is of them."""
        partial = self._index.partial
        if not partial:
            return
        for slabs, env in self._files.slabs.items():
            _delete_slabs(env, {c: n for c, n in partial.items() if class_of(n) is slabs})
            self._crash_point(f"clear.{slabs.name}")
        self._index.forget_partial()
        self._crash_point("clear.done")

    def _require_room(self, entries: Sequence[NewChunk]) -> None:
        """Keep the files near the capacity, and leave some of the disk to its other users."""
        growth = sum(self._growth(slabs, entries) for slabs in CLASSES)
        if growth == 0:
            return
        if self._files.slabs_size() + growth > self._files.max_size and not self._files.compact():
            raise CacheFullError(
                f"cache at {self._config.directory} has no free pages: it holds too much"
            )
        if self._files.disk_free() - growth < self._config.free_floor:
            raise CacheFullError(
                f"cache at {self._config.directory} may not grow: less than "
                f"{self._config.free_floor // MIB} MiB would stay free; free some disk space"
            )

    def _growth(self, slabs: SlabClass, entries: Iterable[NewChunk]) -> int:
        """Return by how much a class's file may grow: not while it has enough free pages."""
        lengths = [len(entry.data) for entry in entries]
        needed = sum(stored_size(length) for length in lengths if class_of(length) is slabs)
        return needed if needed and self._files.free_size(slabs) < needed else 0

    def _slab_bytes(self, chunk: ChunkId, record: Record) -> bytes | None:
        """Return a chunk's bytes as they lie in the slabs, None where one is missing."""
        length = record.length
        with viewing(self._index.env) as index:
            self._files.paging.need(Span(chunk, length, 0, length), record.encode(), index.get)
        with viewing(self._files.slabs[class_of(length)]) as txn:
            pieces = [txn.get(key) for key in slab_keys(chunk, length)]
            whole = [piece for piece in pieces if piece is not None]
            return b"".join(whole)[:length] if len(whole) == len(pieces) else None

    def _state_of(self, record: Record) -> ChunkState:
        trusted = record.run >= self._index.meta.trusted_run
        return ChunkState.PRESENT if trusted else ChunkState.UNVERIFIED

    def _stored(self, chunk: ChunkId, record: Record) -> StoredChunk:
        return StoredChunk(
            chunk=chunk,
            length=record.length,
            size=stored_size(record.length),
            state=self._state_of(record),
            hot=record.hot,
            label=record.label,
        )


def _write_slabs(env: Environment, entries: Sequence[NewChunk]) -> None:
    if not entries:
        return
    with writing(env) as txn:
        for entry in entries:
            for key, value in slabs_of(entry.chunk, entry.data):
                txn.put(key, value)


def _delete_slabs(env: Environment, lengths: Mapping[ChunkId, int]) -> None:
    if not lengths:
        return
    with writing(env) as txn:
        for chunk, length in lengths.items():
            for key in slab_keys(chunk, length):
                txn.delete(key)


def _batches(items: Iterable[T], length_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut *items* into lists for one change each: up to COMMIT_SIZE, but one item at least."""
    batch: list[T] = []
    size = 0
    for item in items:
        full = len(batch) == MAX_PARTIAL or size + length_of(item) > COMMIT_SIZE
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length_of(item)
    if batch:
        yield batch
