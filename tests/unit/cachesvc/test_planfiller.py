"""What is announced is fetched in order, many steps at a time, for as long as there are any."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import anyio

from cachesvc.chunk import ChunkId, ObjectRef
from cachesvc.errors import ObjectMissingError
from cachesvc.fill.cache import ChunkCache, Deliver, Wanted
from cachesvc.fill.committer import Committer
from cachesvc.fill.gate import Urgency
from cachesvc.fill.plan import Plan
from cachesvc.fill.planfiller import PlanFiller
from cachesvc.fill.plans import Plans
from cachesvc.metrics import Metrics
from cachesvc.planned import PiecePacker
from cachesvc.units import MIB
from cachesvc.want import Want
from cachesvc.wire import Announce, Chunks
from cachesvc.wire import Plan as PlanMessage
from tests.fakes.memory_store import MemoryStore

SIZE = MIB
STEPS = 8
BYTES = 1 << 40
STORE = MemoryStore()


def files(count: int) -> list[Want]:
    return [
        Want(0, ObjectRef(STORE.root, f"file-{number}", SIZE, None, SIZE), 0)
        for number in range(count)
    ]


def resolve(chunks: Chunks) -> Wanted:
    ref = ObjectRef(STORE.root, chunks.key, chunks.size, chunks.version, chunks.chunk_size)
    return Wanted(STORE, ref, chunks.indices)


@dataclass
class SlowCache:
    """Fills what it is let fill, one by one, and remembers in which order it was asked."""

    asked: list[str] = field(default_factory=list)
    allowed: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(0))
    missing: frozenset[str] = frozenset()
    filled_count: int = 0

    async def fill(self, wanted: Wanted, _deliver: Deliver, _urgency: Urgency) -> None:
        self.asked.append(wanted.ref.key)
        await self.allowed.acquire()
        if wanted.ref.key in self.missing:
            raise ObjectMissingError(wanted.ref.key)
        self.filled_count += 1

    async def let(self, count: int) -> None:
        """Let so many more be filled."""
        for _ in range(count):
            self.allowed.release()
        await anyio.wait_all_tasks_blocked()


@dataclass
class Held:
    """What is stored, and that of a committer which is looked at."""

    chunks: set[ChunkId] = field(default_factory=set)

    @property
    def residents(self) -> Held:
        return self

    def is_readable(self, chunk: ChunkId) -> bool:
        return chunk in self.chunks

    def replan(self, _: Iterable[ChunkId]) -> None:
        """Nothing is evicted here."""


@dataclass
class Bench:
    """A filler that works, and what it asks."""

    filler: PlanFiller
    cache: SlowCache

    async def announce(self, wants: Iterable[Want], window: int = 0) -> Plan:
        plan = self.filler.begin(PlanMessage(1, window, 0), resolve, _ignore)
        packer = PiecePacker()
        for piece in [*(p for want in wants for p in packer.add(want)), *packer.flush()]:
            self.filler.announce(plan, Announce(1, piece.ids, piece.wants, False))
        await anyio.wait_all_tasks_blocked()
        return plan


def _ignore(_: object) -> None:
    """Nobody listens."""


@asynccontextmanager
async def working(
    held: Held | None = None, missing: Iterable[str] = (), max_size: int = BYTES
) -> AsyncIterator[Bench]:
    cache = SlowCache(missing=frozenset(missing))
    filler = PlanFiller(
        Plans(1 << 40),
        cast("ChunkCache", cache),
        cast("Committer", held or Held()),
        Metrics(),
        max_count=STEPS,
        max_size=max_size,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(filler.run)
        yield Bench(filler, cache)
        tasks.cancel_scope.cancel()


def names(count: int) -> list[str]:
    return [want.ref.key for want in files(count)]


def test_as_many_steps_as_may_be_are_under_way_all_the_time() -> None:
    async def play() -> None:
        async with working() as bench:
            await bench.announce(files(20))
            assert bench.cache.asked == names(STEPS)
            for done in range(1, 12):
                await bench.cache.let(1)
                assert bench.cache.asked == names(STEPS + done)
            await bench.cache.let(20)
            assert bench.cache.filled_count == 20

    anyio.run(play)


def test_large_steps_are_fewer_at_a_time() -> None:
    """What is taken is fetched, though its order be withdrawn meanwhile."""

    async def play() -> None:
        async with working(max_size=3 * SIZE) as bench:
            await bench.announce(files(20))
            assert bench.cache.asked == names(3)
            await bench.cache.let(2)
            assert bench.cache.asked == names(5)
            await bench.cache.let(18)
            assert bench.cache.filled_count == 20

    anyio.run(play)


def test_what_is_held_is_passed_over() -> None:
    held = Held({want.chunk for want in files(400)[:399]})

    async def play() -> None:
        async with working(held) as bench:
            await bench.announce(files(400))
            assert bench.cache.asked == ["file-399"]

    anyio.run(play)


def test_a_failure_does_not_end_the_others() -> None:
    async def play() -> None:
        async with working(missing=["file-0", "file-9"]) as bench:
            await bench.announce(files(20))
            await bench.cache.let(20)
            assert bench.cache.asked == names(20)
            assert bench.cache.filled_count == 18

    anyio.run(play)


def test_a_plan_that_waited_for_its_reader_goes_on_with_all_steps() -> None:
    async def play() -> None:
        async with working() as bench:
            await bench.announce(files(40), window=10 * SIZE)
            await bench.cache.let(40)
            first = len(bench.cache.asked)
            assert STEPS < first <= 10
            bench.filler.read([want.chunk for want in files(first)])
            await anyio.wait_all_tasks_blocked()
            assert len(bench.cache.asked) > first

    anyio.run(play)


def test_an_order_after_the_first_is_worked_off_too() -> None:
    async def play() -> None:
        async with working() as bench:
            plan = await bench.announce(files(3))
            await bench.cache.let(3)
            bench.filler.withdraw(plan)
            await bench.announce(files(6)[3:])
            assert bench.cache.asked == names(6)

    anyio.run(play)
