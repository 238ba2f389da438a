"""The bytes of file ranges, from the node's cache; what is missing is fetched first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cachesvc.chunk import ChunkId, Span
from cachesvc.client import CacheClient
from cachesvc.errors import ChunkCorruptError
from vfs.serving.channel import Buffers, Reply
from vfs.serving.extent import ExtentSpan, file_spans
from vfs.serving.grain import has_fine_grain, mixed
from vfs.serving.ino import epoch_of, position_of
from vfs.serving.layout import Layouts
from vfs.serving.lookahead import Lookahead
from vfs.serving.protocol import ReadRequest
from vfs.serving.tally import Tally

ATTEMPTS = 4
"""A chunk may be evicted between its arrival and its first read, but not so many times."""


class FileReader:
    """Answers READ: the channel's `FileReads`. Keeps nothing that another worker would miss."""

    def __init__(
        self,
        layouts: Layouts,
        chunks: CacheClient,
        lookahead: Lookahead,
        tally: Tally,
    ) -> None:
        """Find files by *layouts* and their bytes by *chunks*; count in *tally*."""
        self._layouts = layouts
        self._chunks = chunks
        self._lookahead = lookahead
        self._tally = tally

    def read_nowait(
        self, node: int, request: ReadRequest, reply: Reply, *, from_disk: bool
    ) -> bool:
        """Reply at once and return True when the file's place and all bytes are at hand."""
        place = epoch_of(node), position_of(node)
        extents = self._layouts.extents_nowait(*place)
        if extents is None:
            return False
        pieces = list(file_spans(extents, request.offset, request.size))
        if not (
            self._replied(pieces, reply, waits=from_disk)
            or self._replied_mixed(pieces, reply, waits=from_disk)
        ):
            return False
        self._lookahead.note(place, extents, request, missed=False)
        return True

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        """Have the cache fetch what is missing, then reply."""
        place = epoch_of(node), position_of(node)
        extents = await self._layouts.extents(*place)
        pieces: Sequence[ExtentSpan] = list(file_spans(extents, request.offset, request.size))
        if self._replied(pieces, reply) or self._replied_mixed(pieces, reply):
            # All that was missing was where the file lies.
            self._lookahead.note(place, extents, request, missed=False)
            return
        self._lookahead.note(place, extents, request, missed=True)
        pieces = self._lookahead.grained(place, request, pieces)
        wants = [await self._layouts.want(*place, each.extent, each.index) for each in pieces]
        for _ in range(ATTEMPTS):
            loaned = await self._chunks.fill(wants)
            with self._buffers(pieces, loaned) as buffers:
                if buffers is not None:
                    reply(buffers)
                    self._tally.misses += 1
                    self._tally.miss_bytes += size_of(pieces)
                    return
        raise ChunkCorruptError(
            f"{pieces[0].extent.object.key}: its chunks leave the cache before they are read; "
            "give the cache more room with --cache-size"
        )

    def _replied(self, pieces: Sequence[ExtentSpan], reply: Reply, *, waits: bool = True) -> bool:
        """Reply if all *pieces* are here; unless it *waits* for the disk, if all are in memory."""
        with self._chunks.hits([piece.span for piece in pieces], waits=waits) as views:
            if views is None:
                return False
            reply(views)
        self._tally.hits += 1
        self._tally.hit_bytes += size_of(pieces)
        return True

    def _replied_mixed(
        self, pieces: Sequence[ExtentSpan], reply: Reply, *, waits: bool = True
    ) -> bool:
        """Reply if all *pieces* are here, some of them in fine chunks only."""
        if not has_fine_grain(pieces):
            return False
        finer = list(mixed(pieces, self._chunks.readable))
        return finer != pieces and self._replied(finer, reply, waits=waits)

    @contextmanager
    def _buffers(
        self, pieces: Sequence[ExtentSpan], loaned: Mapping[ChunkId, bytes]
    ) -> Iterator[Buffers | None]:
        """Yield the bytes of all pieces in order, those that could not be cached from *loaned*."""
        if not loaned:
            with self._chunks.hits([piece.span for piece in pieces]) as views:
                yield views
            return
        buffers = [self._copy(piece.span, loaned.get(piece.span.chunk)) for piece in pieces]
        found = [buffer for buffer in buffers if buffer is not None]
        yield found if len(found) == len(buffers) else None

    def _copy(self, span: Span, loaned: bytes | None) -> bytes | memoryview | None:
        if loaned is not None:
            return memoryview(loaned)[span.start : span.stop]
        with self._chunks.hits([span]) as views:
            return None if views is None else b"".join(views)


def size_of(pieces: Sequence[ExtentSpan]) -> int:
    """Return how many bytes all pieces have."""
    return sum([piece.span.stop - piece.span.start for piece in pieces])
