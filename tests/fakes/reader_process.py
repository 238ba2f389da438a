"""A process that reads chunks: LMDB lets nobody open the writer's files twice in one process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cachesvc.chunk import ChunkId, Span
from cachesvc.store.chunkreader import ChunkReader

FORK = multiprocessing.get_context("fork")


class Session:
    """What lives in the process: a reader, and the block it is held in."""

    def __init__(self) -> None:
        self.reader: ChunkReader | None = None
        self.block: AbstractContextManager[list[memoryview] | None] | None = None

    def open(self, directory: Path) -> bytes:
        if self.reader is not None:
            self.reader.close()
        self.reader = ChunkReader(directory)
        return self.reader.generation

    def read(self, spans: Sequence[Span]) -> bytes | None:
        with self._opened().hits(spans) as views:
            return None if views is None else b"".join(views)

    def view_sizes(self, spans: Sequence[Span]) -> list[int]:
        with self._opened().hits(spans) as views:
            return [len(view) for view in views or ()]

    def present(self, chunk: ChunkId) -> bool:
        return self._opened().present(chunk)

    def readable_chunks(self, digest: bytes, start: int = 0) -> tuple[dict[int, int], int | None]:
        return self._opened().readable_chunks(digest, start)

    def stale(self) -> bool:
        return self._opened().stale()

    def hold(self, spans: Sequence[Span]) -> bool:
        """Enter a block and stay in it."""
        self.block = self._opened().hits(spans)
        self._views = self.block.__enter__()
        return self._views is not None

    def held_bytes(self) -> bytes:
        """Return what the block shows now."""
        return b"".join(self._views or ())

    def release(self) -> None:
        if self.block is not None:
            self.block.__exit__(None, None, None)
            self.block = None

    def close(self) -> None:
        self._opened().close()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401  any function
        return function(self._opened(), *args)

    def _opened(self) -> ChunkReader:
        assert self.reader is not None
        return self.reader


class ReaderProcess:
    """To be started before the store is opened. Its methods are those of `Session`, run there."""

    def __init__(self) -> None:
        self._pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=_serve, args=(theirs, self._pipe), daemon=True)
        self.process.start()
        theirs.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*args: Any) -> Any:  # noqa: ANN401  whatever the method takes and returns
            self._pipe.send((name, args))
            answer, error = self._pipe.recv()
            if error is not None:
                raise error
            return answer

        return ask

    def kill(self) -> None:
        """End it by SIGKILL, whatever it is doing."""
        self.process.kill()
        self.process.join()


@contextmanager
def reader_process() -> Iterator[ReaderProcess]:
    """A process that is gone at the end of the block."""
    process = ReaderProcess()
    try:
        yield process
    finally:
        process.kill()


def _serve(pipe: Connection, theirs: Connection) -> None:
    theirs.close()
    session = Session()
    while True:
        try:
            name, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((getattr(session, name)(*args), None))
        except Exception as error:  # noqa: BLE001  raised again on the other side
            pipe.send((None, error))
