"""The eviction policy against plain bookkeeping: it may choose as it likes, but never miscount."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from cachesvc.chunk import ChunkId
from cachesvc.store.eviction import EvictionPolicy

CAPACITY = 100
MAX_COUNT = 8
CHUNKS = st.integers(0, 11)
VERBS = ["admit", "touch", "forget", "restore", "make_room"]
Op: TypeAlias = tuple[str, int, int, set[int]]
OPS = st.tuples(st.sampled_from(VERBS), CHUNKS, st.integers(1, 40), st.sets(CHUNKS, max_size=4))


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(24, "big"))


class Played:
    """A policy, and the sizes of the chunks it should know."""

    def __init__(self) -> None:
        self.policy = EvictionPolicy(CAPACITY, MAX_COUNT)
        self.sizes: dict[ChunkId, int] = {}

    def admit(self, number: int, size: int, _: set[int]) -> None:
        self.policy.admit(chunk(number), size)
        self.sizes.setdefault(chunk(number), size)

    def restore(self, number: int, size: int, pinned: set[int]) -> None:
        if chunk(number) not in self.sizes:
            self.policy.restore(chunk(number), size, hot=bool(pinned))
            self.sizes[chunk(number)] = size

    def touch(self, number: int, _: int, __: set[int]) -> None:
        self.policy.touch(chunk(number))

    def forget(self, number: int, _: int, __: set[int]) -> None:
        self.policy.forget(chunk(number))
        self.sizes.pop(chunk(number), None)

    def make_room(self, _: int, needed: int, numbers: set[int]) -> None:
        pinned = {chunk(number) for number in numbers}
        before = dict(self.sizes)
        victims = list(self.policy.victims(needed, pinned))
        assert len(set(victims)) == len(victims)
        assert not pinned & set(victims)
        freed = sum(self.sizes.pop(victim) for victim in victims)
        assert freed >= needed or self.sizes.keys() <= pinned
        assert len(self.sizes) <= MAX_COUNT or self.sizes.keys() <= pinned
        self.require_no_more_than_needed(victims, before, needed)

    @staticmethod
    def require_no_more_than_needed(
        victims: list[ChunkId], before: dict[ChunkId, int], needed: int
    ) -> None:
        """All victims but the last are not enough."""
        if victims:
            freed = sum(before[victim] for victim in victims[:-1])
            assert freed < needed or len(before) - len(victims) + 1 > MAX_COUNT

    def compare(self) -> None:
        assert self.policy.size == sum(self.sizes.values())
        assert self.policy.count == len(self.sizes)
        assert {n for n in range(12) if chunk(n) in self.policy} == {
            n for n in range(12) if chunk(n) in self.sizes
        }


@given(st.lists(OPS, max_size=60))
def test_sizes_and_counts_are_those_of_the_chunks(ops: list[Op]) -> None:
    played = Played()
    for verb, number, size, numbers in ops:
        getattr(played, verb)(number, size, numbers)
        played.compare()
