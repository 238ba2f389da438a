"""One call for all who ask; failures reach everybody, cancellation nobody else."""

from __future__ import annotations

import anyio
import pytest
import trio
import trio.testing

from cachesvc.fill.singleflight import FlightAbandonedError, SingleFlight


def test_those_who_find_a_flight_wait_for_its_end() -> None:
    async def play() -> None:
        flights: SingleFlight[str, None] = SingleFlight()
        gate = anyio.Event()
        arrived: list[int] = []

        async def wait(number: int) -> None:
            flight = flights.find("b")
            assert flight is not None
            await flight.wait()
            arrived.append(number)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flights.carry, flights.announce("ab", None), gate.wait)
            for number in range(3):
                tasks.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
            assert arrived == []
            gate.set()
        assert sorted(arrived) == [0, 1, 2]
        assert len(flights) == 0

    trio.run(play)


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def play() -> None:
        flights: SingleFlight[str, None] = SingleFlight()
        flight = flights.announce("a", None)
        with pytest.raises(ValueError, match="no"):
            await flights.carry(flight, fail)
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                await flight.wait()
        assert flights.find("a") is None

    trio.run(play)


def test_when_the_carrier_is_cancelled_the_others_are_told() -> None:
    async def play() -> None:
        flights: SingleFlight[str, None] = SingleFlight()
        flight = flights.announce("a", None)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await flights.carry(flight, anyio.sleep_forever)
        with pytest.raises(FlightAbandonedError):
            await flight.wait()

    trio.run(play)
