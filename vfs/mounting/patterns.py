"""Which files a pattern means: `*`, `?` and `[]` within a name, `**` for any depth. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from cachesvc.errors import UsageError

EVERYTHING: Final = "**"
_MAGIC: Final = re.compile(r"[*?\[]")


class PathPattern:
    """A pattern of paths relative to the root. A directory that matches stands for all below it.

    `base` is the path before the first name that is a pattern: all that matches lies at or below.
    """

    def __init__(self, text: str) -> None:
        """Understand *text*, such as `train/**/*.jpg`. Raises UsageError."""
        names = [name for name in text.split("/") if name not in {"", "."}]
        if ".." in names:
            raise UsageError(f"{text!r}: a pattern must stay within the mount")
        plain = next((n for n, name in enumerate(names) if _MAGIC.search(name)), len(names))
        self.base = os.fsencode("/".join(names[:plain]))
        self._names = names

    def matches(self, path: bytes) -> bool:
        """Say whether a path, or a directory above it, matches."""
        return _match(self._names, os.fsdecode(path).split("/"))


def _match(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Say whether the first parts of a path match all names."""
    if not names:
        return True
    if names[0] == EVERYTHING:
        return any(_match(names[1:], parts[start:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], names[0]) and _match(names[1:], parts[1:])
