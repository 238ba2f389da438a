"""The judge of a chunk store: everything there is right, and nothing else is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from cachesvc.chunk import ChunkId
from cachesvc.store.chunkstore import ChunkStore
from cachesvc.store.index import Record
from cachesvc.store.layout import data_file, slabs_path
from cachesvc.store.place import MAX_RUNS
from cachesvc.store.slab import (
    CLASSES,
    PAGE_HEADER_SIZE,
    PAGE_SIZE,
    SlabClass,
    class_of,
    slabs_of,
    stored_size,
)
from tests.fakes.chunks import bytes_of


def require_sound(store: ChunkStore) -> None:
    """Fail unless all chunks have the bytes that their label tells, and the totals are theirs.

    Slabs of partial chunks, which a full disk may leave until the next change, are allowed.
    """
    chunks = list(store.scan())
    for stored in chunks:
        assert store.verify(stored.chunk), f"{stored} has wrong bytes"
        assert store.read(stored.chunk) == bytes_of(stored.label, stored.length)
        require_placed(store, stored.chunk)
    usage = store.usage()
    assert usage.chunk_count == len(chunks)
    assert usage.stored_bytes == sum(stored.length for stored in chunks)
    assert usage.slab_bytes == sum(stored_size(stored.length) for stored in chunks)
    for slabs in CLASSES:
        known = _slab_count(slabs, [stored.length for stored in chunks]) + 1  # the generation
        partial = _slab_count(slabs, store._index.partial.values())
        found = store._files.slabs[slabs].stat()["entries"]
        assert known <= found <= known + partial, f"orphans in {slabs.name}"


def require_placed(store: ChunkStore, chunk: ChunkId) -> None:
    """Fail unless the ends of a chunk's runs of slabs lie in the file where its record says."""
    record = store._index.get(chunk)
    assert record is not None
    slabs = class_of(record.length)
    values = [bytes(value) for _, value in slabs_of(chunk, bytes_of(record.label, record.length))]
    file = os.open(data_file(slabs_path(store._config.directory, slabs)), os.O_RDONLY)
    try:
        for number, offset in _run_ends(record, slabs):
            assert os.pread(file, slabs.slab_size, offset) == values[number]
    finally:
        os.close(file)


def _run_ends(record: Record, slabs: SlabClass) -> Iterator[tuple[int, int]]:
    """Yield (number, offset in the file) for the first and the last slab of each run."""
    number = 0
    for run in record.slab_runs:
        first = run.page * PAGE_SIZE + PAGE_HEADER_SIZE
        yield number, first
        yield number + run.count - 1, first + (run.count - 1) * slabs.disk_size
        number += run.count
    if len(record.slab_runs) < MAX_RUNS:
        assert number == slabs.slab_count(record.length)


def _slab_count(slabs: SlabClass, lengths: Iterable[int]) -> int:
    return sum(slabs.slab_count(length) for length in lengths if class_of(length) is slabs)


def die(store: ChunkStore) -> None:
    """Let go of the files as the death of the process would."""
    store._files.release()
