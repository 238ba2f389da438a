"""System calls that a sick file system can block: in threads of their own, under a deadline.

A thread that does not come back is written off. It can be neither stopped nor waited for; what it
brings after all is undone in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from csi.errors import UnavailableError

T = TypeVar("T")
Work = Callable[[], None]

MOST_THREADS = 32


class StuckError(UnavailableError):
    """A system call did not return in time."""


def leave(_: object) -> None:
    """Undo nothing."""


class Threads:
    """Runs blocking calls. Belongs to one event loop."""

    def __init__(self, most: int = MOST_THREADS) -> None:
        """Run at most *most* calls at once, those that were written off included."""
        self._room = asyncio.Semaphore(most)
        self._idle: list[SimpleQueue[Work]] = []

    async def run(
        self,
        what: str,
        call: Callable[[], T],
        seconds: float,
        undo: Callable[[T], object] = leave,
    ) -> T:
        """Return what *call* returns. Raises what it raises, or StuckError that names *what*.

        A result for which nobody waits any more, the caller being cancelled or out of time, goes
        to *undo*.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._room.acquire()
        except TimeoutError:
            raise StuckError(f"cannot {what}: too many system calls hang on this node") from None
        result: Future[T] = Future()
        self._start(partial(_fulfil, result, call, undo))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(asyncio.wrap_future(result))
        except TimeoutError:
            raise StuckError(f"cannot {what}: no answer in {seconds:g} s") from None
        finally:
            result.cancel()

    def _start(self, work: Work) -> None:
        """Have *work* done by a thread that has nothing to do, or by a new one.

        To start one costs the event loop 0.1 to 3 ms.
        """
        if self._idle:
            self._idle.pop().put(work)
            return
        todo: SimpleQueue[Work] = SimpleQueue()
        todo.put(work)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._serve, args=(todo, loop), daemon=True).start()

    def _serve(self, todo: SimpleQueue[Work], loop: asyncio.AbstractEventLoop) -> None:
        """Work for as long as somebody counts what is done."""
        with suppress(RuntimeError):  # the loop is closed
            while True:
                todo.get()()
                loop.call_soon_threadsafe(self._come_back, todo)

    def _come_back(self, todo: SimpleQueue[Work]) -> None:
        self._idle.append(todo)
        self._room.release()


def _fulfil(result: Future[T], call: Callable[[], T], undo: Callable[[T], object]) -> None:
    """Put what *call* brings where somebody waits for it; undo it where nobody does."""
    try:
        value = call()
    except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
        with suppress(InvalidStateError):
            result.set_exception(error)
        return
    try:
        result.set_result(value)
    except InvalidStateError:
        undo(value)
