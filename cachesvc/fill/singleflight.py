"""One call under way for a key, however many ask for it. Knows nothing of what is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import anyio

K = TypeVar("K")
C = TypeVar("C")


class FlightAbandonedError(Exception):
    """The task that carried a flight was cancelled: who waits may start another."""


class Flight(Generic[K, C]):
    """One call for one or several keys. It lands once, well or with an error."""

    __slots__ = ("_error", "_landed", "cargo", "keys")

    def __init__(self, keys: Iterable[K], cargo: C) -> None:
        """Announce a call for *keys*; *cargo* is what those who find the flight may look at."""
        self.keys = tuple(keys)
        self.cargo = cargo
        self._landed = anyio.Event()
        self._error: Exception | None = None

    def land(self, error: Exception | None = None) -> None:
        """Wake everyone who waits; with *error*, they raise it."""
        self._error = error
        self._landed.set()

    async def wait(self) -> None:
        """Return when the call is done, or raise what it raised."""
        await self._landed.wait()
        if self._error is not None:
            raise self._error


class SingleFlight(Generic[K, C]):
    """The flights under way. A failure reaches all who wait and is not kept."""

    def __init__(self) -> None:
        """Begin with nothing under way."""
        self._flights: dict[K, Flight[K, C]] = {}

    def __len__(self) -> int:
        """Return how many keys are under way."""
        return len(self._flights)

    def find(self, key: K) -> Flight[K, C] | None:
        """Return the flight that will bring *key*, if there is one."""
        return self._flights.get(key)

    def announce(self, keys: Iterable[K], cargo: C) -> Flight[K, C]:
        """Register a flight for keys that have none. `carry` must follow, in some task."""
        flight = Flight(keys, cargo)
        self._flights.update(dict.fromkeys(flight.keys, flight))
        return flight

    async def carry(self, flight: Flight[K, C], call: Callable[[], Awaitable[None]]) -> None:
        """Make the call in the caller's task and land the flight with what comes of it.

        When this task is cancelled, the others who wait get FlightAbandonedError.
        """
        try:
            await call()
        except BaseException as error:
            self._forget(flight)
            flight.land(error if isinstance(error, Exception) else FlightAbandonedError())
            raise
        self._forget(flight)
        flight.land()

    def _forget(self, flight: Flight[K, C]) -> None:
        """Let the next who asks start anew."""
        for key in flight.keys:
            del self._flights[key]
