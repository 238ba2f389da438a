"""Looking ahead for readers in process, as for those of a mount, while something is missing.

The windows and scans are `vfs.serving.lookahead`'s and live in the loop's thread, with a manifest
of their own. To tell it of a read costs 50 us, so that a program whose files are all here tells it
nothing: it learns of a read that had to wait, and of those that follow it. Files of an announced
order are none of its business: they come in that order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sequence
from functools import partial

from cachesvc.client import CacheClient
from vfs.inprocess.loopthread import LoopThread
from vfs.serving.awaited import Awaited
from vfs.serving.extent import REPOSITORY, SOURCE, ExtentSpan
from vfs.serving.grain import has_fine_grain
from vfs.serving.layout import Layout, Layouts
from vfs.serving.lookahead import Lookahead
from vfs.serving.manifestsource import open_cached
from vfs.serving.mounted import History, MountedSnapshots
from vfs.serving.protocol import ReadRequest
from vfs.serving.tracks import Tracks

ALERT_READS = 1024
"""Reads after one that had to wait which are told too: a scan is never so far ahead."""
EAGER_READS = 64
"""Of those so many are told one by one: until then a window is so small that each counts."""
TOLD_TOGETHER = 8
CHOICE_SECONDS = 10.0
"""What the loop may take to answer, which waits for nothing."""
MOST_UNTOLD = 256

Noted = tuple[int, Layout, ReadRequest, bool]


class LookingAhead:
    """Hears of reads from any thread, and has fetched what will follow them."""

    def __init__(
        self,
        history: History,
        roots: dict[int, str],
        client: CacheClient,
        loop: LoopThread,
        awaited: Awaited,
    ) -> None:
        """Look ahead on the one snapshot of *history* by *client*, which a task of *loop* runs.

        Of what others have a part in *awaited* each file is asked for by one of them.
        """
        opener = partial(open_cached, client, roots[SOURCE], roots[REPOSITORY])
        mounted = MountedSnapshots(history, opener)
        self._lookahead = Lookahead(mounted, Layouts(mounted, roots), client, awaited, Tracks())
        self._epoch = history.current
        self._loop = loop
        self._untold: deque[Noted] = deque(maxlen=MOST_UNTOLD)
        self._alert = 0
        self._is_called = False
        self._left_out: Container[int] = ()
        self._running = loop.submit(self._lookahead.run)

    def grained(
        self,
        position: int,
        layout: Layout,
        start: int,
        stop: int,
        pieces: Sequence[ExtentSpan],
    ) -> Sequence[ExtentSpan]:
        """Learn of a read that has to wait, and return the chunks to fetch for it."""
        if position in self._left_out or not has_fine_grain(pieces):
            self.note(position, layout, start, stop, missed=True)
            return pieces
        self._alert = ALERT_READS
        noted = position, layout, ReadRequest(start, stop - start), True
        return self._loop.call(CHOICE_SECONDS, self._choose, noted, pieces)

    def note(self, position: int, layout: Layout, start: int, stop: int, *, missed: bool) -> None:
        """Learn of a read of a file; *missed* says that it had to wait."""
        if position in self._left_out:
            return
        if missed:
            self._alert = ALERT_READS
        elif self._alert <= 0:
            return
        self._alert -= 1
        request = ReadRequest(start, stop - start)
        self._untold.append((position, layout, request, missed))
        is_eager = self._alert > ALERT_READS - EAGER_READS
        if not self._is_called and (is_eager or len(self._untold) >= TOLD_TOGETHER):
            self._is_called = True
            self._loop.call_soon(self._tell)

    def leave_out(self, positions: Container[int]) -> None:
        """Look ahead of no file at one of these, which may change, instead of those before."""
        self._left_out = positions

    def end(self) -> None:
        """Look ahead no more."""
        self._running.cancel()

    def _tell(self) -> None:
        self._is_called = False  # first: what is noted from here on may call again
        while self._untold:
            self._tell_one(self._untold.popleft())

    def _tell_one(self, noted: Noted) -> None:
        position, layout, request, missed = noted
        self._lookahead.note((self._epoch, position), layout, request, missed=missed)

    async def _choose(self, noted: Noted, pieces: Sequence[ExtentSpan]) -> Sequence[ExtentSpan]:
        """Tell of a read, after those before it, and say in which chunks it is best fetched."""
        self._tell()
        self._tell_one(noted)
        return self._lookahead.grained((self._epoch, noted[0]), noted[2], pieces)
