"""Asking a manifest from any thread: one question at a time, and nobody waits with the lock held.

A tree's memory of pages is no place for two threads. So each question is a coroutine that is run
to its end at once, under a lock, over bytes that are at hand. Where some are not, the question is
abandoned, they are fetched without the lock, and it is asked again: it must not change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from cachesvc.client import CacheClient, spans_of
from vfs.serving.manifestsource import manifest_ref
from vfs.snapshots.repository import StoredSnapshot

R = TypeVar("R")
Question = Callable[[], Coroutine[Any, Any, R]]


class Piece(NamedTuple):
    """A range of the manifest; *bad* is what came for it before and cannot be right."""

    start: int
    stop: int
    bad: bytes | None = None


class PieceMissingError(Exception):
    """A piece has to be fetched first. Never leaves `Questions`."""

    def __init__(self, piece: Piece) -> None:
        """Miss *piece*."""
        super().__init__(piece)
        self.piece = piece


class MappedManifest:
    """A manifest's bytes (`vfs.manifest.tree.ByteSource`) as far as they are at hand: no waiting.

    `brought` is what was fetched for the question that is being asked.
    """

    def __init__(self, client: CacheClient, root: str, snapshot: StoredSnapshot) -> None:
        """Read *snapshot*'s manifest, which lies in the repository *root*, from the cache's map."""
        self.brought: Mapping[Piece, bytes] = {}
        self._client = client
        self._ref = manifest_ref(root, snapshot)

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`, fewer only where the manifest ends."""
        piece = Piece(start, min(stop, self._ref.size))
        found = self.brought.get(piece)
        if found is None:
            found = self._mapped(piece)
        if found is None:
            raise PieceMissingError(piece)
        return found

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        """Return what was fetched anew because *bad* cannot be right."""
        piece = Piece(start, min(stop, self._ref.size), bad)
        found = self.brought.get(piece)
        if found is None:
            raise PieceMissingError(piece)
        return found

    def _mapped(self, piece: Piece) -> bytes | None:
        with self._client.hits(list(spans_of(self._ref, piece.start, piece.stop))) as views:
            return None if views is None else b"".join(views)


class Questions:
    """The one who asks a manifest's tree on behalf of all threads."""

    def __init__(self, manifest: MappedManifest, fetch: Callable[[Piece], bytes]) -> None:
        """Ask trees over *manifest*; *fetch* waits for a piece of it."""
        self.lock = Lock()
        """Held by whoever uses the tree, also for what is answered from its memory alone."""
        self.manifest = manifest
        self._fetch = fetch

    def ask(self, question: Question[R]) -> R:
        """Return the answer, however often the question must be asked until all is at hand."""
        brought: dict[Piece, bytes] = {}
        while True:
            missing = None
            with self.lock:
                self.manifest.brought = brought
                try:
                    return finished(question())
                except PieceMissingError as error:
                    missing = error.piece
            brought[missing] = self._fetch(missing)


def finished(coroutine: Coroutine[Any, Any, R]) -> R:
    """Return what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        answer: R = end.value
        return answer
    coroutine.close()
    raise RuntimeError("a question to a manifest waited for something")
