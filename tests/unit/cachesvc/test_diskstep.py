from __future__ import annotations

from cachesvc.chunk import ObjectRef, Span
from cachesvc.store.diskstep import (
    CHUNKS_AHEAD,
    LONGEST_STEP,
    STRAY,
    DiskStep,
    is_covered,
    next_step,
)
from cachesvc.store.slab import LARGE
from cachesvc.units import MIB
from tests.fakes.chunks import SIX_CHUNKS, span_at

CHUNK_SIZE = SIX_CHUNKS.chunk_size
SLAB = LARGE.slab_size


def test_a_lone_read_brings_what_it_is() -> None:
    assert next_step(None, span_at(9 * MIB, SLAB)) == DiskStep(2, CHUNK_SIZE, MIB + SLAB, SLAB)


def test_reading_from_the_beginning_brings_more_each_time() -> None:
    step, offset, sizes = None, 0, []
    while offset < SIX_CHUNKS.size - LONGEST_STEP:
        step = next_step(step, span_at(offset, MIB))
        sizes.append(step.size)
        offset += step.size
    assert sizes == [2 * MIB, 4 * MIB, 8 * MIB, 8 * MIB]


def test_a_read_elsewhere_begins_anew() -> None:
    step = next_step(None, span_at(0, MIB))
    assert next_step(step, span_at(step.stop + STRAY + step.size, SLAB)).size == 2 * step.size
    assert next_step(step, span_at(step.stop + STRAY + step.size + SLAB, SLAB)).size == SLAB
    assert next_step(next_step(None, span_at(12 * MIB, SLAB)), span_at(2 * MIB, SLAB)).size == SLAB


def test_what_is_on_its_way_is_no_new_step() -> None:
    step = next_step(next_step(None, span_at(0, MIB)), span_at(2 * MIB, MIB))
    assert (step.stop, step.size) == (6 * MIB, 4 * MIB)
    assert is_covered(step, span_at(2 * MIB, MIB))
    assert is_covered(step, span_at(5 * MIB, MIB))
    assert not is_covered(step, span_at(5 * MIB + SLAB, MIB))
    assert not is_covered(step, span_at(MIB, MIB))


def test_a_step_is_no_longer_than_it_is_brought() -> None:
    ref = ObjectRef("test://", "fine", 64 * MIB, None, SLAB)
    step, index, sizes = None, 0, []
    while index < 40:
        step = next_step(step, Span(ref.chunk_id(index), SLAB, 0, SLAB))
        sizes.append(step.size // SLAB)
        index += sizes[-1]
    assert set(sizes[1:]) == {CHUNKS_AHEAD}
