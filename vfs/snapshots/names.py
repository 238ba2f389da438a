"""Which path an object's key becomes, and which keys cannot become one. Pure.

An object store knows keys, any string at all; a file system knows directories and components. The
rules are those of docs/names.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

NAME_MAX = 255
"""Bytes of one path component that Linux's file systems and the kernel's VFS allow."""

EXAMPLE_COUNT = 3


class SkipReason(StrEnum):
    """Why something that was listed is not in the snapshot, in words that follow a count."""

    EMPTY_COMPONENT = "with an empty path component"
    DOT_COMPONENT = 'with "." or ".." as a path component'
    NUL = "with a NUL character in the name"
    LONG_COMPONENT = f"with a path component of more than {NAME_MAX} bytes"
    NOT_ENCODABLE = "with a name that has no UTF-8 form"
    SHADOWED = "hidden by a directory of the same name"
    MARKER_CONTENT = 'with content under a name that ends in "/" (kept as empty directories)'
    SPECIAL_FILE = "that are sockets, FIFOs or devices"
    VANISHED = "that vanished while being listed"


class Skipped:
    """What was left out so far: a count for each reason, and the first few names."""

    def __init__(self) -> None:
        """Begin with nothing left out."""
        self.counts: Counter[SkipReason] = Counter()
        self.examples: dict[SkipReason, list[bytes]] = {}

    def add(self, reason: SkipReason, name: bytes) -> None:
        """Count one more, and keep its name while there are few."""
        self.counts[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLE_COUNT:
            examples.append(name)

    def lines(self) -> Iterator[str]:
        """Say what was left out, one line a reason, the most frequent first."""
        for reason, count in self.counts.most_common():
            names = ", ".join(f'"{printable(name)}"' for name in self.examples[reason])
            more = ", ..." if count > EXAMPLE_COUNT else ""
            yield f"{count:,} {reason}: {names}{more}"


class KeyPaths:
    """Turns keys into paths, and remembers every directory that they imply.

    A directory is checked once, when its first key comes: after that a key costs one look-up.
    """

    def __init__(self) -> None:
        """Begin with the root directory."""
        self.directories: set[bytes] = {b""}

    def path_of(self, key: str) -> bytes | SkipReason:
        """Return the key as a path, ending in "/" if it marks a directory; or why there is none."""
        try:
            path = key.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return SkipReason.NOT_ENCODABLE
        directory, slash, name = path.rpartition(b"/")
        fault = component_fault(name) if name else None
        if fault is None and slash:
            fault = self._directory_fault(directory)
        return fault or path

    def _directory_fault(self, directory: bytes) -> SkipReason | None:
        if not directory:
            return SkipReason.EMPTY_COMPONENT
        return None if directory in self.directories else self._learn(directory)

    def _learn(self, directory: bytes) -> SkipReason | None:
        for component in directory.split(b"/"):
            fault = component_fault(component)
            if fault is not None:
                return fault
        while directory not in self.directories:
            self.directories.add(directory)
            directory = directory.rpartition(b"/")[0]
        return None


def component_fault(name: bytes) -> SkipReason | None:
    """Return why *name* cannot be one component of a path, or None when it can."""
    if not name:
        return SkipReason.EMPTY_COMPONENT
    if name in {b".", b".."}:
        return SkipReason.DOT_COMPONENT
    if b"\0" in name:
        return SkipReason.NUL
    if len(name) > NAME_MAX:
        return SkipReason.LONG_COMPONENT
    return None


def printable(name: bytes) -> str:
    """Return *name* as one line for a person: what cannot be shown stands as an escape."""
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def lossless(name: bytes) -> str:
    """Return *name* for a script: `os.fsencode` gives its very bytes back."""
    return name.decode("utf-8", "surrogateescape")
