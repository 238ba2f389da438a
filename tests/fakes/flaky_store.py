"""A store that fails when it is told to: the k-th call of all, or the k-th of one method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from cachesvc.errors import StoreError
from cachesvc.objectstore.protocol import Body, Condition, ObjectInfo, ObjectStore

T = TypeVar("T")


class FlakyStore:
    """Passes calls on; call number k (the first is 1) raises `fail[k]` instead.

    With *after*, a failing call is done all the same: it is the answer that gets lost.
    """

    def __init__(
        self, inner: ObjectStore, fail: Mapping[int, StoreError], *, after: bool = False
    ) -> None:
        self._inner = inner
        self._fail = dict(fail)
        self._after = after
        self.calls = 0

    @property
    def root(self) -> str:
        return self._inner.root

    async def head(self, key: str) -> ObjectInfo:
        return await self._pass(lambda: self._inner.head(key))

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        return await self._pass(lambda: self._inner.get(key))

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> Body:
        return await self._pass(lambda: self._inner.get_range(key, start, stop, version))

    async def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        batches = [batch async for batch in self._inner.list(prefix)]
        for batch in batches:
            yield await self._pass(partial(_ready, batch))

    async def put(self, key: str, data: bytes) -> None:
        await self._pass(lambda: self._inner.put(key, data))

    async def put_file(self, key: str, path: Path) -> None:
        await self._pass(lambda: self._inner.put_file(key, path))

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        return await self._pass(lambda: self._inner.put_if(key, data, condition))

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _pass(self, call: Callable[[], Awaitable[T]]) -> T:
        self.calls += 1
        error = self._fail.get(self.calls)
        if error is None:
            return await call()
        if self._after:
            await call()
        raise error


async def _ready(value: T) -> T:
    return value
