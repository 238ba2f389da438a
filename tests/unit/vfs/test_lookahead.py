"""Lookahead: which chunks a mount asks for ahead of its readers, over trees in memory."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from cachesvc.chunk import CHUNK_SIZE, ChunkId, ObjectRef
from cachesvc.client import Want
from tests.fakes.manifests import File, MemorySource, Node, add_all, written
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.inode import Extent
from vfs.manifest.packing import Packing
from vfs.manifest.stored import Place, StoredObject
from vfs.manifest.tree import Tree
from vfs.serving import lookahead as module
from vfs.serving.awaited import CLAIM_SECONDS, TABLE_SIZE, Awaited
from vfs.serving.density import LONE_READS_A_CHUNK, PACKED_CHUNKS
from vfs.serving.extent import REPOSITORY, SOURCE, file_spans
from vfs.serving.grain import FINE_SIZE, LONE_READ_LIMIT
from vfs.serving.layout import Layouts
from vfs.serving.lookahead import BATCH_COUNT, Lookahead
from vfs.serving.mounted import MountedSnapshots
from vfs.serving.neighbours import ALLOWANCE, FIRST_WIDTH
from vfs.serving.protocol import ReadRequest
from vfs.serving.tracks import Tracks
from vfs.snapshots.repository import StoredSnapshot

MIB = 1 << 20
COUNT = 400
CHUNKS = 10
"""What a large file has."""
ALL_BUT_THE_FIRST = [f"d/{number:04}" for number in range(1, COUNT)]
FIRST = 3
"""The position of the first file: the root's only child is their directory."""


@dataclass(frozen=True)
class Single:
    """A history of one epoch."""

    only: StoredSnapshot
    current: int = 0

    def snapshot(self, epoch: int) -> StoredSnapshot:
        return self.only


@dataclass
class Chunks:
    """A cache that fetches at once whatever is wanted, and remembers what was asked for ahead."""

    held: set[ChunkId] = field(default_factory=set)
    batches: list[list[Want]] = field(default_factory=list)

    def readable(self, chunk: ChunkId) -> bool:
        return chunk in self.held

    def readable_count(self, ref: ObjectRef, indices: range) -> int:
        return sum(ref.chunk_id(index) in self.held for index in indices)

    def prefetch_nowait(self, wants: Sequence[Want]) -> None:
        self.batches.append(list(wants))
        self.held.update(want.chunk for want in wants)

    def asked(self) -> Iterator[Want]:
        for batch in self.batches:
            yield from batch


def packing(size: int) -> Packing:
    """Put all files into one pack, end to end."""
    made = Packing()
    made.add_object(StoredObject(Place.REPOSITORY, "packs/p", COUNT * size, None, MIB))
    for number in range(COUNT):
        made.place(FIRST + number, Extent(0, number * size, size))
    return made


def published(size: int, *, packed: bool = False) -> MountedSnapshots:
    """Mount a directory of files that are all of that size."""
    builder = ManifestBuilder()
    nodes: dict[bytes, Node] = {b"d/%04d" % number: File(size) for number in range(COUNT)}
    add_all(builder, nodes)
    result, data = written(builder, packing=packing(size) if packed else None)

    async def open_tree(_: StoredSnapshot) -> Tree:
        return await Tree.open(MemorySource(data), result.snapshot_id)

    return MountedSnapshots(Single(StoredSnapshot(result.snapshot_id, len(data))), open_tree)


async def play(
    size: int, numbers: Iterable[int], *, packed: bool = False, held: bool = False
) -> Chunks:
    """Read the files of those numbers one after the other, or have them all on the node before."""
    mounted = published(size, packed=packed)
    layouts = Layouts(mounted, {SOURCE: "s3://h/source", REPOSITORY: "s3://h/repository"})
    chunks = Chunks()
    lookahead = Lookahead(mounted, layouts, chunks, Awaited(), Tracks())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lookahead.run)
        if held:
            for number in range(COUNT):
                await touch(layouts, chunks, number)
        for number in numbers:
            missed = await touch(layouts, chunks, number)
            place = 0, FIRST + number
            extents = await layouts.extents(*place)
            lookahead.note(place, extents, ReadRequest(0, size), missed=missed)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return chunks


async def touch(layouts: Layouts, chunks: Chunks, number: int) -> bool:
    """Fetch a file as a reader does; say whether anything was missing."""
    pieces = file_spans(await layouts.extents(0, FIRST + number), 0, 1 << 40)
    missing = {piece.span.chunk for piece in pieces} - chunks.held
    chunks.held |= missing
    return bool(missing)


def test_the_first_two_files_of_a_directory_begin_a_scan() -> None:
    chunks = trio.run(lambda: play(110_000, [0]))
    assert [want.ref.key for want in chunks.asked()] == [
        f"d/{number:04}" for number in range(1, 1 + FIRST_WIDTH)
    ]


def test_a_scan_asks_for_each_file_once_in_order_and_many_at_a_time() -> None:
    chunks = trio.run(lambda: play(110_000, range(COUNT)))
    keys = [want.ref.key for want in chunks.asked()]
    assert keys == [f"d/{number:04}" for number in range(1, COUNT)]
    assert max(map(len, chunks.batches)) == BATCH_COUNT


def test_a_scan_over_packed_files_asks_for_each_chunk_once_and_for_adjacent_ones_together() -> None:
    chunks = trio.run(lambda: play(110_000, range(COUNT), packed=True))
    asked = [want.index for want in chunks.asked()]
    assert asked == list(range(1, -(-COUNT * 110_000 // MIB)))
    assert max(map(len, chunks.batches)) == 4


def test_packed_files_in_no_order_bring_their_pack_once_a_fifth_of_it_is_here() -> None:
    size = 110_000
    count = -(-COUNT * size // MIB)
    far_apart = range(5, COUNT, 40)
    few = int(PACKED_CHUNKS * count) // 2  # each of these lies in two chunks at most
    assert len(far_apart) > PACKED_CHUNKS * count
    assert trio.run(lambda: play(size, far_apart[:few], packed=True)).batches == []
    chunks = trio.run(lambda: play(size, far_apart, packed=True))
    asked = [want.index for want in chunks.asked()]
    assert len(asked) == len(set(asked))
    assert len(chunks.held) == count


def test_a_pack_that_found_no_room_among_the_plans_is_asked_for_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far_apart = range(5, COUNT, 40)

    def numbers() -> Iterator[int]:
        monkeypatch.setattr(module, "PLANS_QUEUED", 0)
        yield from far_apart
        monkeypatch.undo()
        yield COUNT // 2

    chunks = trio.run(lambda: play(110_000, numbers(), packed=True))
    assert len(chunks.held) == -(-COUNT * 110_000 // MIB)


def test_who_reads_far_behind_another_is_no_straggler_of_that_one() -> None:
    chunks = trio.run(lambda: play(110_000, [350, *range(300, 303)]))
    assert [want.ref.key for want in chunks.asked()] == [
        f"d/{number:04}" for number in range(303, 303 + FIRST_WIDTH)
    ]


def test_who_reads_one_file_again_and_again_has_no_more_fetched() -> None:
    chunks = trio.run(lambda: play(110_000, [100, 101, *[102] * 50]))
    assert len(list(chunks.asked())) == FIRST_WIDTH


def test_what_is_on_the_node_is_not_asked_for() -> None:
    assert trio.run(lambda: play(110_000, range(COUNT), held=True)).batches == []


def test_shuffled_reads_ask_for_no_more_than_is_allowed() -> None:
    order = random.Random(1).sample(range(COUNT), COUNT // 2)
    chunks = trio.run(lambda: play(4 * MIB, order))
    read = {f"d/{number:04}" for number in order}
    in_vain = sum(want.ref.size for want in chunks.asked() if want.ref.key not in read)
    assert in_vain <= ALLOWANCE + len(order) * 4 * MIB // 8


@pytest.mark.parametrize("packed", [False, True])
def test_the_last_file_is_followed_by_nothing(packed: bool) -> None:
    chunks = trio.run(lambda: play(1000, range(COUNT - 10, COUNT), packed=packed))
    assert all(want.index < 1 for want in chunks.asked() if not packed)
    assert len({want.ref.key for want in chunks.asked()}) <= 10


def test_large_files_are_not_fetched_before_they_are_opened() -> None:
    assert trio.run(lambda: play(17 * MIB, range(20))).batches == []


async def play_by_turns(
    size: int, asked: Sequence[Chunks], numbers: Iterable[int] = range(COUNT)
) -> list[str]:
    """Read files in order, each by another one of several workers of a mount.

    Returns the keys of what they *asked* for.
    """
    mounted = published(size)
    layouts = Layouts(mounted, {SOURCE: "s3://h/source", REPOSITORY: "s3://h/repository"})
    table, worker_count, tracks = bytearray(TABLE_SIZE), len(asked), Tracks()
    workers = [Lookahead(mounted, layouts, chunks, Awaited(table), tracks) for chunks in asked]
    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(worker.run)
        for number in numbers:
            place = 0, FIRST + number
            extents = await layouts.extents(*place)
            worker = workers[number % worker_count]
            worker.note(place, extents, ReadRequest(0, size), missed=True)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    different = {id(chunks): chunks for chunks in asked}.values()
    return sorted(want.ref.key for chunks in different for want in chunks.asked())


class Far(Chunks):
    """A cache in which nothing is ever here yet: by the table alone workers know of one another."""

    def prefetch_nowait(self, wants: Sequence[Want]) -> None:
        self.batches.append(list(wants))


@pytest.mark.parametrize("worker_count", [2, 3])
def test_the_workers_of_a_mount_ask_for_each_file_once(worker_count: int) -> None:
    workers = [Far() for _ in range(worker_count)]
    assert trio.run(play_by_turns, 110_000, workers) == ALL_BUT_THE_FIRST


def test_many_workers_see_together_that_files_are_read_in_order() -> None:
    """Each of them sees one read, in the middle of a directory."""
    workers = [Far() for _ in range(8)]
    assert trio.run(play_by_turns, 110_000, workers, [100, 101]) == []
    asked = trio.run(play_by_turns, 110_000, workers, [100, 101, 102])
    assert asked == [f"d/{number:04}" for number in range(103, 103 + FIRST_WIDTH)]


def test_what_another_worker_is_reading_is_not_asked_for() -> None:
    """One of two sees 100, 101 and 102, the other one 103 and 104."""
    workers = [Far(), Far()]
    asked = trio.run(play_by_turns, 110_000, workers, [100, 103, 101, 104, 102])
    assert asked == [f"d/{number:04}" for number in range(105, 109)]


def test_what_one_worker_had_fetched_and_another_reads_is_paid_back() -> None:
    size = 2 * MIB
    assert COUNT * size > 10 * ALLOWANCE
    assert trio.run(play_by_turns, size, [Far(), Far()]) == ALL_BUT_THE_FIRST


def test_what_was_fetched_long_before_it_is_read_is_paid_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So late that the other worker has looked at it anew meanwhile, and found it here."""
    size = 2 * MIB
    clock = itertools.count(step=int(CLAIM_SECONDS) + 1)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    node = Chunks()
    assert COUNT * size > 10 * ALLOWANCE
    assert trio.run(play_by_turns, size, [node, node]) == ALL_BUT_THE_FIRST


async def lone_reads(
    reads: Sequence[ReadRequest], *, here: Sequence[int]
) -> tuple[list[bool], list[int]]:
    """Read one large file of which fine chunks are *here*; which reads are alone, what they have
    fetched whole.
    """
    mounted = published(CHUNKS * CHUNK_SIZE)
    layouts = Layouts(mounted, {SOURCE: "s3://h/source", REPOSITORY: "s3://h/repository"})
    chunks, place = Chunks(), (0, FIRST)
    lookahead = Lookahead(mounted, layouts, chunks, Awaited(), Tracks())
    extents = await layouts.extents(*place)
    assert extents[0].fine is not None
    chunks.held.update(map(extents[0].fine.object.chunk_id, here))
    alone = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lookahead.run)
        for read in reads:
            lookahead.note(place, extents, read, missed=True)
            pieces = list(file_spans(extents, read.offset, read.size))
            alone.append(lookahead.grained(place, read, pieces) != pieces)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return alone, [want.index for want in chunks.asked()]


def test_a_small_read_elsewhere_is_alone_and_a_large_one_or_the_next_is_not() -> None:
    size = 128 << 10
    reads = [
        ReadRequest(8 * CHUNK_SIZE, size),
        ReadRequest(5 * CHUNK_SIZE, size),
        ReadRequest(2 * CHUNK_SIZE, LONE_READ_LIMIT),
    ]
    alone, asked = trio.run(lambda: lone_reads(reads, here=[0]))
    assert (alone, asked) == ([True, True, False], [])
    onward = [reads[0], ReadRequest(8 * CHUNK_SIZE + size, size)]
    assert trio.run(lambda: lone_reads(onward, here=[0]))[0] == [True, False]


def test_a_second_lone_read_of_a_chunk_has_it_fetched_whole() -> None:
    reads = [ReadRequest(8 * CHUNK_SIZE, 5000), ReadRequest(5 * CHUNK_SIZE, 5000)]
    fine_ones = CHUNK_SIZE // FINE_SIZE
    assert trio.run(lambda: lone_reads(reads, here=[5 * fine_ones + 7])) == ([True, True], [5])


@pytest.mark.parametrize("is_enough", [False, True])
def test_many_lone_reads_of_a_region_have_it_fetched_whole(is_enough: bool) -> None:
    count = int(LONE_READS_A_CHUNK * CHUNKS) + is_enough
    reads = [ReadRequest((9 - 2 * number) * CHUNK_SIZE, 5000) for number in range(5)]
    _, asked = trio.run(lambda: lone_reads(reads, here=range(count)))
    assert sorted(asked) == (list(range(CHUNKS)) if is_enough else [])
