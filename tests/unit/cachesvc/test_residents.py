"""What is stored, what must stay and what goes next."""

from __future__ import annotations

from cachesvc.chunk import ChunkId
from cachesvc.fill.lease import Leases
from cachesvc.fill.plans import Plans
from cachesvc.fill.residents import FULL_SECONDS, Residents
from cachesvc.store.eviction import EvictionPolicy
from cachesvc.store.nextuse import NextUsePolicy

CAPACITY = 1000
LEASE_SECONDS = 10.0


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(24, "big"))


def filled(count: int, size: int = 10, now: float = 0.0) -> Residents:
    policy = NextUsePolicy(EvictionPolicy(CAPACITY, 200), Plans(0))
    residents = Residents(policy, Leases(CAPACITY // 4, LEASE_SECONDS), CAPACITY)
    for number in range(count):
        residents.admit(chunk(number), size, now)
    return residents


def test_nothing_goes_below_the_high_watermark() -> None:
    assert filled(95).due(0, now=100.0) == []


def test_above_the_high_watermark_it_goes_down_to_the_low_one() -> None:
    residents = filled(96)
    victims = residents.due(0, now=100.0)
    assert (len(victims), residents.size) == (6, 900)
    assert not any(victim in residents for victim in victims)


def test_what_is_coming_counts() -> None:
    assert len(filled(90).due(60, now=100.0)) == 6


def test_a_chunk_that_was_not_read_yet_stays() -> None:
    residents = filled(80, now=0.0)
    for number in range(80, 100):
        residents.admit(chunk(number), 10, now=100.0)
    victims = residents.victims(900, now=101.0)
    assert victims
    assert all(chunk(number) in residents for number in range(80, 100))


def test_a_lease_ends_when_its_chunk_is_read() -> None:
    leases = Leases(100, LEASE_SECONDS)
    leases.grant(chunk(1), 10, now=0.0)
    leases.release(chunk(1))
    assert chunk(1) not in leases.held(now=1.0)


def test_a_lease_ends_with_its_time() -> None:
    leases = Leases(100, LEASE_SECONDS)
    leases.grant(chunk(1), 10, now=0.0)
    assert chunk(1) in leases.held(now=LEASE_SECONDS - 1)
    assert chunk(1) not in leases.held(now=LEASE_SECONDS + 1)


def test_leases_hold_a_bounded_number_of_bytes() -> None:
    leases = Leases(100, LEASE_SECONDS)
    for number in range(20):
        leases.grant(chunk(number), 10, now=0.0)
    assert set(leases.held(now=1.0)) == {chunk(number) for number in range(10, 20)}


def test_a_full_disk_lowers_the_capacity_for_a_while() -> None:
    residents = filled(50)
    residents.disk_full(now=100.0)
    assert residents.due(0, now=101.0)
    assert residents.due(0, now=102.0 + FULL_SECONDS) == []


def test_too_many_small_chunks_are_evicted_too() -> None:
    residents = filled(210, size=1)
    residents.due(0, now=100.0)
    assert len(residents) == 200


def test_a_chunk_used_again_is_reported_hot_once() -> None:
    residents = filled(1)
    residents.touch(chunk(0))
    for number in range(1, 60):
        residents.admit(chunk(number), 10, now=0.0)
    assert residents.newly_hot() == []
    residents.touch(chunk(0))
    assert residents.newly_hot() == [chunk(0)]
    residents.touch(chunk(0))
    assert residents.newly_hot() == []


def test_a_restored_chunk_is_doubtful_until_it_is_trusted() -> None:
    residents = filled(0)
    residents.restore(chunk(0), 10, hot=False, doubtful=True)
    assert residents.is_doubtful(chunk(0))
    residents.trust(chunk(0))
    assert not residents.is_doubtful(chunk(0))


def test_a_chunk_that_takes_anothers_place_counts_once() -> None:
    residents = filled(1, size=10)
    residents.admit(chunk(0), 30, now=1.0)
    assert (len(residents), residents.size) == (1, 30)


def test_a_doubtful_chunk_that_was_replaced_is_not_doubtful() -> None:
    residents = filled(0)
    residents.restore(chunk(0), 10, hot=True, doubtful=True)
    residents.admit(chunk(0), 10, now=1.0)
    assert not residents.is_doubtful(chunk(0))
