"""The client's end of a plan: sends the order of reading, again when the service is another one."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field
from itertools import count

import anyio
import anyio.lowlevel

from cachesvc.errors import CacheServiceError, HeadraceError
from cachesvc.link import ServiceLink
from cachesvc.planned import Piece, PiecePacker
from cachesvc.want import Want
from cachesvc.wire import Announce, Plan, Progress, Withdraw


@dataclass(eq=False, slots=True)
class _Order:
    """What was announced, packed, but for what the reader left behind: `read_count` reads."""

    window_size: int
    bandwidth: int
    pieces: deque[Piece] = field(default_factory=deque)
    packer: PiecePacker = field(default_factory=PiecePacker)
    read_count: int = 0
    use_count: int = 0
    is_complete: bool = False

    def add(self, want: Want) -> bool:
        """Append a read; say whether a piece became complete."""
        return self._append(self.packer.add(want))

    def end(self) -> None:
        """Take note that there are no more reads."""
        self._append(self.packer.flush())
        self.is_complete = True

    def forget_before(self, read_count: int) -> None:
        """Drop the pieces that lie wholly before a read."""
        while self.pieces and self.read_count + self.pieces[0].use_count <= read_count:
            self.read_count += self.pieces.popleft().use_count

    def _append(self, pieces: Iterable[Piece]) -> bool:
        before = self.use_count
        for piece in pieces:
            self.pieces.append(piece)
            self.use_count += piece.use_count
        return self.use_count > before


class Announcer:
    """Announces one order at a time; `run` must be a task for as long as it is used."""

    def __init__(self) -> None:
        """Announce nothing yet."""
        self._numbers = count(1)
        self._order: _Order | None = None
        self._number = 0
        self._base = 0
        self._news = anyio.Event()
        self._told = anyio.Event()
        self._progress: Progress | None = None
        self._error: HeadraceError | None = None

    @property
    def announced_count(self) -> int:
        """How many reads were announced, those in a row of one chunk counted once."""
        return self._order.use_count if self._order else 0

    async def announce(
        self, wants: Iterable[Want] | AsyncIterable[Want], window_size: int, bandwidth: int
    ) -> None:
        """Announce reads in place of those before; returns when all of *wants* are known."""
        order = self._begin(window_size, bandwidth)
        if isinstance(wants, AsyncIterable):
            async for want in wants:
                await self._add(order, want)
        else:
            for want in wants:
                await self._add(order, want)
        self._end(order)

    def announce_nowait(self, wants: Iterable[Want], window_size: int, bandwidth: int) -> None:
        """Announce reads in place of those before; takes some 10 us for each."""
        order = self._begin(window_size, bandwidth)
        for want in wants:
            order.add(want)
        self._end(order)

    def withdraw(self) -> None:
        """Announce nothing any more."""
        self._order = None
        self._restart()

    def fail(self, error: HeadraceError) -> None:
        """Announce nothing any more, because of *error*."""
        self.withdraw()
        self._error = error
        self._tell()

    def connected(self) -> None:
        """Take note that there is a connection, to a service that knows of nothing."""
        if self._order is not None:
            if self._progress is not None:
                self._order.forget_before(self._progress.read_count)
            self._restart()

    def take(self, progress: Progress) -> bool:
        """Take what the service says of a plan; say whether it is the one that holds."""
        if progress.plan != self._number:
            return False
        self._progress = progress._replace(
            read_count=self._base + progress.read_count,
            filled_count=self._base + progress.filled_count,
        )
        self._tell()
        return True

    async def progressed(self, since: Progress | None) -> Progress:
        """Return how far the order has come, once that is not *since*; raises what `fail` got."""
        while self._error is None and self._progress in (None, since):
            self._told = anyio.Event()
            await self._told.wait()
        if self._error is not None or self._progress is None:
            raise self._error or CacheServiceError("nothing is announced")
        return self._progress

    async def run(self, link: ServiceLink) -> None:
        """Send what is announced over *link*, for ever."""
        while True:
            number = self._number
            if self._order is not None:
                await self._send(link, self._order, number)
            elif number:
                await link.send(Withdraw())
            while number == self._number:
                await self._wait()

    async def _send(self, link: ServiceLink, order: _Order, number: int) -> None:
        """Send an order to its end, or until there is another or another connection."""
        self._base = order.read_count
        await link.send(Plan(number, order.window_size, order.bandwidth))
        sent = 0
        while number == self._number:
            if sent < len(order.pieces):
                piece = order.pieces[sent]
                await link.send(Announce(number, piece.ids, piece.wants, False))
                sent += 1
            elif order.is_complete:
                await link.send(Announce(number, b"", b"", True))
                return
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Wait for more to send; whoever calls this has just seen that there is nothing."""
        self._news = anyio.Event()
        await self._news.wait()

    def _begin(self, window_size: int, bandwidth: int) -> _Order:
        """Put an order without reads in the place of the one before."""
        self._order = _Order(window_size, bandwidth)
        self._progress = self._error = None
        self._restart()
        return self._order

    async def _add(self, order: _Order, want: Want) -> None:
        """Append a read; let others have their turn now and then."""
        if order.add(want):
            self._news.set()
            await anyio.lowlevel.checkpoint()

    def _end(self, order: _Order) -> None:
        """Take note that there are no more reads."""
        order.end()
        self._news.set()

    def _restart(self) -> None:
        """Have everything sent, under a number of its own."""
        self._number = next(self._numbers)
        self._news.set()

    def _tell(self) -> None:
        """Wake who waits for progress."""
        self._told.set()
