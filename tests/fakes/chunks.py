"""Chunks whose bytes follow from their name, so that any of them can be checked at any time."""

from __future__ import annotations

import random

from cachesvc.chunk import ChunkId, ObjectRef, Span
from cachesvc.store.chunkstore import NewChunk
from cachesvc.units import MIB

SIX_CHUNKS = ObjectRef("test://", "large", 24 * MIB, None, 4 * MIB)
"""An object of six chunks of the usual size."""


def chunk_of(name: str, length: int) -> ChunkId:
    """Return the id of the only chunk of an object."""
    return ObjectRef("test://", name, length, None).chunk_id(0)


def bytes_of(name: str, length: int) -> bytes:
    """Return the bytes of an object."""
    return random.Random(name).randbytes(length)


def new_chunk(name: str, length: int) -> NewChunk:
    """Return an object's chunk, ready to be stored."""
    return NewChunk(chunk_of(name, length), bytes_of(name, length), name)


def span_of(name: str, length: int, start: int = 0, stop: int | None = None) -> Span:
    """Return a span of an object's chunk, the whole of it unless told."""
    return Span(chunk_of(name, length), length, start, length if stop is None else stop)


def span_at(offset: int, size: int) -> Span:
    """Return a span of `SIX_CHUNKS` within one chunk."""
    index, start = divmod(offset, SIX_CHUNKS.chunk_size)
    return Span(SIX_CHUNKS.chunk_id(index), SIX_CHUNKS.chunk_size, start, start + size)
