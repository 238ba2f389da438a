"""Ranges in flight are bounded by count and bytes, and readers come before prefetch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.fill.gate import (
    FIRST_COUNT,
    PART_SIZE,
    RANGES_A_CONNECTION,
    FetchGate,
    Pass,
    Urgency,
)

MAX_COUNT = 4
MAX_SIZE = 100


@given(
    st.lists(st.tuples(st.integers(1, 150), st.sampled_from(Urgency), st.booleans()), max_size=30)
)
def test_the_bounds_hold_and_everybody_gets_through(
    ranges: list[tuple[int, Urgency, bool]],
) -> None:
    """Whatever sizes come in whatever order, and whoever gives up while waiting."""
    held: list[int] = []

    async def fetch(gate: FetchGate, size: int, urgency: Urgency, patient: bool) -> None:
        with anyio.move_on_after(1000 if patient else 1):
            async with gate.holding(Pass(size, urgency)):
                held.append(size)
                assert len(held) <= MAX_COUNT
                assert sum(held) <= MAX_SIZE or len(held) == 1
                try:
                    await anyio.sleep(2)
                finally:
                    held.remove(size)

    async def play() -> None:
        gate = FetchGate(MAX_COUNT, MAX_SIZE)
        async with anyio.create_task_group() as tasks:
            for size, urgency, patient in ranges:
                tasks.start_soon(fetch, gate, size, urgency, patient)
        assert gate.size == 0
        with anyio.fail_after(1):
            async with gate.holding(Pass(MAX_SIZE, Urgency.DEMAND)):
                pass

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


def waiter(
    gate: FetchGate, urgency: Urgency, name: str, order: list[str]
) -> Callable[[], Coroutine[None, None, None]]:
    async def wait() -> None:
        async with gate.holding(Pass(1, urgency)):
            order.append(name)

    return wait


def test_demand_overtakes_prefetch() -> None:
    async def play() -> None:
        gate = FetchGate(1, MAX_SIZE)
        order: list[str] = []
        async with anyio.create_task_group() as tasks, gate.holding(Pass(1, Urgency.DEMAND)):
            tasks.start_soon(waiter(gate, Urgency.PREFETCH, "prefetch", order))
            await trio.testing.wait_all_tasks_blocked()
            tasks.start_soon(waiter(gate, Urgency.DEMAND, "demand", order))
            await trio.testing.wait_all_tasks_blocked()
        assert order == ["demand", "prefetch"]

    trio.run(play)


def test_prefetch_leaves_room_for_a_reader() -> None:
    async def play() -> None:
        gate = FetchGate(4, MAX_SIZE)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(hold, gate)
            await trio.testing.wait_all_tasks_blocked()
            with anyio.fail_after(1):
                async with gate.holding(Pass(1, Urgency.DEMAND)):
                    pass
            tasks.cancel_scope.cancel()

    async def hold(gate: FetchGate) -> None:
        async with gate.holding(Pass(1, Urgency.PREFETCH)):
            await anyio.sleep_forever()

    trio.run(play)


def test_a_range_that_arrived_lets_the_next_one_start() -> None:
    async def play() -> None:
        gate = FetchGate(1, MAX_SIZE)
        async with gate.holding(Pass(1, Urgency.DEMAND)) as first:
            gate.fetched(first)
            with anyio.fail_after(1):
                async with gate.holding(Pass(1, Urgency.DEMAND)):
                    assert gate.size == 2

    trio.run(play)


@pytest.mark.parametrize("urgency", list(Urgency))
def test_a_range_larger_than_the_bound_passes_alone(urgency: Urgency) -> None:
    async def play() -> None:
        gate = FetchGate(4, MAX_SIZE)
        with anyio.fail_after(1):
            async with gate.holding(Pass(10 * MAX_SIZE, urgency)):
                pass

    trio.run(play)


def count_at_once(gate: FetchGate, arrived: int, *, waiting: int) -> int:
    """Return how many ranges go at once while *waiting* want to, after some have *arrived*."""
    flying: deque[Pass] = deque()
    done: list[Pass] = []

    async def fetch() -> None:
        held = Pass(1, Urgency.DEMAND)
        async with gate.holding(held):
            flying.append(held)
            await anyio.sleep_forever()

    async def play() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(waiting + arrived):
                tasks.start_soon(fetch)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(arrived):
                done.append(flying.popleft())
                gate.fetched(done[-1])
                await trio.testing.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    trio.run(play)
    return len(flying)


def test_more_ranges_go_at_once_the_longer_others_have_to_wait() -> None:
    gate = FetchGate(4 * FIRST_COUNT, 1 << 40)
    assert count_at_once(gate, 0, waiting=200) == FIRST_COUNT
    assert count_at_once(gate, 40, waiting=200) == FIRST_COUNT + 40 // RANGES_A_CONNECTION
    assert count_at_once(gate, 1000, waiting=200) == 4 * FIRST_COUNT


def test_after_a_rest_it_begins_anew() -> None:
    gate = FetchGate(4 * FIRST_COUNT, 1 << 40)
    assert count_at_once(gate, 1000, waiting=200) == 4 * FIRST_COUNT
    assert count_at_once(gate, 1, waiting=0) == 0
    assert count_at_once(gate, 0, waiting=200) == FIRST_COUNT


def test_there_are_no_more_at_once_where_nobody_waits_bytes_lack_or_nothing_arrives() -> None:
    assert count_after(passing=FIRST_COUNT, pass_size=1) == FIRST_COUNT
    assert count_after(passing=200, pass_size=MAX_SIZE // 2) == FIRST_COUNT
    assert count_after(passing=200, pass_size=1, arrives=False) == FIRST_COUNT
    assert count_after(passing=200, pass_size=1) > FIRST_COUNT


def test_who_gives_up_waiting_lets_those_behind_go() -> None:
    """What fits goes on its way, though nothing else ends that would wake it."""
    passed: list[int] = []

    async def take(gate: FetchGate, size: int) -> None:
        async with gate.holding(Pass(size, Urgency.DEMAND)):
            passed.append(size)
            await anyio.sleep_forever()

    async def play() -> None:
        gate = FetchGate(FIRST_COUNT, MAX_SIZE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take, gate, 1)
            await trio.testing.wait_all_tasks_blocked()
            with anyio.CancelScope() as patience:
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(take, gate, MAX_SIZE)
                    await trio.testing.wait_all_tasks_blocked()
                    tasks.start_soon(take, gate, 2)
                    await trio.testing.wait_all_tasks_blocked()
                    patience.cancel()
            await trio.testing.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    trio.run(play)
    assert passed == [1, 2]


def count_after(*, passing: int, pass_size: int, arrives: bool = True) -> int:
    """Return how many small ranges go at once beside one that stays, after others passed."""
    flying = 0

    async def small(gate: FetchGate) -> None:
        nonlocal flying
        async with gate.holding(Pass(0, Urgency.DEMAND)):
            flying += 1
            await anyio.sleep_forever()

    async def other(gate: FetchGate) -> None:
        async with gate.holding(Pass(pass_size, Urgency.DEMAND)) as held:
            await anyio.sleep(1)
            if arrives:
                gate.fetched(held)

    async def play() -> None:
        gate = FetchGate(4 * FIRST_COUNT, MAX_SIZE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(small, gate)
            await trio.testing.wait_all_tasks_blocked()
            async with anyio.create_task_group() as others:
                for _ in range(passing - 1):
                    others.start_soon(other, gate)
            for _ in range(200):
                tasks.start_soon(small, gate)
            await trio.testing.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    return flying


def part_counts(urgency: Urgency, size: int, how_many: int) -> list[int]:
    """Return by how many requests so many ranges go that are fetched at the same time."""

    passes = [Pass(size, urgency) for _ in range(how_many)]

    async def play() -> None:
        gate = FetchGate(32, 1 << 40)
        async with AsyncExitStack() as held:
            for each in passes:
                await held.enter_async_context(gate.holding(each))

    trio.run(play)
    return [each.part_count for each in passes]


def test_a_range_that_a_reader_waits_for_goes_in_parts_while_there_is_room() -> None:
    counts = part_counts(Urgency.DEMAND, 4 * PART_SIZE, 20)
    assert counts == [4, 3, 3, 2, 2, 2, 2, *13 * [1]]


@pytest.mark.parametrize(
    ("urgency", "size"), [(Urgency.PREFETCH, 4 * PART_SIZE), (Urgency.DEMAND, 2 * PART_SIZE - 1)]
)
def test_what_nobody_waits_for_or_what_is_small_goes_whole(urgency: Urgency, size: int) -> None:
    assert part_counts(urgency, size, 3) == [1, 1, 1]


@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(Urgency)), max_size=20),
)
def test_the_bound_holds_for_all_parts_together(
    max_count: int, ranges: list[tuple[int, Urgency]]
) -> None:
    parts: list[int] = []

    async def fetch(gate: FetchGate, size: int, urgency: Urgency) -> None:
        async with gate.holding(Pass(size * PART_SIZE, urgency)) as held:
            parts.append(held.part_count)
            assert sum(parts) <= max_count
            await anyio.sleep(1)
            parts.remove(held.part_count)

    async def play() -> None:
        gate = FetchGate(max_count, 1 << 40)
        async with anyio.create_task_group() as tasks:
            for size, urgency in ranges:
                tasks.start_soon(fetch, gate, size, urgency)
        with anyio.fail_after(1):
            async with AsyncExitStack() as held:
                for _ in range(max_count):
                    await held.enter_async_context(gate.holding(Pass(1, Urgency.DEMAND)))

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_reader_hastens_what_was_to_be_fetched_ahead() -> None:
    """It goes before what nobody waits for, and takes the room that is kept for readers."""

    async def play() -> None:
        gate = FetchGate(2, MAX_SIZE)
        order: list[str] = []
        hastened = Pass(1, Urgency.PREFETCH)

        async def wait() -> None:
            async with gate.holding(hastened):
                order.append("hastened")

        async with anyio.create_task_group() as tasks, gate.holding(Pass(1, Urgency.PREFETCH)):
            tasks.start_soon(waiter(gate, Urgency.PREFETCH, "prefetch", order))
            await trio.testing.wait_all_tasks_blocked()
            tasks.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert order == []
            gate.hasten(hastened)
            await trio.testing.wait_all_tasks_blocked()
            assert order == ["hastened"]
        assert order == ["hastened", "prefetch"]
        assert gate.size == 0

    trio.run(play)


def test_prefetch_alone_has_all_ranges_but_one_of_32() -> None:
    async def play() -> None:
        gate = FetchGate(32, MAX_SIZE)
        order: list[str] = []

        async def hold(number: int) -> None:
            async with gate.holding(Pass(1, Urgency.PREFETCH)):
                order.append(str(number))
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(hold, number)
            await trio.testing.wait_all_tasks_blocked()
            assert len(order) == 31
            tasks.cancel_scope.cancel()

    trio.run(play)
