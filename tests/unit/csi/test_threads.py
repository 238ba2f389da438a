from __future__ import annotations

import asyncio
import threading

import pytest

from csi.threads import StuckError, Threads


def test_a_call_returns_what_it_returns() -> None:
    assert asyncio.run(Threads().run("add", lambda: 1 + 1, 10)) == 2


def test_a_call_raises_what_it_raises() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(Threads().run("fail", fail, 10))


def test_a_call_that_does_not_return_is_written_off_and_its_result_undone() -> None:
    go_on, undone = threading.Event(), threading.Event()

    def hang() -> str:
        go_on.wait(30)
        return "late"

    def undo(value: str) -> None:
        assert value == "late"
        undone.set()

    async def scenario() -> None:
        with pytest.raises(StuckError, match="look at it"):
            await Threads().run("look at it", hang, 0.05, undo)

    asyncio.run(scenario())
    go_on.set()
    assert undone.wait(30)


def test_a_result_that_comes_for_a_cancelled_caller_is_undone() -> None:
    started, go_on, undone = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(30)

    async def scenario() -> None:
        call = Threads().run("work", work, 30, lambda _: undone.set())
        task = asyncio.create_task(call)
        await asyncio.to_thread(started.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    go_on.set()
    assert undone.wait(30)


def test_when_all_threads_hang_the_next_call_is_refused_and_one_that_returns_makes_room() -> None:
    go_on = threading.Event()

    async def scenario() -> None:
        threads = Threads(most=2)
        for _ in range(2):
            with pytest.raises(StuckError):
                await threads.run("hang", lambda: go_on.wait(30), 0.05)
        with pytest.raises(StuckError, match="too many"):
            await threads.run("add", lambda: 2, 0.05)
        go_on.set()
        assert await threads.run("add", lambda: 2, 30) == 2

    asyncio.run(scenario())


def test_calls_one_after_the_other_need_one_thread() -> None:
    async def scenario() -> set[str]:
        threads = Threads(most=1)
        return {
            await threads.run("tell", lambda: threading.current_thread().name, 30) for _ in "abc"
        }

    assert len(asyncio.run(scenario())) == 1
