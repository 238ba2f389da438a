"""Reading chunks straight from the LMDB map, in any process but the writer's. It never waits.

Opened after a fork, never before: LMDB knows its readers by their process. Each request reads
within transactions of its own that end with it: an open one keeps the writer from reusing pages.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from cachesvc.chunk import ChunkId, Span
from cachesvc.errors import CacheDamagedError, CacheUnusableError
from cachesvc.store.index import (
    META_KEY,
    RECORD,
    Meta,
    read_meta,
    run_and_length_in,
    trusted_run_in,
)
from cachesvc.store.layout import GENERATION_KEY, data_file, index_path, pid_namespace, slabs_path
from cachesvc.store.lmdbenv import (
    Environment,
    LmdbError,
    MapResizedError,
    ViewTransaction,
    begin_viewing,
    error_of,
    open_reader,
    translated_errors,
    viewing,
)
from cachesvc.store.slab import CLASSES, SlabClass, class_of, slab_pieces

MAX_COUNTED = 1024
"""Records that `readable_bytes` looks at in one transaction; they take 0.5 ms."""


class ChunkReader:
    """The chunks that can be read at once. May be used by several threads of one process.

    Raises CacheUnusableError where there is no cache, or where reading it would be unsafe: on a
    read-only mount, in another PID namespace than the writer's, in a child of the process that
    opened it.
    """

    def __init__(self, directory: Path) -> None:
        """Open what the service keeps in *directory*."""
        self._directory = directory
        with translated_errors(directory), ExitStack() as undo:
            index = _opened(index_path(directory), undo)
            self.generation = _usable_meta(index).generation
            self._files = _identities(directory)
            slabs = {c: _opened(slabs_path(directory, c), undo) for c in CLASSES}
            for env in slabs.values():
                _require_generation(env, self.generation)
            self._maps = _Maps(index, slabs)
            undo.pop_all()

    def hits(self, spans: Sequence[Span]) -> Hits:
        """Read spans in a `with` block: it yields their bytes in order, None unless all are here.

        There is a view for each slab that a span touches, valid only inside the block.
        """
        return Hits(self._maps, spans)

    def present(self, chunk: ChunkId) -> bool:
        """Return whether a chunk can be read."""
        with Hits(self._maps, ()) as block:
            return block is not None and _is_trusted(self._maps.index, chunk)

    def readable_bytes(self, digest: bytes, start: int = 0) -> tuple[int, int | None]:
        """Count bytes that can be read of the object with this *digest*, from chunk *start* on.

        Looks at `MAX_COUNTED` chunks at most, of those that are here; also returns the number of
        the chunk to go on from, None at the end.
        """
        with Hits(self._maps, ()) as block:
            return (0, None) if block is None else _trusted_bytes(self._maps.index, digest, start)

    def stale(self) -> bool:
        """Return whether other files lie in the directory now, or none: open another reader."""
        try:
            return _identities(self._directory) != self._files
        except OSError:
            return True

    def close(self) -> None:
        """Close, now or when the last `hits` block ends: its views would be left dangling."""
        self._maps.close()


class Hits:
    """The block in which the bytes of some spans can be read; see `ChunkReader.hits`.

    A class and not a generator, which would cost a small hit 1 us more.
    """

    __slots__ = ("_map_grew", "_maps", "_spans", "_transactions", "_views")

    def __init__(self, maps: _Maps, spans: Sequence[Span]) -> None:
        """Prepare to read; everything happens on entering the block."""
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
        return self._trusts_all() and self._collects_all()

    def _trusts_all(self) -> bool:
        txn = begin_viewing(self._maps.index)
        self._transactions.append(txn)
        meta = txn.get(META_KEY)
        trusted_run = 0 if meta is None else trusted_run_in(meta)
        for span in self._spans:
            record = txn.get(RECORD + span.chunk)
            if record is None:
                return False
            run, length = run_and_length_in(record)
            if run < trusted_run or length != span.chunk_length or span.stop > length:
                return False
        return True

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


class _Maps:
    """The environments of one reader, and how many blocks use them now."""

    def __init__(self, index: Environment, slabs: dict[SlabClass, Environment]) -> None:
        self.index = index
        self.slabs = slabs
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._block_count = 0
        self._closing = False
        self._map_grew = False

    def enter(self) -> None:
        """Keep the maps where they are until `leave`."""
        with self._lock:
            if self._closing or self._pid != os.getpid():
                raise CacheUnusableError("this reader of the cache is closed, or another process's")
            self._block_count += 1

    def leave(self, *, map_grew: bool) -> None:
        """End what `enter` began; say whether the writer was found to have made a map larger."""
        with self._lock:
            self._block_count -= 1
            self._map_grew |= map_grew
            self._settle()

    def close(self) -> None:
        """Close as soon as no block is open."""
        with self._lock:
            self._closing = True
            self._settle()

    def _settle(self) -> None:
        """Do what leaves views dangling, if nobody holds one."""
        if self._block_count:
            return
        for env in (self.index, *self.slabs.values()):
            if self._closing:
                env.close()
            elif self._map_grew:
                env.set_mapsize(0)
        self._map_grew = False


def _opened(path: Path, undo: ExitStack) -> Environment:
    env = open_reader(path)
    undo.callback(env.close)
    return env


def _identities(directory: Path) -> list[tuple[int, int]]:
    """Return what tells the files in the directory from others that lay or will lie there."""
    paths = [index_path(directory), *(slabs_path(directory, slabs) for slabs in CLASSES)]
    found = [data_file(path).stat() for path in paths]
    return [(status.st_dev, status.st_ino) for status in found]


def _usable_meta(index: Environment) -> Meta:
    """Return the meta record, if its writer can tell whether this process lives."""
    meta = read_meta(index)
    if meta is None:
        raise CacheUnusableError(f"no cache at {index.path()} yet: start the cache service")
    if meta.pid_namespace != pid_namespace():
        raise CacheUnusableError(
            f"cache at {index.path()} belongs to a service in another PID namespace: "
            "share the namespace, or read through a mount"
        )
    return meta


def _require_generation(env: Environment, generation: bytes) -> None:
    with viewing(env) as txn:
        found = txn.get(GENERATION_KEY)
        if found is None or bytes(found) != generation:
            raise CacheDamagedError(f"cache at {env.path()} is just being made anew: open it again")


def _is_trusted(index: Environment, chunk: ChunkId) -> bool:
    with viewing(index) as txn:
        record, meta = txn.get(RECORD + chunk), txn.get(META_KEY)
        if record is None or meta is None:
            return False
        return run_and_length_in(record)[0] >= trusted_run_in(meta)


def _trusted_bytes(index: Environment, digest: bytes, start: int) -> tuple[int, int | None]:
    prefix = RECORD + digest
    size = 0
    with viewing(index) as txn, txn.cursor() as cursor:
        meta = txn.get(META_KEY)
        if meta is None or not cursor.set_range(prefix + start.to_bytes(4, "big")):
            return 0, None
        trusted_run = trusted_run_in(meta)
        for count, (key, record) in enumerate(cursor):
            if key[: len(prefix)] != prefix:
                break
            if count == MAX_COUNTED:
                return size, int.from_bytes(key[len(prefix) :], "big")
            run, length = run_and_length_in(record)
            size += length if run >= trusted_run else 0
    return size, None
