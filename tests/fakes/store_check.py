"""The judge of a chunk store: everything there is right, and nothing else is there."""

from __future__ import annotations

from collections.abc import Iterable

from cachesvc.store.chunkstore import ChunkStore
from cachesvc.store.slab import CLASSES, SlabClass, class_of, stored_size
from tests.fakes.chunks import bytes_of


def require_sound(store: ChunkStore) -> None:
    """Fail unless all chunks have the bytes that their label tells, and the totals are theirs.

    Slabs of partial chunks, which a full disk may leave until the next change, are allowed.
    """
    chunks = list(store.scan())
    for stored in chunks:
        assert store.verify(stored.chunk), f"{stored} has wrong bytes"
        assert store.read(stored.chunk) == bytes_of(stored.label, stored.length)
    usage = store.usage()
    assert usage.chunk_count == len(chunks)
    assert usage.stored_bytes == sum(stored.length for stored in chunks)
    assert usage.slab_bytes == sum(stored_size(stored.length) for stored in chunks)
    for slabs in CLASSES:
        known = _slab_count(slabs, [stored.length for stored in chunks]) + 1  # the generation
        partial = _slab_count(slabs, store._index.partial.values())
        found = store._files.slabs[slabs].stat()["entries"]
        assert known <= found <= known + partial, f"orphans in {slabs.name}"


def _slab_count(slabs: SlabClass, lengths: Iterable[int]) -> int:
    return sum(slabs.slab_count(length) for length in lengths if class_of(length) is slabs)


def die(store: ChunkStore) -> None:
    """Let go of the files as the death of the process would."""
    store._files.release()
