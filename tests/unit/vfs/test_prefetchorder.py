"""The order that the supervisor gives for a prefetch: carried out once, whoever dies over it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from vfs.mounting.forking import ZygoteGoneError
from vfs.mounting.prefetchorder import _fork


class DyingZygote:
    """Dies over its first order, before or after it has forked; the next one obeys."""

    def __init__(self, *, forks_first: bool) -> None:
        self.children: list[socket.socket] = []
        self.order_count = 0
        self._forks_first = forks_first

    async def get(self) -> DyingZygote:
        return self

    async def fork(self, kind: str, descriptors: Sequence[int], **_order: object) -> int:
        assert kind == "prefetch"
        self.order_count += 1
        is_first = self.order_count == 1
        if self._forks_first or not is_first:
            self.children.append(socket.socket(fileno=os.dup(descriptors[0])))
        if is_first:
            raise ZygoteGoneError("gone")
        return 1


@pytest.mark.parametrize("forks_first", [False, True])
def test_a_zygote_that_dies_over_an_order(forks_first: bool) -> None:
    """What it has forked by then goes on and is not joined by another; else the next one forks."""
    zygote = DyingZygote(forks_first=forks_first)

    async def test() -> None:
        link = await _fork(zygote.get, {}, ())  # type: ignore[arg-type]
        (child,) = zygote.children
        child.close()
        assert await link.receive() is None
        link.close()

    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0.1))
    assert zygote.order_count == (1 if forks_first else 2)
