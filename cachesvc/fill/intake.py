"""How much clients may have asked for at once: past the bound they are not read from."""

from __future__ import annotations

import anyio


class Intake:
    """Counts chunks that were asked for and not answered yet."""

    def __init__(self, max_count: int) -> None:
        """Let in up to *max_count* chunks; one request may go beyond, so that any can enter."""
        self._max_count = max_count
        self._count = 0
        self._room = anyio.Event()

    @property
    def count(self) -> int:
        """Chunks that were asked for and not answered yet."""
        return self._count

    async def enter(self, count: int) -> None:
        """Wait for room, then count *count* more."""
        while self._count >= self._max_count:
            self._room = anyio.Event() if self._room.is_set() else self._room
            await self._room.wait()
        self._count += count

    def leave(self, count: int) -> None:
        """Count *count* less; called once for each that entered."""
        self._count -= count
        if self._count < self._max_count:
            self._room.set()
