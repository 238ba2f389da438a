"""Waiting for what another process is bound to do soon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable

import anyio


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 20.0) -> None:
    """Return once *condition* holds; TimeoutError when it does not in time."""
    with anyio.fail_after(seconds):
        while not await _holds(condition):  # noqa: ASYNC110  no event crosses a process
            await anyio.sleep(0.005)


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    answer = condition()
    return await answer if isawaitable(answer) else bool(answer)
