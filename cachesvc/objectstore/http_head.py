"""The head of an HTTP/1.1 answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: |\Z)")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class BadAnswerError(Exception):
    """What came is no HTTP, or not what can be read here; the text says which."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers, their names in small letters."""

    version: int
    status: int
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, text: bytes) -> Head:
        """Read a head without its empty line. Raises BadAnswerError."""
        first, *lines = text.split(b"\r\n")
        found = _STATUS.match(first)
        if found is None:
            raise BadAnswerError("what answered does not speak HTTP")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise BadAnswerError("the answer has a malformed header")
            headers[name.strip().lower()] = value.strip()
        return cls(int(found[1]), int(found[2]), headers)

    @property
    def body_size(self) -> int | None:
        """How many bytes follow; None where only their end tells."""
        size = self.headers.get("content-length", "")
        is_told = size.isdecimal() and "transfer-encoding" not in self.headers
        return int(size) if is_told else None

    @property
    def range(self) -> tuple[int, int, int] | None:
        """The half-open range that is sent, and the size of the whole; None if it is not told."""
        found = _RANGE.match(self.headers.get("content-range", ""))
        return None if found is None else (int(found[1]), int(found[2]) + 1, int(found[3]))

    @property
    def is_last(self) -> bool:
        """Whether the connection ends after this answer."""
        return self.version == 0 or self.headers.get("connection", "").lower() == "close"
