"""Reading chunks straight from the LMDB map, in any process but the writer's. It never waits.

Opened after a fork, never before: LMDB knows its readers by their process. Each request reads
within transactions of its own that end with it: an open one keeps the writer from reusing pages.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from cachesvc.chunk import ChunkId, Span
from cachesvc.errors import CacheDamagedError
from cachesvc.store.index import META_KEY, RECORD, run_and_length_in, trusted_run_in
from cachesvc.store.lmdbenv import (
    Environment,
    LmdbError,
    MapResizedError,
    ViewTransaction,
    begin_viewing,
    error_of,
    viewing,
)
from cachesvc.store.maps import Maps, identities, release, shared_maps
from cachesvc.store.slab import SlabClass, class_of, slab_pieces

MALFORMED = (struct.error, IndexError)
"""What reading a record raises that is shorter than it should be."""
MAX_COUNTED = 1024
"""Records that `readable_chunks` looks at in one transaction: one that stays open pins pages."""


class ChunkReader:
    """The chunks that can be read at once. May be used by several threads of one process.

    Raises CacheUnusableError where there is no cache, or where reading it would be unsafe: on a
    read-only mount, in another PID namespace than the writer's, in a child of the process that
    opened it.
    """

    def __init__(self, directory: Path) -> None:
        """Open what the service keeps in *directory*."""
        self._directory = directory
        self._maps = shared_maps(directory)
        self._is_closed = False
        self.generation = self._maps.generation

    def hits(self, spans: Sequence[Span], *, waits: bool = True) -> Hits:
        """Read spans in a `with` block: it yields their bytes in order, None unless all are here.

        There is a view for each slab that a span touches, valid only inside the block. Unless it
        *waits* for the disk, what is not in memory is not here: it is on its way from then on.
        """
        return Hits(self._maps, spans, waits=waits)

    def present(self, chunk: ChunkId) -> bool:
        """Return whether a chunk can be read."""
        try:
            with Hits(self._maps, ()) as block:
                return block is not None and _is_trusted(self._maps.index, chunk)
        except MALFORMED as exc:
            raise _cut_short(self._maps.index) from exc

    def readable_chunks(self, digest: bytes, start: int = 0) -> tuple[dict[int, int], int | None]:
        """Return the lengths, by number, of chunks that can be read of the object with this
        *digest*, from chunk *start* on.

        Looks at `MAX_COUNTED` chunks at most, of those that are here; also returns the number of
        the chunk to go on from, None at the end.
        """
        try:
            with Hits(self._maps, ()) as block:
                return ({}, None) if block is None else _trusted(self._maps.index, digest, start)
        except MALFORMED as exc:
            raise _cut_short(self._maps.index) from exc

    def stale(self) -> bool:
        """Return whether other files lie in the directory now, or none: open another reader."""
        try:
            return identities(self._directory) != self._maps.files
        except OSError:
            return True

    def close(self) -> None:
        """Close, now or when the last `hits` block ends: its views would be left dangling."""
        if not self._is_closed:
            self._is_closed = True
            release(self._maps)


class Hits:
    """The block in which the bytes of some spans can be read; see `ChunkReader.hits`.

    A class and not a generator, which would cost a small hit 1 us more.
    """

    __slots__ = ("_map_grew", "_maps", "_spans", "_transactions", "_views", "_waits")

    def __init__(self, maps: Maps, spans: Sequence[Span], *, waits: bool = True) -> None:
        """Prepare to read; everything happens on entering the block."""
        self._waits = waits
        self._maps = maps
        self._spans = spans
        self._views: list[memoryview] = []
        self._transactions: list[ViewTransaction] = []
        self._map_grew = False

    def __enter__(self) -> list[memoryview] | None:
        """Return the views, None where a span is missing."""
        self._maps.enter()
        try:
            return self._views if self._find() else None
        except MapResizedError:
            self._map_grew = True  # a miss this time: other threads may hold views of the old map
            return None
        except LmdbError as exc:
            self._end()
            raise error_of(exc, self._maps.index.path()) from exc
        except MALFORMED as exc:
            self._end()
            raise _cut_short(self._maps.index) from exc
        except BaseException:
            self._end()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the block; its views are of no more use."""
        self._end()

    def _find(self) -> bool:
        """Collect the views; return whether all spans are here.

        The index is read before the slabs: a chunk that was deleted as corrupt and written anew in
        between is then right or missing. The other way round its old bytes would seem trusted.
        """
        if not self._trusts_all():
            return False
        began = time.monotonic()
        is_all = self._collects_all()
        self._maps.paging.took(time.monotonic() - began)
        return is_all

    def _trusts_all(self) -> bool:
        txn = begin_viewing(self._maps.index)
        self._transactions.append(txn)
        meta = txn.get(META_KEY)
        trusted_run = 0 if meta is None else trusted_run_in(meta)
        paging = self._maps.paging
        is_waiting = False
        for span in self._spans:
            record = txn.get(RECORD + span.chunk)
            if record is None:
                return False
            run, length = run_and_length_in(record)
            if run < trusted_run or length != span.chunk_length or span.stop > length:
                return False
            if paging.is_watchful:
                is_waiting |= not paging.need(span, record, txn.get)
        return self._waits or not is_waiting

    def _collects_all(self) -> bool:
        open_classes: dict[SlabClass, ViewTransaction] = {}
        for span in self._spans:
            slabs = class_of(span.chunk_length)
            txn = open_classes.get(slabs)
            if txn is None:
                txn = open_classes[slabs] = begin_viewing(self._maps.slabs[slabs])
                self._transactions.append(txn)
            for key, start, stop in slab_pieces(span):
                slab = txn.get(key)
                if slab is None:
                    return False
                self._views.append(slab[start:stop])
        return True

    def _end(self) -> None:
        """End the transactions. Views are released, so that a late use raises and reads nothing."""
        try:
            for view in self._views:
                view.release()
        finally:
            for txn in self._transactions:
                txn.abort()
            self._maps.leave(map_grew=self._map_grew)


def _cut_short(index: Environment) -> CacheDamagedError:
    return CacheDamagedError(f"a record of the cache's index at {index.path()} is cut short")


def _is_trusted(index: Environment, chunk: ChunkId) -> bool:
    with viewing(index) as txn:
        record, meta = txn.get(RECORD + chunk), txn.get(META_KEY)
        if record is None or meta is None:
            return False
        return run_and_length_in(record)[0] >= trusted_run_in(meta)


def _trusted(index: Environment, digest: bytes, start: int) -> tuple[dict[int, int], int | None]:
    prefix = RECORD + digest
    found: dict[int, int] = {}
    with viewing(index) as txn, txn.cursor() as cursor:
        meta = txn.get(META_KEY)
        if meta is None or not cursor.set_range(prefix + start.to_bytes(4, "big")):
            return {}, None
        trusted_run = trusted_run_in(meta)
        for count, (key, record) in enumerate(cursor):
            if key[: len(prefix)] != prefix:
                break
            number = int.from_bytes(key[len(prefix) :], "big")
            if count == MAX_COUNTED:
                return found, number
            run, length = run_and_length_in(record)
            if run >= trusted_run:
                found[number] = length
    return found, None
