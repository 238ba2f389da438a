"""The one event loop of this process, in a thread of its own, for programs that have none."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import Event, Thread
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal
from trio.lowlevel import TrioToken, current_trio_token

from cachesvc.errors import DeadlineExceededError

log = logging.getLogger(__name__)

START_SECONDS = 30.0
END_SECONDS = 5.0

R = TypeVar("R")
Args = TypeVarTuple("Args")


class LoopThread:
    """Runs async functions for other threads. Does not survive a fork; ends with the process."""

    def __init__(self) -> None:
        """Start the thread. It is a daemon: who forgets to close must not hang at the end."""
        started: Future[tuple[BlockingPortal, TrioToken]] = Future()
        self._thread = Thread(target=_live, args=(started,), name="headrace", daemon=True)
        self._thread.start()
        self._portal, self._token = started.result(START_SECONDS)
        atexit.register(self.stop)

    def start(self, function: Callable[..., Awaitable[None]]) -> RunningTask:
        """Run *function* for long and return once it called `task_status.started()`.

        Raises what it raised instead.
        """
        return RunningTask(self._portal, function)

    def call(
        self,
        seconds: float,
        function: Callable[[Unpack[Args]], Awaitable[R]],
        *args: *Args,
    ) -> R:
        """Return what *function* returns in the loop; what takes longer than *seconds* is ended."""
        future = self.submit(function, *args)
        try:
            return future.result(seconds)
        except TimeoutError:
            raise DeadlineExceededError(f"reading in process: no answer in {seconds:g} s") from None
        finally:
            future.cancel()

    def submit(self, function: Callable[[Unpack[Args]], Awaitable[R]], *args: *Args) -> Future[R]:
        """Have the loop run *function*, and return its future; cancelling that ends it."""
        return self._portal.start_task_soon(function, *args)

    def call_soon(self, function: Callable[[Unpack[Args]], None], *args: *Args) -> None:
        """Have the loop call *function* when it gets to it; what that raises is logged.

        Does not wait for the loop, as `submit` does: that is a change of threads each way.
        """
        self._token.run_sync_soon(_call, function, args)

    def stop(self) -> None:
        """End all tasks and the thread. Does nothing in a fork of the process that started it."""
        atexit.unregister(self.stop)
        if self._thread.is_alive():
            self._portal.call(self._portal.stop, True)
            self._thread.join(END_SECONDS)


def _call(function: Callable[[Unpack[Args]], None], args: tuple[*Args]) -> None:
    """Call *function*; what a token's call raised would end the loop."""
    try:
        function(*args)
    except Exception:
        log.exception("a call in the loop's thread failed")


class RunningTask:
    """A task of the loop that goes on until it is ended."""

    def __init__(self, portal: BlockingPortal, function: Callable[..., Awaitable[None]]) -> None:
        """Start *function* and wait until it called `task_status.started()`."""
        self._function = function
        self._ended = Event()
        self._running, _ = portal.start_task(self._run)

    def end(self) -> None:
        """Cancel the task and wait until it is gone."""
        self._running.cancel()
        self._ended.wait(END_SECONDS)

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        try:
            await self._function(task_status=task_status)
        finally:
            self._ended.set()


def _live(started: Future[tuple[BlockingPortal, TrioToken]]) -> None:
    """Run a loop until its portal is stopped."""
    anyio.run(_serve, started, backend="trio")


async def _serve(started: Future[tuple[BlockingPortal, TrioToken]]) -> None:
    async with BlockingPortal() as portal:
        started.set_result((portal, current_trio_token()))
        await portal.sleep_until_stopped()
