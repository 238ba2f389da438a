from __future__ import annotations

import asyncio
import time

import pytest

from csi.errors import BusyError, UnavailableError
from csi.inflight import InFlight, Kind, to_the_end

V1, V2 = frozenset({"v1", "/t1"}), frozenset({"v2", "/t2"})


async def ready(value: int) -> int:
    return value


def test_an_operation_returns_what_its_work_returns() -> None:
    async def scenario() -> None:
        in_flight = InFlight()
        assert await in_flight.run(Kind.PUBLISH, V1, ready(7)) == 7
        assert await in_flight.run(Kind.UNPUBLISH, V1, ready(8)) == 8

    asyncio.run(scenario())


def test_a_second_operation_on_a_volume_is_refused_at_once_and_others_are_not() -> None:
    async def scenario() -> None:
        in_flight, gate = InFlight(), asyncio.Event()
        first = asyncio.create_task(in_flight.run(Kind.PUBLISH, V1, gate.wait()))
        await asyncio.sleep(0)
        began = time.monotonic()
        with pytest.raises(BusyError, match="publish is still running"):
            await in_flight.run(Kind.PUBLISH, V1, ready(1))
        assert time.monotonic() - began < 0.1
        assert await in_flight.run(Kind.PUBLISH, V2, ready(2)) == 2
        gate.set()
        assert await first

    asyncio.run(scenario())


def test_two_volumes_cannot_have_one_target_at_once() -> None:
    async def scenario() -> None:
        in_flight, gate = InFlight(), asyncio.Event()
        first = asyncio.create_task(in_flight.run(Kind.PUBLISH, V1, gate.wait()))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="/t1"):
            await in_flight.run(Kind.PUBLISH, frozenset({"v2", "/t1"}), ready(1))
        gate.set()
        await first

    asyncio.run(scenario())


def test_work_goes_on_when_its_caller_is_cancelled() -> None:
    async def scenario() -> None:
        in_flight, gate, done = InFlight(), asyncio.Event(), asyncio.Event()

        async def work() -> None:
            await gate.wait()
            done.set()

        caller = asyncio.create_task(in_flight.run(Kind.PUBLISH, V1, work()))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        with pytest.raises(BusyError):
            await in_flight.run(Kind.PUBLISH, V1, ready(1))
        gate.set()
        async with asyncio.timeout(10):
            await done.wait()
        await asyncio.sleep(0)
        assert await in_flight.run(Kind.PUBLISH, V1, ready(1)) == 1

    asyncio.run(scenario())


def test_an_error_with_nobody_to_tell_is_no_trouble() -> None:
    async def scenario() -> None:
        in_flight, gate = InFlight(), asyncio.Event()

        async def work() -> None:
            await gate.wait()
            raise UnavailableError("too late")

        caller = asyncio.create_task(in_flight.run(Kind.PUBLISH, V1, work()))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        gate.set()
        await in_flight.finish(10)

    asyncio.run(scenario())


def test_an_unpublish_calls_off_the_publish_of_the_same_and_is_to_come_again() -> None:
    async def scenario() -> None:
        in_flight = InFlight()
        never = asyncio.Event().wait()
        publish = asyncio.create_task(in_flight.run(Kind.PUBLISH, V1, never))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await in_flight.run(Kind.UNPUBLISH, V1, ready(1))
        with pytest.raises(UnavailableError, match="called off"):
            await publish
        assert await in_flight.run(Kind.UNPUBLISH, V1, ready(1)) == 1

    asyncio.run(scenario())


def test_an_unpublish_elsewhere_calls_nothing_off() -> None:
    async def scenario() -> None:
        in_flight, gate = InFlight(), asyncio.Event()
        publish = asyncio.create_task(in_flight.run(Kind.PUBLISH, V1, gate.wait()))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await in_flight.run(Kind.UNPUBLISH, frozenset({"v1", "/t9"}), ready(1))
        gate.set()
        assert await publish

    asyncio.run(scenario())


def test_at_the_end_nothing_is_admitted_and_what_is_late_is_cancelled() -> None:
    async def scenario() -> None:
        in_flight, undone = InFlight(), asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                undone.set()

        caller = asyncio.create_task(in_flight.run(Kind.PUBLISH, V1, work()))
        await asyncio.sleep(0)
        await in_flight.finish(0)
        assert undone.is_set()
        with pytest.raises(UnavailableError):
            await caller
        with pytest.raises(UnavailableError, match="stopping"):
            await in_flight.run(Kind.PUBLISH, V2, ready(1))

    asyncio.run(scenario())


def test_what_is_run_to_the_end_is_waited_for_and_then_the_cancellation_raised() -> None:
    async def scenario() -> None:
        gate, done = asyncio.Event(), asyncio.Event()

        async def step() -> None:
            await gate.wait()
            done.set()

        task = asyncio.create_task(to_the_end(step()))
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(scenario())


def test_what_is_run_to_the_end_returns_and_raises_as_ever() -> None:
    async def fail() -> None:
        raise UnavailableError("x")

    assert asyncio.run(to_the_end(ready(3))) == 3
    with pytest.raises(UnavailableError):
        asyncio.run(to_the_end(fail()))
