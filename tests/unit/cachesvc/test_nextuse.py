"""Who goes first where some of what is stored was announced and some was not."""

from __future__ import annotations

from cachesvc.chunk import ChunkId
from cachesvc.store.eviction import EvictionPolicy
from cachesvc.store.nextuse import NextUse, NextUsePolicy

NOTHING: frozenset[ChunkId] = frozenset()
CAPACITY = 1000


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(24, "big"))


class Announced(dict[ChunkId, NextUse]):
    """A schedule that is written down."""

    def next_use(self, wanted: ChunkId) -> NextUse | None:
        return self.get(wanted)

    def plan(self, *numbers: int, soon: int = 0) -> None:
        """Announce chunks in this order, the first ones of which are soon."""
        self.clear()
        self.update({chunk(number): NextUse(due, due < soon) for due, number in enumerate(numbers)})


def filled(announced: Announced, count: int = 100) -> NextUsePolicy:
    policy = NextUsePolicy(EvictionPolicy(CAPACITY, 10_000), announced)
    for number in range(count):
        policy.admit(chunk(number), 10)
    return policy


def gone(policy: NextUsePolicy, size: int, pinned: frozenset[ChunkId] = NOTHING) -> list[int]:
    return [int.from_bytes(victim, "big") for victim in policy.victims(size, pinned)]


def test_what_nobody_announced_goes_first() -> None:
    announced = Announced()
    announced.plan(*range(50))
    assert gone(filled(announced), 30) == [50, 51, 52]


def test_what_is_needed_latest_goes_before_the_last_tenth_of_what_nobody_announced() -> None:
    announced = Announced()
    announced.plan(*range(90))
    assert gone(filled(announced), 30) == [89, 88, 87]


def test_what_was_fetched_ahead_goes_last() -> None:
    announced = Announced()
    announced.plan(*range(90), soon=88)
    assert gone(filled(announced), 130) == [89, 88, *range(90, 100), 87]


def test_pinned_chunks_stay_though_they_are_needed_latest() -> None:
    announced = Announced()
    announced.plan(*range(100))
    policy = filled(announced)
    assert gone(policy, 10, frozenset({chunk(99)})) == [98]
    assert gone(policy, 10) == [99]


def test_a_chunk_that_was_announced_after_it_was_stored_is_kept() -> None:
    announced = Announced()
    policy = filled(announced)
    announced.plan(0, 1, soon=2)
    policy.replan([chunk(0), chunk(1), chunk(777)])
    assert policy.planned_count == 2
    assert gone(policy, 980) == list(range(2, 100))


def test_a_read_puts_a_chunk_where_its_next_use_is() -> None:
    announced = Announced()
    announced.plan(*range(100))
    policy = filled(announced)
    announced[chunk(0)] = NextUse(1000, is_soon=False)
    policy.touch(chunk(0))
    assert gone(policy, 20) == [0, 99]


def test_a_withdrawn_plan_keeps_nothing() -> None:
    announced = Announced()
    announced.plan(*range(100))
    policy = filled(announced)
    announced.clear()
    gone(policy, 10)
    assert policy.planned_count == 0


def test_too_many_chunks_are_evicted_though_all_are_announced() -> None:
    announced = Announced()
    announced.plan(*range(10))
    policy = NextUsePolicy(EvictionPolicy(CAPACITY, 7), announced)
    for number in range(10):
        policy.admit(chunk(number), 1)
    assert policy.too_many
    assert gone(policy, 0) == [9, 8, 7]
    assert not policy.too_many
