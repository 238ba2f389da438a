"""An object store in a dict: the model of what every engine does."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio

from cachesvc.errors import ConditionFailedError, ObjectChangedError, ObjectMissingError
from cachesvc.objectstore.keys import checked_key
from cachesvc.objectstore.protocol import Condition, IfAbsent, ObjectInfo

BATCH = 1000


class MemoryStore:
    """Objects in memory; each write makes a new version."""

    def __init__(self, root: str = "fake://memory") -> None:
        self._root = root
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._writes = itertools.count(1)

    @property
    def root(self) -> str:
        return self._root

    async def head(self, key: str) -> ObjectInfo:
        return (await self.get(key))[1]

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        await anyio.lowlevel.checkpoint()
        try:
            return self._objects[checked_key(key, self._root)]
        except KeyError:
            raise ObjectMissingError(f"{self._root}/{key}: not there") from None

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        data, info = await self.get(key)
        if version not in {None, info.version} or stop > info.size:
            raise ObjectChangedError(f"{self._root}/{key}: changed")
        return data[start:stop]

    async def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        found = [info for key, (_, info) in self._objects.items() if key.startswith(prefix)]
        for start in range(0, len(found), BATCH):
            await anyio.lowlevel.checkpoint()
            yield found[start : start + BATCH]

    async def put(self, key: str, data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self._write(key, data)

    async def put_file(self, key: str, path: Path) -> None:
        self._write(key, await anyio.Path(path).read_bytes())

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        await anyio.lowlevel.checkpoint()
        _, current = self._objects.get(key, (b"", None))
        if isinstance(condition, IfAbsent):
            holds = current is None
        else:
            holds = current is not None and current.version == condition.version
        if not holds:
            raise ConditionFailedError(f"{self._root}/{key}: condition does not hold")
        return self._write(key, data)

    async def aclose(self) -> None:
        pass

    def _write(self, key: str, data: bytes) -> str:
        number = next(self._writes)
        info = ObjectInfo(checked_key(key, self._root), len(data), str(number), number)
        self._objects[key] = (bytes(data), info)
        return str(number)
