"""Just enough HTTP/1.1 for a proxy in tests: one message, read from a stream and written to one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

MAX_HEAD = 64 << 10
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer, whole."""

    start_line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def method(self) -> str:
        """The request's method."""
        return self.start_line.split(" ")[0]

    @property
    def target(self) -> str:
        """The request's path and query."""
        return self.start_line.split(" ")[1]

    def header(self, name: str) -> str:
        """Return a header's value, "" when there is none."""
        found = (value for each, value in self.headers if each.lower() == name.lower())
        return next(found, "")

    def without(self, *names: str) -> Message:
        """Return the message without some of its headers."""
        gone = {name.lower() for name in names}
        kept = tuple(header for header in self.headers if header[0].lower() not in gone)
        return replace(self, headers=kept)

    def with_header(self, name: str, value: str) -> Message:
        """Return the message with this header and no other one of that name."""
        return replace(self, headers=(*self.without(name).headers, (name, value)))

    def head(self) -> bytes:
        """Return everything before the body."""
        lines = [self.start_line, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def encode(self) -> bytes:
        """Return the bytes to send."""
        return self.head() + self.body


class MessageReader:
    """Reads the messages of one connection, one after the other."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._buffered = BufferedByteReceiveStream(stream)

    async def read(self, *, body_follows: bool = True) -> Message | None:
        """Return the next message, None when the other side has no more to say."""
        try:
            head = await self._buffered.receive_until(b"\r\n\r\n", MAX_HEAD)
        except (anyio.EndOfStream, anyio.IncompleteRead):
            return None
        start_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        message = Message(start_line, tuple((name, value.strip()) for name, value in pairs))
        if message.header("Expect") == "100-continue":
            await self._stream.send(CONTINUE)
        return await self._with_body(message) if body_follows else message

    async def _with_body(self, message: Message) -> Message:
        if message.header("Transfer-Encoding").lower() == "chunked":
            body = await self._chunks()
            sized = message.with_header("Content-Length", str(len(body)))
            return replace(sized.without("Transfer-Encoding"), body=body)
        length = int(message.header("Content-Length") or 0)
        return replace(message, body=await self._buffered.receive_exactly(length))

    async def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int((await self._line()).split(b";")[0], 16):
            parts.append(await self._buffered.receive_exactly(size))
            await self._line()
        await self._line()
        return b"".join(parts)

    async def _line(self) -> bytes:
        return await self._buffered.receive_until(b"\r\n", MAX_HEAD)
