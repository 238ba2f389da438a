"""The order in which a reader will read chunks, and where in it the reader is. Pure.

A *use* is one read, by its number in the order. Takes some 10 bytes a use and 30 a chunk.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque

from cachesvc.chunk import ChunkId
from cachesvc.fill.chunknumbers import ChunkNumbers

_NEVER = (1 << 32) - 1
_LEAST_PATIENCE = 16
_PATIENCE_SHARE = 4
_PATIENCE_SHARE_AT_FIRST = 2
"""As long as reports may be late. With a quarter at once a reader who is slower than others was
left behind, missed all of its files from then on, and was ever slower: in five of 16 rounds of
epochs through a cache of half the dataset, with a half in one of 16."""
_LEAST_STRAYING = 64
_STRAYS = 64
_STRAYS_RANGE = 4 * _STRAYS
_LATE_SECONDS = 0.4
"""After so long a read was reported, if it is: each worker tells of its reads within 0.2 s."""
_RETOLD_SECONDS = 0.3
"""Each worker that answered a part of a read tells of it within 0.2 s. An epoch of a small dataset
takes little longer."""
_AT_ONCE = 64
"""Uses of a chunk that are so close together may be several though they are told at one time."""


class ReadOrder:
    """Uses of chunks, of which those before `position` are over and those before `cursor` counted.

    `ahead_size` is the bytes of the chunks that are counted and will be used at `position` or
    later, each once: what was fetched ahead of the reader.

    Reports of reads come late, out of order, several times and not at all: the kernel answers some
    reads itself. A use that was not reported is over once half of what is counted has been read
    after it, or a quarter so long ago that its report would be here. What is told of a chunk within
    0.3 s after a use of it was told, or was taken as over, is no use further on, but for those that
    follow at once.

    Reads of what comes after the cursor, but for the next few, are somebody else's, who reads the
    same in another order, unless there are many close together and none where the reader should be:
    then the reader is there.
    """

    def __init__(self) -> None:
        """Begin with no use."""
        self._numbers = ChunkNumbers()
        self._chunk_of = array("I")
        self._use_after = array("I")
        self._is_read = bytearray()
        self._next_use = array("I")
        self._last_use = array("I")
        self._counted_size = array("I")
        self._strays: deque[int] = deque(maxlen=_STRAYS)
        self._told: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._read_at: deque[float] = deque()
        self._now = 0.0
        self._read_ahead_count = 0
        self.position = 0
        self.cursor = 0
        self.ahead_size = 0

    def __len__(self) -> int:
        """Return how many uses there are."""
        return len(self._chunk_of)

    def __contains__(self, chunk: ChunkId) -> bool:
        """Return whether there is any use of *chunk*, over or to come."""
        return self._numbers.find(chunk) is not None

    @property
    def is_over(self) -> bool:
        """Whether all uses that are known are over."""
        return self.position == len(self)

    def append(self, chunk: ChunkId) -> None:
        """Let *chunk* be used once more, after all that is known so far."""
        number, use = self._numbers.add(chunk), len(self)
        self._chunk_of.append(number)
        self._use_after.append(_NEVER)
        self._is_read.append(False)
        if number == len(self._next_use):
            self._next_use.append(use)
            self._last_use.append(use)
            self._counted_size.append(0)
            return
        self._use_after[self._last_use[number]] = use
        self._last_use[number] = use
        if self._next_use[number] == _NEVER:
            self._next_use[number] = use

    def next_use(self, chunk: ChunkId) -> int | None:
        """Return the use of *chunk* that is next, None when there is none any more."""
        number = self._numbers.find(chunk)
        if number is None or self._next_use[number] == _NEVER:
            return None
        return self._next_use[number]

    def count_next(self, size: int) -> bool:
        """Move the cursor over one use, of a chunk that takes *size* bytes.

        Returns whether the chunk should be fetched now: the use is to come, and none before it is.
        """
        number = self._chunk_of[self.cursor]
        is_first = self._next_use[number] == self.cursor
        if is_first:
            self._counted_size[number] = size
            self.ahead_size += size
        self.cursor += 1
        self._advance()
        return is_first

    def read(self, chunk: ChunkId, now: float) -> None:
        """Take note that *chunk* was read, as is told *now*."""
        self._forget_told(now)
        use = self.next_use(chunk)
        if use is None or self._is_told_again(use):
            return
        self._note_told(use)
        ahead = self.cursor - self.position
        if use < self.cursor + _LEAST_STRAYING:
            self._strays.clear()
            self._read(use)
        elif use not in self._strays:
            self._strays.append(use)
            self._follow_strays(max(ahead, _STRAYS_RANGE))
        self._advance()

    def _is_told_again(self, use: int) -> bool:
        """Say whether a report is of a read that counts already, and not of this *use*."""
        told = self._told.get(self._chunk_of[use])
        return told is not None and use > told[1] + _AT_ONCE

    def _note_told(self, use: int) -> None:
        """Let the read of a use that was reported, or is taken as over, count now."""
        number = self._chunk_of[use]
        self._told[number] = self._now, use
        self._told.move_to_end(number)

    def _forget_told(self, now: float) -> None:
        """Go on to *now*: what was told long ago may be told of another read."""
        self._now = now
        while self._told and now - next(iter(self._told.values()))[0] > _RETOLD_SECONDS:
            self._told.popitem(last=False)
        while self._read_at and now - self._read_at[0] > _LATE_SECONDS:
            self._read_at.popleft()

    def _read(self, use: int) -> None:
        """Take note that a use, the next one of its chunk, is over."""
        self._is_read[use] = True
        self._read_at.append(self._now)
        self._read_ahead_count += 1
        self._end(use)

    def _follow_strays(self, most_apart: int) -> None:
        """Take all uses before the latest strays as over, if these are one reader's."""
        strays = self._strays
        if len(strays) < _STRAYS or max(strays) - min(strays) > most_apart:
            return
        for use in range(self.position, max(strays) + 1):
            if not self._is_read[use]:
                self._read(use)
        strays.clear()

    def _end(self, use: int) -> None:
        """Go on to the use after this one, which is the next of its chunk."""
        number = self._chunk_of[use]
        after = self._use_after[use]
        self._next_use[number] = after
        if after >= self.cursor:
            self.ahead_size -= self._counted_size[number]
            self._counted_size[number] = 0

    def _advance(self) -> None:
        """Move the position over uses that are over."""
        while self.position < self.cursor:
            if self._is_read[self.position]:
                self._read_ahead_count -= 1
            elif self._is_overdue():
                self._note_told(self.position)  # its reader may only be late
                self._end(self.position)
            else:
                return
            self.position += 1

    def _is_overdue(self) -> bool:
        """Say whether so much was read after the next use that it is over, though not reported."""
        counted = self.cursor - self.position
        long_ago = self._read_ahead_count - len(self._read_at)
        return self._read_ahead_count > max(
            _LEAST_PATIENCE, counted // _PATIENCE_SHARE_AT_FIRST
        ) or long_ago > max(_LEAST_PATIENCE, counted // _PATIENCE_SHARE)
