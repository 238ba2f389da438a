"""How much of an object to bring from the disk at once: more while it is read in order. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cachesvc.chunk import DIGEST_SIZE, Span
from cachesvc.units import MIB

LONGEST_STEP: Final = 8 * MIB
CHUNKS_AHEAD: Final = 4
"""Chunks that a step is long at most: each is a look into the index."""
STRAY: Final = MIB
"""Bytes by which a read may miss the end of what was brought and still go on from there."""


@dataclass(frozen=True, slots=True)
class DiskStep:
    """What the last read of an object that found something missing has brought.

    `size` bytes of it up to byte `stop`, counted from the beginning of its chunk number `index`,
    which is `chunk_length` long.
    """

    index: int
    chunk_length: int
    stop: int
    size: int


def start_after(before: DiskStep, span: Span) -> int:
    """Return where *span* begins, counted from the end of what a step has brought."""
    return span.start + (index_of(span) - before.index) * before.chunk_length - before.stop


def is_covered(before: DiskStep, span: Span) -> bool:
    """Say whether the step before has brought *span*, which may still be on its way."""
    start = start_after(before, span)
    return -before.size <= start <= span.start - span.stop


def goes_on(before: DiskStep | None, span: Span) -> bool:
    """Say whether *span*, which is missing, is read in order after the step before it.

    Who begins with the object goes on, mostly. What another process brought, reading in turns with
    this one, may lie between.
    """
    if before is None:
        return span.start == index_of(span) == 0
    return -STRAY <= start_after(before, span) <= STRAY + before.size


def next_step(before: DiskStep | None, span: Span) -> DiskStep:
    """Return what to bring for *span*: twice as much as before where reading goes on."""
    size = span.stop - span.start
    if goes_on(before, span):
        last = size if before is None else before.size
        size = max(size, min(2 * last, LONGEST_STEP, CHUNKS_AHEAD * span.chunk_length))
    return DiskStep(index_of(span), span.chunk_length, span.start + size, size)


def index_of(span: Span) -> int:
    """Return the number of the chunk in its object."""
    return int.from_bytes(span.chunk[DIGEST_SIZE:], "big")
