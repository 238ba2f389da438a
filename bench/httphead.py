"""What a relay has to know of an HTTP/1.1 message: where it ends, and what it asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

END_OF_HEAD = b"\r\n\r\n"
STATUSES_WITHOUT_BODY = (204, 304)


class BadMessageError(Exception):
    """Something that is not HTTP/1.1."""


class Ends(Enum):
    """What says where a body ends, when no length does."""

    CHUNKED = auto()
    WITH_CONNECTION = auto()


@dataclass(frozen=True, slots=True)
class Head:
    """A start line and header lines, kept byte for byte: S3 signs some of them, Host among them."""

    lines: Sequence[bytes]

    @classmethod
    def parse(cls, text: bytes) -> Head:
        """Decode all that comes before the empty line."""
        lines = text.removesuffix(END_OF_HEAD).split(b"\r\n")
        if lines[0].count(b" ") < 1:
            raise BadMessageError(f"no start line: {lines[0][:40]!r}")
        return cls(lines)

    def encode(self) -> bytes:
        """Return it as it came."""
        return b"\r\n".join(self.lines) + END_OF_HEAD

    def header(self, name: bytes) -> bytes:
        """Return the value of the first header called *name*, in lower case; empty if none is."""
        for line in self.lines[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name:
                return value.strip()
        return b""

    def without(self, name: bytes) -> Head:
        """Return the same message without one header."""
        kept = [line for line in self.lines[1:] if line.partition(b":")[0].lower() != name]
        return Head([self.lines[0], *kept])

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.lines[0].split(b" ")[0].decode("ascii", "replace")

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.lines[0].split(b" ")[1])

    @property
    def closes(self) -> bool:
        """Whether the connection ends after this message."""
        return self.header(b"connection").lower() == b"close"

    def request_body(self) -> int | Ends:
        """Return how long the body of a request is."""
        return self._length(0)

    def response_body(self, method: str) -> int | Ends:
        """Return how long the body of the response to a request of *method* is."""
        if method == "HEAD" or self.status in STATUSES_WITHOUT_BODY:
            return 0
        return self._length(Ends.WITH_CONNECTION)

    def _length(self, otherwise: int | Ends) -> int | Ends:
        if self.header(b"transfer-encoding").lower() == b"chunked":
            return Ends.CHUNKED
        length = self.header(b"content-length")
        return int(length) if length else otherwise
