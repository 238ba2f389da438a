"""The bytes of files: hits straight from the map in the thread that asks, misses by the loop's.

May be used by several threads. A file is named by its position in the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from cachesvc.chunk import ChunkId, Span
from cachesvc.client import CacheClient, Want
from cachesvc.errors import ChunkCorruptError, HeadraceError
from vfs.inprocess.lookingahead import LookingAhead
from vfs.inprocess.loopthread import LoopThread
from vfs.inprocess.questions import Questions
from vfs.serving.extent import ExtentSpan, file_spans
from vfs.serving.grain import has_fine_grain, mixed
from vfs.serving.layout import Layout, Layouts

ATTEMPTS = 4
"""A chunk may be evicted between its arrival and its first read, but not so many times."""
STEP_BYTES = 16 << 20
"""What is read in one transaction of the map: a longer one keeps pages from being reused."""
TOGETHER_BYTES = 64 << 20
TOGETHER_FILES = 64
"""What is asked for at a time by who wants many files: twice what the service fetches at first."""
LOOP_GRACE_SECONDS = 10.0
"""What an answer may take beyond the client's own deadline, whose error says more."""
EPOCH = 0
"""A snapshot opened in process is never switched."""

Buffers = Sequence[bytes | memoryview]
R = TypeVar("R")


class FileRange(NamedTuple):
    """The bytes `[start, stop)` of the file at `position`, within its size."""

    position: int
    start: int
    stop: int


class Content:
    """Reads ranges of one snapshot's files. Raises HeadraceError leaves."""

    def __init__(
        self,
        *,
        layouts: Layouts,
        questions: Questions,
        client: CacheClient,
        ahead: LookingAhead,
        loop: LoopThread,
        deadline_seconds: float,
    ) -> None:
        """Find files by *layouts*, bytes by *client*, which a task of *loop* runs.

        *ahead* hears of all that is read.
        """
        self._layouts = layouts
        self._questions = questions
        self._client = client
        self._ahead = ahead
        self._loop = loop
        self._patience = deadline_seconds + LOOP_GRACE_SECONDS

    def layout(self, position: int) -> Layout:
        """Return where a file's bytes lie."""
        with self._questions.lock:
            known = self._layouts.extents_nowait(EPOCH, position)
        if known is not None:
            return known
        return self._questions.ask(lambda: self._layouts.extents(EPOCH, position))

    def read(self, wanted: FileRange) -> bytes:
        """Return the bytes of a range."""
        if wanted.stop - wanted.start <= STEP_BYTES:
            return self.use(wanted, b"".join)
        return b"".join(self.use(step, b"".join) for step in _steps(wanted))

    def use(self, wanted: FileRange, use: Callable[[Buffers], R]) -> R:
        """Return what *use* makes of the bytes of a range, in order, good only while it runs.

        The range should not be longer than `STEP_BYTES`.
        """
        layout = self.layout(wanted.position)
        pieces = _pieces(layout, wanted)
        if not pieces:
            return use(())
        for here in self._grains(pieces):
            with self._client.hits([piece.span for piece in here]) as views:
                if views is not None:
                    self._note(wanted, layout, missed=False)
                    return use(views)
        start, stop = wanted.start, wanted.stop
        missing = self._ahead.grained(wanted.position, layout, start, stop, pieces)
        return self._use_fetched(wanted.position, missing, use)

    def read_many(self, wanted: Sequence[FileRange]) -> Iterator[bytes | HeadraceError]:
        """Yield the bytes of each range, or why they cannot be had; fetches many at a time."""
        for together in _together(wanted):
            mapped = [self._mapped(each) for each in together]
            self._gather([each for each, data in zip(together, mapped, strict=True) if not data])
            for each, data in zip(together, mapped, strict=True):
                yield data or self._read_or_error(each)

    def wants(self, wanted: FileRange) -> list[Want]:
        """Return the chunks in which a range lies."""
        return self._wants(wanted.position, _pieces(self.layout(wanted.position), wanted))

    def _wants(self, position: int, pieces: Sequence[ExtentSpan]) -> list[Want]:
        return self._questions.ask(lambda: self._wants_of(position, pieces))

    def _grains(self, pieces: Sequence[ExtentSpan]) -> Iterator[Sequence[ExtentSpan]]:
        """Yield the chunks in which the bytes may be here: whole ones, then mixed with fine."""
        yield pieces
        if has_fine_grain(pieces):
            yield list(mixed(pieces, self._client.readable))

    def _note(self, wanted: FileRange, layout: Layout, *, missed: bool) -> None:
        self._ahead.note(wanted.position, layout, wanted.start, wanted.stop, missed=missed)

    def _use_fetched(
        self, position: int, pieces: Sequence[ExtentSpan], use: Callable[[Buffers], R]
    ) -> R:
        """Return what *use* makes of the bytes of *pieces*, some of which must be fetched."""
        spans = [piece.span for piece in pieces]
        loaned: dict[ChunkId, bytes] = {}
        for _ in range(ATTEMPTS):
            loaned |= self._fetch(self._wants(position, pieces))
            if loaned:
                copies = self._copies(spans, loaned)
                if copies is not None:
                    return use(copies)
            else:
                with self._client.hits(spans) as views:
                    if views is not None:
                        return use(views)
        raise ChunkCorruptError(
            f"{pieces[0].extent.object.key}: its chunks leave the cache before they are read; "
            "give the cache more room with --cache-size"
        )

    async def _wants_of(self, position: int, pieces: Sequence[ExtentSpan]) -> list[Want]:
        want = self._layouts.want
        return [await want(EPOCH, position, each.extent, each.index) for each in pieces]

    def _fetch(self, wants: Sequence[Want]) -> dict[ChunkId, bytes]:
        return self._loop.call(self._patience, self._client.fill, wants)

    def _copies(
        self, spans: Sequence[Span], loaned: Mapping[ChunkId, bytes]
    ) -> list[bytes | memoryview] | None:
        """Return the bytes of all spans, those that could not be cached from *loaned*."""
        copies = [self._copy(span, loaned.get(span.chunk)) for span in spans]
        found = [copy for copy in copies if copy is not None]
        return found if len(found) == len(copies) else None

    def _copy(self, span: Span, loaned: bytes | None) -> bytes | memoryview | None:
        if loaned is not None:
            return memoryview(loaned)[span.start : span.stop]
        with self._client.hits([span]) as views:
            return None if views is None else b"".join(views)

    def _mapped(self, wanted: FileRange) -> bytes | None:
        """Return the bytes of a range if all of it is here, and nothing has to be waited for."""
        if wanted.stop - wanted.start > STEP_BYTES:
            return None
        layout = self.layout(wanted.position)
        with self._client.hits([piece.span for piece in _pieces(layout, wanted)]) as views:
            self._note(wanted, layout, missed=views is None)
            return None if views is None else b"".join(views)

    def _read_or_error(self, wanted: FileRange) -> bytes | HeadraceError:
        try:
            return self.read(wanted)
        except HeadraceError as error:
            return error

    def _gather(self, wanted: Sequence[FileRange]) -> None:
        """Have what is missing of several files fetched at once, but for very large ones.

        What goes wrong here goes wrong again for the reader, who is told.
        """
        with suppress(HeadraceError):
            wants = [want for each in wanted if not _is_large(each) for want in self.wants(each)]
            missing = {w.chunk: w for w in wants if not self._client.readable(w.chunk)}
            if missing:
                self._fetch(list(missing.values()))


def _together(wanted: Sequence[FileRange]) -> Iterator[Sequence[FileRange]]:
    """Cut a long list into runs that may be fetched at once, however large the files are."""
    run: list[FileRange] = []
    room = TOGETHER_BYTES
    for each in wanted:
        size = each.stop - each.start
        if run and (size > room or len(run) == TOGETHER_FILES):
            yield run
            run, room = [], TOGETHER_BYTES
        run.append(each)
        room -= size
    if run:
        yield run


def _is_large(wanted: FileRange) -> bool:
    return wanted.stop - wanted.start > TOGETHER_BYTES


def _pieces(layout: Layout, wanted: FileRange) -> list[ExtentSpan]:
    return list(file_spans(layout, wanted.start, wanted.stop - wanted.start))


def _steps(wanted: FileRange) -> Iterator[FileRange]:
    for start in range(wanted.start, wanted.stop, STEP_BYTES):
        yield wanted._replace(start=start, stop=min(start + STEP_BYTES, wanted.stop))
