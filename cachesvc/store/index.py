"""What is known about each chunk, in an LMDB environment of its own: records, an intent, totals.

A key of `c` and a chunk id leads to the record of a chunk that can be read. `i` is the intent: it
names the *partial* chunks, those just being written or deleted, whose slabs are there or not, and
which nobody reads. `p` names a class of slabs of which records may tell wrong places. `m` is the
meta record, with totals that are part of every commit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cachesvc.chunk import CHUNK_ID_SIZE, ChunkId
from cachesvc.errors import CacheDamagedError
from cachesvc.store.lmdbenv import Environment, Transaction, viewing, writing
from cachesvc.store.place import RUN_SIZE, SlabRun, decode_runs, encode_runs
from cachesvc.store.slab import SMALL, stored_size

FORMAT = 2
META_KEY = b"m"
RECORD = b"c"
INTENT_KEY = b"i"
MOVING_KEY = b"p"

_RECORD = struct.Struct(">IIQQ?B")
_META = struct.Struct(">HII16sQQQQQ")
_FORMAT = struct.Struct(">H")
_TRUSTED_RUN = struct.Struct(">2xI")
_RUN_AND_LENGTH = struct.Struct(">II")
_SEQUENCE = slice(8, 16)
_INTENT = struct.Struct(f">{CHUNK_ID_SIZE}sI")

MAX_LABEL_SIZE = 200
MAX_PARTIAL = SMALL.slab_size // _INTENT.size
"""Chunks in one change: the intent fits a page, as values of many pages fragment the index."""


@dataclass(frozen=True, slots=True)
class Record:
    """One chunk that can be read.

    `run` is the start of the service that last vouched for its bytes, `sequence` its place in the
    order of admission, `hot` whether eviction has seen it used again, `label` a name for logs,
    `slab_runs` where its slabs lie, as far as that is told.
    """

    run: int
    length: int
    sequence: int
    checksum: int
    hot: bool
    label: str
    slab_runs: tuple[SlabRun, ...] = ()

    def encode(self) -> bytes:
        """Return the record's bytes."""
        head = _RECORD.pack(
            self.run, self.length, self.sequence, self.checksum, self.hot, len(self.slab_runs)
        )
        label = self.label.encode("utf-8", "surrogateescape")[:MAX_LABEL_SIZE]
        return head + encode_runs(self.slab_runs) + label

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Record:
        """Return the record that *data* encodes."""
        runs = slab_runs_in(data) if len(data) >= _RECORD.size else b"?"
        if len(runs) % RUN_SIZE:
            raise CacheDamagedError(f"a record of the cache's index has {len(data)} bytes")
        run, length, sequence, checksum, hot, _ = _RECORD.unpack_from(data)
        label = bytes(data[_RECORD.size + len(runs) :]).decode("utf-8", "surrogateescape")
        return cls(run, length, sequence, checksum, hot, label, decode_runs(runs))


@dataclass(frozen=True, slots=True)
class Meta:
    """What holds for the cache as a whole.

    `generation` names these very files, `run` counts the service's starts, and records of a run
    before `trusted_run` are to be verified before use. `pid_namespace` is the writer's: elsewhere
    LMDB would take live readers for dead ones.
    """

    format: int
    trusted_run: int
    run: int
    generation: bytes
    next_sequence: int
    pid_namespace: int
    chunk_count: int
    stored_bytes: int
    slab_bytes: int

    def encode(self) -> bytes:
        """Return the meta record's bytes."""
        return _META.pack(*(getattr(self, name) for name in self.__slots__))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Meta:
        """Return the meta record that *data* encodes; refuse another format's."""
        if len(data) != _META.size or data[:2] != _FORMAT.pack(FORMAT):
            raise CacheDamagedError("the cache's index was written by another version of headrace")
        return cls(*_META.unpack(data))

    def plus(self, lengths: Sequence[int], sign: int) -> Meta:
        """Return the totals with chunks of these *lengths* more, or less where *sign* is -1."""
        return replace(
            self,
            next_sequence=self.next_sequence + max(sign, 0) * len(lengths),
            chunk_count=self.chunk_count + sign * len(lengths),
            stored_bytes=self.stored_bytes + sign * sum(lengths),
            slab_bytes=self.slab_bytes + sign * sum(map(stored_size, lengths)),
        )


def new_meta(generation: bytes) -> Meta:
    """Return the meta record of an empty cache that nobody has opened yet."""
    return Meta(FORMAT, 0, 0, generation, 0, 0, 0, 0, 0)


def trusted_run_in(meta: bytes | memoryview) -> int:
    """Return `trusted_run` of an encoded meta record, without decoding the rest: the hot path."""
    run: int = _TRUSTED_RUN.unpack_from(meta)[0]
    return run


def run_and_length_in(record: bytes | memoryview) -> tuple[int, int]:
    """Return (run, length) of an encoded record, without decoding the rest: the hot path."""
    run, length = _RUN_AND_LENGTH.unpack_from(record)
    return run, length


def slab_runs_in(record: bytes | memoryview) -> bytes | memoryview:
    """Return the runs of an encoded record as they are encoded: the hot path."""
    return record[_RECORD.size : _RECORD.size + record[_RECORD.size - 1] * RUN_SIZE]


def with_slab_runs(record: bytes, runs: Sequence[SlabRun]) -> bytes:
    """Return an encoded record with other runs."""
    label = record[_RECORD.size + len(slab_runs_in(record)) :]
    return record[: _RECORD.size - 1] + bytes([len(runs)]) + encode_runs(runs) + label


def read_meta(env: Environment) -> Meta | None:
    """Return the meta record, None where there is none yet."""
    with viewing(env) as txn:
        data = txn.get(META_KEY)
        return None if data is None else Meta.decode(data)


class Index:
    """The tables, as the writer sees them. Each method is one commit.

    `meta` and `partial` mirror what is committed.
    """

    def __init__(self, env: Environment, meta: Meta) -> None:
        """Take over the tables in *env*, whose meta record is *meta* or shall be."""
        self.env = env
        self.meta = meta
        self.partial = _read_partial(env)

    def begin_run(self, pid_namespace: int, *, trusted: bool) -> None:
        """Count a start of the service; unless *trusted*, all records are to be verified."""
        run = self.meta.run + 1
        trusted_run = self.meta.trusted_run if trusted else run
        with self._commit():
            self.meta = replace(
                self.meta, run=run, trusted_run=trusted_run, pid_namespace=pid_namespace
            )

    def begin_generation(self, generation: bytes) -> None:
        """Name the files anew, so that readers open them again."""
        with self._commit():
            self.meta = replace(self.meta, generation=generation)

    def get(self, chunk: ChunkId) -> Record | None:
        """Return the record of *chunk*."""
        with viewing(self.env) as txn:
            data = txn.get(RECORD + chunk)
            return None if data is None else Record.decode(data)

    def records(self, chunks: Iterable[ChunkId]) -> dict[ChunkId, Record]:
        """Return the records of those *chunks* that have one."""
        with viewing(self.env) as txn:
            found = ((chunk, txn.get(RECORD + chunk)) for chunk in chunks)
            return {chunk: Record.decode(data) for chunk, data in found if data is not None}

    def withdraw(self, lengths: Mapping[ChunkId, int]) -> None:
        """Make chunks partial, whether they have a record or are only about to be written.

        Up to MAX_PARTIAL of them, while no others are partial.
        """
        with self._commit() as txn:
            gone = [length for chunk, length in lengths.items() if txn.delete(RECORD + chunk)]
            txn.put(INTENT_KEY, _encode_intent(lengths))
            self.meta = self.meta.plus(gone, -1)
        self.partial = dict(lengths)

    def admit(self, records: Mapping[ChunkId, Record]) -> None:
        """Give the partial chunks, whose slabs are all committed, their records."""
        with self._commit() as txn:
            txn.delete(INTENT_KEY)
            for chunk, record in records.items():
                txn.put(RECORD + chunk, record.encode())
            self.meta = self.meta.plus([record.length for record in records.values()], +1)
        self.partial = {}

    def forget_partial(self) -> None:
        """Strike the partial chunks, whose slabs are all gone."""
        with self._commit() as txn:
            txn.delete(INTENT_KEY)
        self.partial = {}

    def rewrite(self, records: Mapping[ChunkId, Record]) -> None:
        """Replace records of chunks that have one already, with the same length."""
        with self._commit() as txn:
            for chunk, record in records.items():
                txn.put(RECORD + chunk, record.encode())

    @property
    def moving(self) -> str | None:
        """The class of slabs that lie elsewhere than records tell, or are about to."""
        name = _read(self.env, MOVING_KEY)
        return None if name is None else name.decode()

    def begin_moving(self, name: str) -> None:
        """Say that slabs of a class are about to move."""
        with self._commit() as txn:
            txn.put(MOVING_KEY, name.encode())

    def place(self, runs: Mapping[ChunkId, Sequence[SlabRun]]) -> None:
        """Let records of chunks tell these runs; chunks that have none are passed over."""
        with self._commit() as txn:
            for chunk, some in runs.items():
                data = txn.get(RECORD + chunk)
                if data is not None:
                    txn.put(RECORD + chunk, with_slab_runs(data, some))

    def end_moving(self) -> None:
        """Say that no record tells a wrong place any more."""
        with self._commit() as txn:
            txn.delete(MOVING_KEY)

    def chunks_in_order(self) -> list[ChunkId]:
        """Return all chunks that have a record, in the order of their admission."""
        with viewing(self.env) as txn, txn.cursor() as cursor:
            cursor.set_range(RECORD)
            keyed = sorted(
                bytes(value[_SEQUENCE]) + bytes(key[1:])
                for key, value in cursor
                if len(key) == 1 + CHUNK_ID_SIZE
            )
        return [ChunkId(item[8:]) for item in keyed]

    @contextmanager
    def _commit(self) -> Iterator[Transaction]:
        """One commit that carries the meta record as it is at the end of the block."""
        before = self.meta
        try:
            with writing(self.env) as txn:
                yield txn
                txn.put(META_KEY, self.meta.encode())
        except BaseException:
            self.meta = before
            raise


def _encode_intent(lengths: Mapping[ChunkId, int]) -> bytes:
    return b"".join(_INTENT.pack(chunk, length) for chunk, length in lengths.items())


def _decode_intent(data: bytes | memoryview) -> dict[ChunkId, int]:
    if len(data) % _INTENT.size:
        raise CacheDamagedError(f"the intent in the cache's index has {len(data)} bytes")
    return {ChunkId(chunk): length for chunk, length in _INTENT.iter_unpack(data)}


def _read_partial(env: Environment) -> dict[ChunkId, int]:
    data = _read(env, INTENT_KEY)
    return {} if data is None else _decode_intent(data)


def _read(env: Environment, key: bytes) -> bytes | None:
    with viewing(env) as txn:
        data = txn.get(key)
        return None if data is None else bytes(data)
