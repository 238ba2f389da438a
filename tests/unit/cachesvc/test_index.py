from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.chunk import ChunkId
from cachesvc.errors import CacheDamagedError
from cachesvc.store.index import (
    INTENT_KEY,
    MAX_PARTIAL,
    META_KEY,
    Index,
    Meta,
    Record,
    new_meta,
    read_meta,
    run_and_length_in,
    slab_runs_in,
    trusted_run_in,
    with_slab_runs,
)
from cachesvc.store.lmdbenv import Environment, open_writer, writing
from cachesvc.store.place import SlabRun, decode_runs

RUNS = st.lists(st.builds(SlabRun, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1))).map(tuple)
A, B = ChunkId(b"a" * 24), ChunkId(b"b" * 24)


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    opened = open_writer(tmp_path / "index", 4 << 20, readahead=True)
    yield opened
    opened.close()


@pytest.fixture
def index(env: Environment) -> Index:
    index = Index(env, new_meta(b"g" * 16))
    index.begin_run(pid_namespace=1, trusted=True)
    return index


def record(length: int, sequence: int = 0) -> Record:
    return Record(
        run=3, length=length, sequence=sequence, checksum=2**64 - 1, hot=True, label="a/b"
    )


def test_a_record_survives_the_round_trip() -> None:
    assert Record.decode(record(5).encode()) == record(5)


def test_a_label_of_any_bytes_and_length_is_cut_and_kept() -> None:
    odd = Record(1, 2, 3, 4, hot=False, label="\udcff" + "x" * 5000)
    assert Record.decode(odd.encode()).label == "\udcff" + "x" * 199


def test_the_hot_path_reads_what_the_full_decoder_reads() -> None:
    meta = Meta(1, 77, 78, b"g" * 16, 0, 0, 0, 0, 0)
    assert trusted_run_in(meta.encode()) == 77
    assert run_and_length_in(record(9).encode()) == (3, 9)


def test_a_record_tells_where_its_slabs_lie() -> None:
    placed = replace(record(5), slab_runs=(SlabRun(7, 3), SlabRun(2**32 - 1, 2**16 - 1)))
    assert Record.decode(placed.encode()) == placed
    assert decode_runs(slab_runs_in(placed.encode())) == placed.slab_runs


@given(RUNS, RUNS, st.text(max_size=250))
def test_a_record_may_tell_other_places_and_stays_the_same_otherwise(
    before: tuple[SlabRun, ...], after: tuple[SlabRun, ...], label: str
) -> None:
    old = replace(record(5), slab_runs=before, label=label)
    new = replace(old, slab_runs=after)
    assert with_slab_runs(old.encode(), after) == new.encode()


def test_only_chunks_that_have_a_record_are_placed(index: Index) -> None:
    index.withdraw({A: 5})
    index.admit({A: record(5)})
    index.place({A: [SlabRun(7, 3)], B: [SlabRun(9, 1)]})
    assert index.records([A, B]) == {A: replace(record(5), slab_runs=(SlabRun(7, 3),))}


@pytest.mark.parametrize("data", [b"", b"\0", b"\0" * 24, bytes(25) + b"\1" + bytes(5)])
def test_a_record_too_short_is_damage(data: bytes) -> None:
    with pytest.raises(CacheDamagedError):
        Record.decode(data)


@pytest.mark.parametrize("data", [b"", b"\0" * 66, b"\xff" * 66])
def test_a_meta_record_of_another_format_is_damage(data: bytes) -> None:
    with pytest.raises(CacheDamagedError):
        Meta.decode(data)


def test_totals_follow_what_is_admitted_and_withdrawn(index: Index) -> None:
    index.withdraw({A: 5000, B: 200_000})
    index.admit({A: record(5000), B: record(200_000)})
    assert (index.meta.chunk_count, index.meta.stored_bytes) == (2, 205_000)
    index.withdraw({B: 200_000})
    assert (index.meta.chunk_count, index.meta.stored_bytes) == (1, 5000)
    assert index.meta.slab_bytes == 2 * 4096


def test_partial_chunks_have_no_record_and_survive_reopening(index: Index) -> None:
    index.withdraw({A: 5000})
    again = Index(index.env, index.meta)
    assert again.partial == {A: 5000}
    assert again.get(A) is None


def test_the_largest_intent_fits_one_page(index: Index) -> None:
    many = {ChunkId(bytes([number]) * 24): 2**32 - 1 for number in range(MAX_PARTIAL)}
    index.withdraw(many)
    assert Index(index.env, index.meta).partial == many
    assert index.env.stat()["overflow_pages"] == 1


def test_a_cut_intent_is_damage(index: Index) -> None:
    with writing(index.env) as txn:
        txn.put(INTENT_KEY, b"x" * 27)
    with pytest.raises(CacheDamagedError):
        Index(index.env, index.meta)


def test_chunks_are_listed_in_the_order_of_admission(index: Index) -> None:
    index.withdraw({A: 1, B: 1})
    index.admit({A: record(1, sequence=300), B: record(1, sequence=2)})
    assert index.chunks_in_order() == [B, A]


def test_a_failed_commit_leaves_the_totals_as_they_were(index: Index) -> None:
    before = index.meta
    with pytest.raises(AttributeError):
        index.admit({A: record(1), B: None})  # type: ignore[dict-item]
    assert index.meta == before == read_meta(index.env)
    assert index.get(A) is None


def test_an_untrusted_start_moves_the_trusted_run(index: Index) -> None:
    index.begin_run(pid_namespace=1, trusted=True)
    assert index.meta.trusted_run == 0
    index.begin_run(pid_namespace=1, trusted=False)
    assert index.meta.trusted_run == index.meta.run == 3


def test_there_is_no_meta_record_before_the_first_run(env: Environment) -> None:
    assert read_meta(env) is None
    with writing(env) as txn:
        assert txn.get(META_KEY) is None
