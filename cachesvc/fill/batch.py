"""What is done with the chunk store in one go, in a thread, while nothing else touches it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio

from cachesvc.chunk import ChunkId
from cachesvc.errors import CacheFullError
from cachesvc.store.chunkstore import NewChunk, StoredChunk, Usage
from cachesvc.store.slab import stored_size

log = logging.getLogger(__name__)


class ChunkTable(Protocol):
    """What is asked of the chunk store; every call blocks."""

    @property
    def generation(self) -> bytes:
        """Which incarnation of the files this is."""
        ...

    def verify(self, chunk: ChunkId) -> bool:
        """Check a chunk's bytes; delete it if they are wrong."""
        ...

    def put(self, entries: Sequence[NewChunk]) -> None:
        """Store chunks. CacheFullError leaves the store as it was."""
        ...

    def delete(self, chunks: Sequence[ChunkId]) -> None:
        """Delete chunks."""
        ...

    def read(self, chunk: ChunkId) -> bytes | None:
        """Return a chunk's bytes."""
        ...

    def usage(self) -> Usage:
        """Say how much is stored."""
        ...

    def scan(self) -> Iterator[StoredChunk]:
        """Yield what is stored, oldest first."""
        ...

    def mark_hot(self, chunks: Sequence[ChunkId]) -> None:
        """Remember that chunks were read repeatedly."""
        ...

    def check_readers(self) -> int:
        """Free the slots of readers that died."""
        ...

    def close(self) -> None:
        """Stop cleanly."""
        ...

    def discard(self) -> None:
        """Close, and delete everything."""
        ...


@dataclass(eq=False, slots=True)
class Put:
    """Chunks of one range on their way into the store; `stored` is valid once `done` is set."""

    entries: Sequence[NewChunk]
    done: anyio.Event = field(default_factory=anyio.Event)
    stored: bool = False

    @property
    def size(self) -> int:
        """Bytes that the chunks will take."""
        return sum(stored_size(len(entry.data)) for entry in self.entries)

    def settle(self, *, stored: bool) -> None:
        """Tell the task that waits what became of it."""
        self.stored = stored
        self.done.set()


@dataclass(eq=False, slots=True)
class Call:
    """A question to the store, asked between two batches; `answered` says that `result` counts."""

    function: Callable[[ChunkTable], Any]
    done: anyio.Event = field(default_factory=anyio.Event)
    answered: bool = False
    result: Any = None

    def run(self, table: ChunkTable) -> None:
        """Ask the question, in the thread. What it raises breaks the store, as in a batch."""
        self.result = self.function(table)
        self.answered = True


@dataclass(slots=True)
class Batch:
    """What the thread does in one go, in this order; `full` says that the puts found no room."""

    evictions: Sequence[ChunkId] = ()
    hot: Sequence[ChunkId] = ()
    puts: Sequence[Put] = ()
    calls: Sequence[Call] = ()
    full: bool = False

    def __bool__(self) -> bool:
        """Say whether there is anything to do."""
        return bool(self.evictions or self.hot or self.puts or self.calls)

    def apply(self, table: ChunkTable) -> None:
        """Do the work, in the thread. What it raises means that the store is of no more use."""
        if self.evictions:
            table.delete(self.evictions)
        if self.hot:
            table.mark_hot(self.hot)
        if self.puts:
            self._put(table)
        for call in self.calls:
            call.run(table)

    def _put(self, table: ChunkTable) -> None:
        """Store the chunks of all puts in one commit."""
        try:
            table.put([entry for put in self.puts for entry in put.entries])
        except CacheFullError as error:
            log.debug("no room for a batch: %s", error)
            self.full = True
