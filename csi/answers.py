"""What the mounter resolved a moment ago, so that pods that start together ask once.

An answer is shared only by those who ask the same as the same identity; a refusal is not kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from csi.mounter import Resolved

KEPT_SECONDS = 30.0
MOST_KEPT = 1024

Resolve = Callable[[Mapping[str, object]], Coroutine[Any, Any, Resolved]]


@dataclass(frozen=True, slots=True)
class Flight:
    """A question that is being asked, or was answered well; its answer holds secrets."""

    task: asyncio.Task[Resolved] = field(repr=False)
    identity: object
    asked_at: float


class Answers:
    """Asks, and remembers for a short time. Owns the tasks that ask; belongs to one event loop."""

    def __init__(self, resolve: Resolve, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask by *resolve*, which must have a deadline."""
        self._resolve = resolve
        self._clock = clock
        self._flights: dict[str, Flight] = {}

    async def get(self, question: Mapping[str, object]) -> Resolved:
        """Return the answer to *question*. Raises what `resolve` raises.

        One who is cancelled takes nothing away from the others who wait.
        """
        key = _key_of(question)
        self._forget_old()
        flight = self._flights.get(key) or self._ask(key, question)
        return await asyncio.shield(flight.task)

    async def get_anew(self, question: Mapping[str, object]) -> Resolved:
        """Return an answer that was given to these very credentials.

        Those that this identity was given before were given to older ones: they are forgotten.
        """
        resolved = await self._resolve(question)
        for key, flight in list(self._flights.items()):
            if flight.identity == question["identity"] and flight.task.done():
                del self._flights[key]
        return resolved

    async def close(self) -> None:
        """Give up whatever is being asked."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, key: str, question: Mapping[str, object]) -> Flight:
        task = asyncio.create_task(self._resolve(question))
        flight = self._flights[key] = Flight(task, question["identity"], self._clock())
        flight.task.add_done_callback(lambda done: self._drop_failure(key, flight, done))
        return flight

    def _drop_failure(self, key: str, flight: Flight, done: asyncio.Task[Resolved]) -> None:
        failed = done.cancelled() or done.exception() is not None
        if failed and self._flights.get(key) is flight:
            del self._flights[key]

    def _forget_old(self) -> None:
        """Forget answers that are too old, and the oldest where there are too many."""
        horizon = self._clock() - KEPT_SECONDS
        done = [key for key, flight in self._flights.items() if flight.task.done()]
        surplus = len(self._flights) - MOST_KEPT
        for number, key in enumerate(done):
            if number < surplus or self._flights[key].asked_at <= horizon:
                del self._flights[key]


def _key_of(question: Mapping[str, object]) -> str:
    """Return what two questions have in common that have one answer: all but their credentials."""
    asked = {name: value for name, value in question.items() if name != "environment"}
    return json.dumps(asked, sort_keys=True)
