"""Telling the node's cache which files will be read next, in the order in which they will be.

An order may be of millions of files: it is worked out in slices, by a thread beside the loop, while
the first of them are fetched already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import islice

import anyio

from cachesvc.client import CacheClient, Want
from cachesvc.errors import HeadraceError
from vfs.inprocess.content import Content, FileRange
from vfs.inprocess.lookingahead import LookingAhead
from vfs.inprocess.loopthread import LoopThread
from vfs.inprocess.positions import Positions

SLICE_FILES = 256
"""Files looked up at a time: some 10 ms, between which others have a turn."""
WINDOW_SIZE = 1 << 30
"""Bytes ahead of the reader: a loader that somebody looks at and leaves should not move all."""
MOST_LEFT_OUT = 1 << 20
"""The service may not take the files after so many: they are looked ahead of as others are."""


class Announcer:
    """Announces one order at a time."""

    def __init__(
        self, content: Content, client: CacheClient, ahead: LookingAhead, loop: LoopThread
    ) -> None:
        """Find the chunks of files by *content*; tell *client*, which a task of *loop* runs.

        *ahead* leaves these files to the order: its guesses would cost time and come in between.
        """
        self._content = content
        self._client = client
        self._ahead = ahead
        self._loop = loop
        self._working: Future[None] | None = None

    def announce(self, files: Iterable[FileRange]) -> None:
        """Announce *files*, which another thread goes through, in place of those before."""
        if self._working is not None:
            self._working.cancel()
        announced = Positions()
        self._ahead.leave_out(announced)
        order = _InOrder(self._content, iter(files), announced)
        self._working = self._loop.submit(self._announce, order)

    async def _announce(self, wants: _InOrder) -> None:
        await self._client.announce(wants, window_size=WINDOW_SIZE)


class _InOrder:
    """The chunks of files, one after the other.

    No async generator: trio warns of those that a reader leaves before their end.
    """

    def __init__(self, content: Content, files: Iterator[FileRange], looked_up: Positions) -> None:
        self._content = content
        self._files = files
        self._looked_up = looked_up
        self._ready: Iterator[Want] = iter(())

    def __aiter__(self) -> _InOrder:
        return self

    async def __anext__(self) -> Want:
        for want in self._ready:
            return want
        wants = await anyio.to_thread.run_sync(self._next_slice)
        if wants is None:
            raise StopAsyncIteration
        self._ready = iter(wants)
        return await anext(self)

    def _next_slice(self) -> list[Want] | None:
        files = list(islice(self._files, SLICE_FILES))
        if len(self._looked_up) < MOST_LEFT_OUT:
            for file in files:
                self._looked_up.add(file.position)
        return [want for file in files for want in self._wants(file)] if files else None

    def _wants(self, file: FileRange) -> list[Want]:
        """Return a file's chunks; what goes wrong goes wrong again for its reader, who is told."""
        try:
            return self._content.wants(file)
        except HeadraceError:
            return []
