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
from typing import TypeVar

from csi.errors import UnavailableError

T = TypeVar("T")

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
        work = partial(self._work, result, call, undo, asyncio.get_running_loop())
        threading.Thread(target=work, name=what, daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(asyncio.wrap_future(result))
        except TimeoutError:
            raise StuckError(f"cannot {what}: no answer in {seconds:g} s") from None
        finally:
            result.cancel()

    def _work(
        self,
        result: Future[T],
        call: Callable[[], T],
        undo: Callable[[T], object],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            _fulfil(result, call, undo)
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody counts any more
                loop.call_soon_threadsafe(self._room.release)


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
