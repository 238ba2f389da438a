"""Takes HTTP messages from a socket and passes their bodies on without looking: by splice(2)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench.httphead import END_OF_HEAD, Ends, Head

HEAD_SIZE = 64 << 10
PIPE_SIZE = 1 << 20


class Inbound:
    """A socket that is read by heads, lines and runs of bytes."""

    def __init__(self, stream: socket.socket, pipe: tuple[int, int]) -> None:
        """Read *stream*; *pipe* is for splicing and empty between calls."""
        self._stream = stream
        self._pipe = pipe
        self._ahead = b""

    def head(self) -> Head | None:
        """Return the next head; None when the other side has gone."""
        text = self._until(END_OF_HEAD)
        return Head.parse(text) if text else None

    def line(self) -> bytes:
        """Return the next line with its end."""
        return self._until(b"\r\n")

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._ahead:
            received = self._stream.recv(HEAD_SIZE)
            if not received:
                return b""
            self._ahead += received
        text, found, self._ahead = self._ahead.partition(mark)
        return text + found

    def pieces(self, byte_count: int | None, step: int) -> Iterator[Piece]:
        """Yield the next *byte_count* bytes, or all that come, in pieces that wait to be sent."""
        left = sys.maxsize if byte_count is None else byte_count
        while left:
            piece = self._piece(min(left, step))
            if not piece.size:
                return
            left -= piece.size
            yield piece

    def _piece(self, limit: int) -> Piece:
        if self._ahead:
            taken, self._ahead = self._ahead[:limit], self._ahead[limit:]
            return Piece(len(taken), taken, self._pipe[0])
        size = os.splice(self._stream.fileno(), self._pipe[1], limit)
        return Piece(size, b"", self._pipe[0])


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a body: here, or in the pipe."""

    size: int
    here: bytes
    pipe: int

    def send(self, stream: socket.socket) -> None:
        """Pass them on."""
        if self.here:
            stream.sendall(self.here)
            return
        left = self.size
        while left:
            left -= os.splice(self.pipe, stream.fileno(), left)


def body_pieces(source: Inbound, body: int | Ends, step: int) -> Iterator[Piece]:
    """Yield a body in pieces; of a chunked one also the lines between its chunks."""
    match body:
        case int():
            yield from source.pieces(body, step)
        case Ends.WITH_CONNECTION:
            yield from source.pieces(None, step)
        case Ends.CHUNKED:
            yield from _chunked_pieces(source, step)


def _chunked_pieces(source: Inbound, step: int) -> Iterator[Piece]:
    while line := source.line():
        yield Piece(len(line), line, -1)
        size = int(line.split(b";")[0], 16)
        if not size:
            break
        yield from source.pieces(size + len(b"\r\n"), step)
    while line := source.line():  # trailers, up to an empty one
        yield Piece(len(line), line, -1)
        if line == b"\r\n":
            return


@contextlib.contextmanager
def large_pipe() -> Iterator[tuple[int, int]]:
    """Give a pipe as large as an unprivileged process may have it."""
    ends = os.pipe()
    try:
        fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        yield ends
    finally:
        for end in ends:
            os.close(end)
