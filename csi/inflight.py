"""One operation on a volume at a time, each a task of its own that outlives who asked for it.

A client's deadline cancels its handler, not the work: the retry finds it finished or still running.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from csi.errors import BusyError, UnavailableError

T = TypeVar("T")

log = logging.getLogger(__name__)


class Kind(Enum):
    """What is being done."""

    PUBLISH = "publish"
    UNPUBLISH = "unpublish"


@dataclass(frozen=True, slots=True)
class Operation:
    """What runs, on what: several keys, each of which admits one operation."""

    kind: Kind
    keys: frozenset[Hashable]
    task: asyncio.Task[Any]


class InFlight:
    """All operations under way. Belongs to one event loop, so nothing here needs a lock."""

    def __init__(self) -> None:
        """Begin with nothing under way."""
        self._operations: dict[Hashable, Operation] = {}
        self._closed = False

    async def run(self, kind: Kind, keys: frozenset[Hashable], work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns, run as a task that goes on when the caller is cancelled.

        Raises BusyError at once while another operation on one of *keys* runs. An unpublish that
        finds the publish of the very same has it cancelled, so that the next try finds it undone.
        """
        try:
            self._check(kind, keys)
        except BaseException:
            work.close()
            raise
        operation = Operation(kind, keys, asyncio.create_task(work))
        self._operations.update(dict.fromkeys(keys, operation))
        operation.task.add_done_callback(lambda _: self._end(operation))
        try:
            return await asyncio.shield(operation.task)
        except asyncio.CancelledError:
            if operation.task.cancelled():
                raise UnavailableError(f"{kind.value} was called off and undone") from None
            raise

    async def finish(self, seconds: float) -> None:
        """Admit nothing more; wait for what runs, and cancel what is not done after *seconds*."""
        self._closed = True
        tasks = {operation.task for operation in self._operations.values()}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _check(self, kind: Kind, keys: frozenset[Hashable]) -> None:
        if self._closed:
            raise UnavailableError("the driver is stopping; another will be there in a moment")
        for key in keys:
            running = self._operations.get(key)
            if running is not None:
                self._overrule(running, kind, keys)
                raise BusyError(
                    f"{key}: {running.kind.value} is still running; it will be tried again"
                )

    def _overrule(self, running: Operation, kind: Kind, keys: frozenset[Hashable]) -> None:
        opposite = kind is Kind.UNPUBLISH and running.kind is Kind.PUBLISH
        if opposite and running.keys == keys and not running.task.cancelling():
            running.task.cancel()

    def _end(self, operation: Operation) -> None:
        """Let the next one in; tell of an error that may have nobody else to tell."""
        for key in operation.keys:
            del self._operations[key]
        if not operation.task.cancelled() and (error := operation.task.exception()) is not None:
            log.debug("%s ended: %s", operation.kind.value, error)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returns; a cancellation meanwhile is raised when it has ended.

    For steps that cannot be stopped half way, and for undoing them. *work* must have a deadline.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.warning("%s; it was called off", failure)
    raise cancelled
