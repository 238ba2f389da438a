"""Which files are being read in order, and what of them to fetch ahead of the reader."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from cachesvc.client import Want
from cachesvc.errors import HeadraceError
from vfs.serving.extent import PlacedExtent
from vfs.serving.layout import Layouts
from vfs.serving.protocol import ReadRequest
from vfs.serving.readahead import ReadaheadWindow

FILES_WATCHED = 256
"""Files with a window; the one that was idle longest loses its own."""
PLANS_QUEUED = 64
"""Plans that wait for their chunks' hashes; past it plans are dropped: they are only hints."""

Place = tuple[int, int]
"""Epoch and position of a file."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks of one file's extent that will be read soon."""

    place: Place
    extent: PlacedExtent
    chunks: range


class Lookahead:
    """One window for each file that was read lately. Forgetting it all costs time and no byte."""

    def __init__(self, layouts: Layouts, prefetch: Callable[[Sequence[Want]], None]) -> None:
        """Send what the windows ask for to *prefetch*, from the task that runs `run`."""
        self._layouts = layouts
        self._prefetch = prefetch
        self._windows: OrderedDict[Place, ReadaheadWindow] = OrderedDict()
        self._plans, self._incoming = trio.open_memory_channel[Plan](PLANS_QUEUED)

    def note(self, place: Place, extents: Sequence[PlacedExtent], request: ReadRequest) -> None:
        """Learn of a read. Only files that are one object of several chunks are looked ahead on."""
        if len(extents) != 1 or extents[0].object.chunk_count < 2:
            return
        extent = extents[0]
        ahead = self._window(place, extent).advance(extent.offset + request.offset, request.size)
        if ahead and self._plans.statistics().current_buffer_used < PLANS_QUEUED:
            self._plans.send_nowait(Plan(place, extent, ahead))

    async def run(self) -> None:
        """Turn plans into prefetches for ever.

        What goes wrong here goes wrong again for the reader, who is told.
        """
        async for plan in self._incoming:
            try:
                self._prefetch(
                    [
                        await self._layouts.want(*plan.place, plan.extent, each)
                        for each in plan.chunks
                    ]
                )
            except HeadraceError:
                continue

    def _window(self, place: Place, extent: PlacedExtent) -> ReadaheadWindow:
        window = self._windows.pop(place, None)
        if window is None:
            window = ReadaheadWindow(extent.object.chunk_size, extent.object.chunk_count)
            if len(self._windows) >= FILES_WATCHED:
                self._windows.popitem(last=False)
        self._windows[place] = window
        return window
