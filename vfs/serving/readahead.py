"""How far to look ahead on one file: a window that doubles while reading goes on in order. Pure."""

from __future__ import annotations

SLACK = 8 << 20
"""Bytes by which a read in order may stray: the kernel has several in flight."""
WINDOW_LIMIT = 8
"""Chunks: 32 MiB keep a dozen 80 MB/s connections busy for a 30 ms round trip."""


class ReadaheadWindow:
    """What to fetch ahead for one file. The first read asks for nothing; a seek starts all over."""

    def __init__(self, chunk_size: int, chunk_count: int) -> None:
        """Watch a file that is `chunk_count` chunks of `chunk_size` bytes."""
        self._chunk_size = chunk_size
        self._chunk_count = chunk_count
        self._end: int | None = None
        self._width = 0
        self._planned = 0

    def advance(self, offset: int, length: int) -> range:
        """Note a read of `[offset, offset + length)`; return the chunks to ask for now."""
        stop = offset + length
        if self._end is None or abs(offset - self._end) > SLACK:
            self._end, self._width, self._planned = stop, 0, 0
            return range(0)
        crossed = self._following(stop) > self._following(self._end)
        if crossed or not self._width:
            self._width = min(max(1, 2 * self._width), WINDOW_LIMIT)
        self._end = max(self._end, stop)
        following = self._following(self._end)
        start = max(following, self._planned)
        self._planned = max(start, min(following + self._width, self._chunk_count))
        return range(start, self._planned)

    def _following(self, stop: int) -> int:
        """Return the first chunk after the one in which a read that ends at *stop* ends."""
        return (stop - 1) // self._chunk_size + 1
