"""The bytes of a stored manifest, read straight from its store: for commands that look into it."""

from __future__ import annotations

from collections import OrderedDict

from cachesvc.errors import ObjectChangedError
from cachesvc.objectstore.protocol import ObjectStore
from vfs.errors import ManifestDamagedError

BLOCK_SIZE = 128 << 10
"""Bytes of one request: superblock, indices and the first directories come with the first one."""
BLOCKS_KEPT = 16


class StoreSource:
    """One manifest in aligned blocks, the latest kept: pages lie side by side and are read so."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        """Read the manifest *key*, which is *size* bytes long."""
        self._store = store
        self._key = key
        self._size = size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`, fewer where the manifest ends."""
        stop = min(stop, self._size)
        first, last = start // BLOCK_SIZE, -(-stop // BLOCK_SIZE)
        data = b"".join([await self._block(number) for number in range(first, last)])
        base = first * BLOCK_SIZE
        return data[start - base : stop - base] if start < stop else b""

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        """Return what `read` would, fetched anew."""
        for number in range(start // BLOCK_SIZE, -(-stop // BLOCK_SIZE)):
            self._blocks.pop(number, None)
        return await self.read(start, stop)

    async def _block(self, number: int) -> bytes:
        block = self._blocks.pop(number, None) or await self._fetch(number)
        self._blocks[number] = block
        if len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block

    async def _fetch(self, number: int) -> bytes:
        start = number * BLOCK_SIZE
        stop = min(start + BLOCK_SIZE, self._size)
        try:
            return bytes(await self._store.get_range(self._key, start, stop, None))
        except ObjectChangedError as exc:
            place = f"{self._store.root}/{self._key}"
            raise ManifestDamagedError(f"{place} is truncated: publish the dataset again") from exc
