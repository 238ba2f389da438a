"""Looking at a cache, checking it and tidying it up, with its service or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cachesvc.chunk import ChunkId
from cachesvc.config import CacheConfig
from cachesvc.fill.batch import ChunkTable
from cachesvc.fill.committer import Committer
from cachesvc.fill.residents import Watermarks

_VERIFY_COUNT = 16
"""Chunks verified at a time: 64 MiB keep readers waiting for some 20 ms."""


def describe(table: ChunkTable) -> dict[str, Any]:
    """Return how full the store is."""
    return {"generation": table.generation.hex(), **asdict(table.usage())}


def stored_chunks(table: ChunkTable) -> list[ChunkId]:
    """Return all chunks of the store."""
    return [stored.chunk for stored in table.scan()]


def verify_some(table: ChunkTable, chunks: Sequence[ChunkId]) -> list[ChunkId]:
    """Verify chunks; return the ones that were bad, and are gone now."""
    return [chunk for chunk in chunks if not table.verify(chunk)]


async def verify_all(committer: Committer) -> dict[str, Any]:
    """Verify every chunk of a store in use, a few at a time."""
    chunks = [c for c in await committer.ask(stored_chunks) if c in committer.residents]
    dropped = 0
    for start in range(0, len(chunks), _VERIFY_COUNT):
        some = [c for c in chunks[start : start + _VERIFY_COUNT] if c in committer.residents]
        bad = await committer.ask(lambda table, some=some: verify_some(table, some))  # type: ignore[misc]
        committer.rejected(bad)
        dropped += len(bad)
    return {"verified": len(chunks), "dropped": dropped}


async def collect(committer: Committer, config: CacheConfig) -> dict[str, Any]:
    """Evict down to the low watermark and free the slots of dead readers."""
    slots = await committer.ask(lambda table: table.check_readers())
    evicted = await committer.shrink(Watermarks.of(config.size).low)
    return {"evicted": evicted, "reader_slots_freed": slots}


def verify_alone(table: ChunkTable) -> dict[str, Any]:
    """Verify every chunk of a store that no service uses."""
    chunks = stored_chunks(table)
    return {"verified": len(chunks), "dropped": len(verify_some(table, chunks))}


def collect_alone(table: ChunkTable) -> dict[str, Any]:
    """Free the slots of dead readers; opening the store has cleared what was left half-done.

    Nothing is evicted: only a service knows its capacity.
    """
    return {"evicted": 0, "reader_slots_freed": table.check_readers()}
