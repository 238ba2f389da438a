"""The files of the cache as a reader has them open, while the service may replace them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from cachesvc.chunk import ChunkId, Span
from cachesvc.errors import CacheUnusableError
from cachesvc.store.chunkreader import ChunkReader, Hits

log = logging.getLogger(__name__)

R = TypeVar("R")
NoteRead = Callable[[Sequence[Span]], None]


class FollowedMap:
    """Reads the files of the generation that the service writes, or none: then all is a miss.

    `hits` may be called from other threads, everything else from the event loop only.
    """

    def __init__(self, directory: Path, note_read: NoteRead) -> None:
        """Open nothing before the service says which generation there is.

        *note_read* is called with the spans of each block that has their bytes.
        """
        self._directory = directory
        self._note_read = note_read
        self._reader: ChunkReader | None = None
        self._generation = b""
        self._reopen_level = logging.WARNING

    @property
    def is_open(self) -> bool:
        """Say whether there are files to read."""
        return self._reader is not None

    def hits(
        self, spans: Sequence[Span], *, waits: bool = True
    ) -> AbstractContextManager[list[memoryview] | None]:
        """Return a block that yields the bytes of *spans* in order; None unless all can be read.

        Unless it *waits*, None also where the disk has to bring them, which it begins to.
        """
        reader = self._reader
        if reader is None:
            return nullcontext(None)
        hits = reader.hits(spans, waits=waits)
        note_read = partial(self._note_read, spans)
        return _ForgivingHits(hits, note_read, partial(self._give_up, reader))

    def has(self, chunk: ChunkId) -> bool:
        """Say whether a chunk can be read."""
        return self._forgiven(lambda reader: reader.present(chunk), False)

    def readable_chunks(self, digest: bytes, start: int) -> tuple[dict[int, int], int | None]:
        """Return the lengths of some chunks of an object, and from which chunk to go on."""
        none: tuple[dict[int, int], int | None] = {}, None
        return self._forgiven(lambda reader: reader.readable_chunks(digest, start), none)

    def follow(self, generation: bytes) -> None:
        """Read the files that the service writes now, if they are others than before."""
        if generation != self._generation:
            self._generation = generation
            self._reopen()

    def check(self) -> None:
        """Open the files anew if they are not the ones in the directory."""
        if self._reader is None or self._reader.stale():
            self._reopen()

    def close(self) -> None:
        """Close the files; blocks that use them are still good."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _reopen(self) -> None:
        """Open the cache's files; where that cannot be, the service hands out bytes."""
        self.close()
        if not self._generation:
            return
        try:
            self._reader = ChunkReader(self._directory)
        except CacheUnusableError as error:
            log.log(self._reopen_level, "reading without the map: %s", error)
            self._reopen_level = logging.DEBUG
        else:
            self._reopen_level = logging.WARNING

    def _forgiven(self, ask: Callable[[ChunkReader], R], nothing: R) -> R:
        """Return what the reader answers; *nothing* where there is none, or it cannot read."""
        reader = self._reader
        if reader is None:
            return nothing
        try:
            return ask(reader)
        except CacheUnusableError as error:
            self._give_up(reader, error)
            return nothing

    def _give_up(self, reader: ChunkReader, error: CacheUnusableError) -> None:
        """Go on without the map, after it could not be read; `check` opens it anew."""
        if self._reader is reader:
            log.warning("cannot read the cache's map: %s", error)
            self.close()


class _ForgivingHits:
    """A block of hits in which a map that cannot be read is a miss. A class is cheaper."""

    __slots__ = ("_entered", "_give_up", "_hits", "_note_read")

    def __init__(
        self,
        hits: Hits,
        note_read: Callable[[], None],
        give_up: Callable[[CacheUnusableError], None],
    ) -> None:
        self._hits = hits
        self._note_read = note_read
        self._give_up = give_up
        self._entered = True

    def __enter__(self) -> list[memoryview] | None:
        try:
            views = self._hits.__enter__()
        except CacheUnusableError as error:
            self._entered = False
            self._give_up(error)
            return None
        if views is not None:
            self._note_read()
        return views

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._entered:
            self._hits.__exit__(exc_type, exc, traceback)
