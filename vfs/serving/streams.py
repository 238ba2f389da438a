"""Who reads one file in order: several readers at once, each with a window of its own. Pure.

Four readers of one file, or one whose requests reach two workers, are no order to a single window.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfs.serving.readahead import STEP, ReadaheadWindow

STREAMS = 8
"""Readers in order that are told apart; the one that was idle longest is forgotten for another."""
TRIALS = 4
"""The last reads elsewhere that are remembered: each may be the first of a reader in order."""
NEAR = 256 << 10
"""Bytes by which a read may follow a trial that is not the last read. By `STEP` for each of them
3 % of random reads out of 150 MB would seem to go on, and fetch 8 MiB."""
PATIENCE = 24
"""Reads of the file after which a reader in order that did not go on is none any more: reads
anywhere near its end would be taken for its own."""


@dataclass(eq=False, slots=True)
class Stream:
    """A window, and when it was last read on without a gap."""

    window: ReadaheadWindow
    went_on_at: int


class Streams:
    """What to fetch ahead for one file."""

    def __init__(self, chunk_size: int, chunk_count: int) -> None:
        """Watch a file that is `chunk_count` chunks of `chunk_size` bytes."""
        self._chunk_size = chunk_size
        self._chunk_count = chunk_count
        self._streams: list[Stream] = []
        """The one that was read last comes first."""
        self._read_count = 0

    @property
    def in_order(self) -> bool:
        """Say whether the last read began the file or went on from one before."""
        return bool(self._streams) and self._streams[0].window.in_order

    def advance(self, offset: int, length: int) -> range:
        """Note a read of `[offset, offset + length)`; return the chunks to ask for now."""
        self._read_count += 1
        stream = self._next_of(offset)
        if stream is not None:
            stream.went_on_at = self._read_count
        else:
            stream = self._around(offset) or self._begun()
        self._streams = [stream, *self._kept(stream)]
        return stream.window.advance(offset, length)

    def _next_of(self, offset: int) -> Stream | None:
        """Return who would read here next."""
        for place, stream in enumerate(self._streams):
            reach = STEP if stream.window.in_order or place == 0 else NEAR
            if stream.window.is_next(offset, reach):
                return stream
        return None

    def _around(self, offset: int) -> Stream | None:
        """Return who reads in order about here: its reads may come out of turn."""
        for stream in self._streams:
            if stream.window.in_order and stream.window.goes_on(offset):
                return stream
        return None

    def _begun(self) -> Stream:
        window = ReadaheadWindow(self._chunk_size, self._chunk_count)
        return Stream(window, self._read_count)

    def _kept(self, current: Stream) -> list[Stream]:
        """Return the others, without those that are over."""
        others = [each for each in self._streams if each is not current]
        trials = [each for each in others if not each.window.in_order][: TRIALS - 1]
        horizon = self._read_count - PATIENCE
        live = [each for each in others if each.window.in_order and each.went_on_at > horizon]
        kept = {id(each) for each in (*trials, *live[: STREAMS - 1])}
        return [each for each in others if id(each) in kept]
