from __future__ import annotations

from collections.abc import Iterable

from cachesvc.chunk import ChunkId
from cachesvc.store.eviction import EvictionPolicy

NOTHING: frozenset[ChunkId] = frozenset()


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(24, "big"))


def filled(numbers: Iterable[int], capacity: int = 1000, size: int = 10) -> EvictionPolicy:
    """Return a policy with room for 100 chunks of 10 bytes, and some of them in it."""
    policy = EvictionPolicy(capacity, max_count=10_000)
    for number in numbers:
        policy.admit(chunk(number), size)
    return policy


def admit(policy: EvictionPolicy, number: int, size: int = 10) -> None:
    """Admit a chunk as a cache of 1000 bytes does."""
    list(policy.victims(max(0, policy.size + size - 1000), NOTHING))
    policy.admit(chunk(number), size)


def test_what_came_first_goes_first() -> None:
    policy = filled(range(100))
    assert list(policy.victims(25, NOTHING)) == [chunk(0), chunk(1), chunk(2)]


def test_victims_are_gone_at_once() -> None:
    policy = filled(range(3))
    policy.victims(10, NOTHING)
    assert chunk(0) not in policy
    assert (policy.size, policy.count) == (20, 2)


def read(policy: EvictionPolicy, number: int) -> None:
    """Use a chunk, fetched anew if need be."""
    if chunk(number) not in policy:
        admit(policy, number)
    policy.touch(chunk(number))


def test_nothing_goes_when_nothing_is_needed() -> None:
    assert list(filled(range(100)).victims(0, NOTHING)) == []


def test_a_chunk_used_later_on_stays() -> None:
    policy = filled(range(1))
    policy.touch(chunk(0))
    for number in range(1, 100):
        admit(policy, number)
    policy.touch(chunk(0))
    assert list(policy.victims(10, NOTHING)) == [chunk(1)]
    assert policy.hot(chunk(0))


def test_touches_while_a_chunk_is_first_read_do_not_make_it_hot() -> None:
    policy = filled(range(100))
    for _ in range(32):
        policy.touch(chunk(99))
    assert not policy.hot(chunk(99))


def test_the_first_touch_of_a_chunk_is_no_use_however_late_it_is_told() -> None:
    policy = filled(range(100))
    policy.touch(chunk(0))
    assert not policy.hot(chunk(0))


def test_one_pass_over_a_large_dataset_leaves_what_is_used_again_and_again() -> None:
    policy = filled(range(80))
    for number in range(1000, 3000):
        read(policy, number)
        read(policy, number % 80)
    assert sum(chunk(number) in policy for number in range(80)) >= 78


def test_a_chunk_that_comes_back_soon_is_kept_longer() -> None:
    policy = filled(range(100))
    list(policy.victims(10, NOTHING))
    policy.admit(chunk(0), 10)
    assert policy.hot(chunk(0))


def test_what_is_no_longer_used_goes_in_the_end() -> None:
    policy = filled(range(50))
    for number in range(50):
        policy.touch(chunk(number))
    for number in range(100, 3000):
        admit(policy, number)
        policy.touch(chunk(number - 5))
    assert not any(chunk(number) in policy for number in range(50))


def test_pinned_chunks_stay_and_keep_their_place() -> None:
    policy = filled(range(4))
    assert list(policy.victims(10, {chunk(0), chunk(1)})) == [chunk(2)]
    assert list(policy.victims(10, NOTHING)) == [chunk(0)]


def test_all_pinned_means_no_victims() -> None:
    policy = filled(range(4))
    assert list(policy.victims(40, {chunk(number) for number in range(4)})) == []
    assert policy.count == 4


def test_too_many_chunks_are_evicted_though_there_is_room() -> None:
    policy = EvictionPolicy(capacity=1000, max_count=3)
    for number in range(5):
        policy.admit(chunk(number), 1)
    assert policy.too_many
    assert list(policy.victims(0, NOTHING)) == [chunk(0), chunk(1)]
    assert not policy.too_many


def test_a_forgotten_chunk_no_longer_counts() -> None:
    policy = filled(range(3))
    policy.forget(chunk(1))
    policy.forget(chunk(7))
    assert (policy.size, policy.count) == (20, 2)


def test_a_chunk_admitted_twice_counts_once() -> None:
    policy = filled([1, 1])
    assert (policy.size, policy.count) == (10, 1)


def test_hot_chunks_stay_hot_over_a_restart() -> None:
    policy = EvictionPolicy(100, max_count=100)
    policy.restore(chunk(1), 10, hot=True)
    for number in range(2, 11):
        policy.restore(chunk(number), 10, hot=False)
    assert list(policy.victims(30, NOTHING)) == [chunk(2), chunk(3), chunk(4)]
