"""What a process read from the map, until the service is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio

from cachesvc.chunk import ChunkId, Span
from cachesvc.wire import MAX_TOUCHES, Touch

REST_SECONDS = 0.2
BUSY_SECONDS = 0.05
"""While something is read. What is fetched ahead follows the reader, who is soon through a small
window: 600 files in random order through a cache for 300 of them come at 1,072 a second, and at 855
told every 0.2 s (medians of 12 by turns)."""
MOST_TOUCHED = 64 * 1024
"""Of more in one go some are forgotten: it only helps to decide what to keep."""


class Touches:
    """Chunks that were read since the service was told last, each once.

    `add` may be called from other threads.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._chunks: set[ChunkId] = set()

    def add(self, spans: Iterable[Span]) -> None:
        """Take note that *spans* are read."""
        if len(self._chunks) < MOST_TOUCHED:
            for span in spans:
                self._chunks.add(span.chunk)

    async def run(self, tell: Callable[[Touch], None]) -> None:
        """Tell the service until cancelled; *tell* sends a message that may be lost."""
        pause = REST_SECONDS
        while True:
            await anyio.sleep(pause)
            read, self._chunks = self._chunks, set()
            chunks: list[bytes] = list(read)
            for start in range(0, len(chunks), MAX_TOUCHES):
                tell(Touch(chunks[start : start + MAX_TOUCHES]))
            pause = BUSY_SECONDS if chunks else REST_SECONDS
