"""A long list of paths in two blocks of memory. Pure.

Worker processes made by a fork share it: looking at a list of a million strings would write to a
reference count beside each of them, and so copy them all into each worker.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import accumulate


class PathTable:
    """Paths by number."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Hold *paths* in their order."""
        encoded = [path.encode("utf-8", "surrogateescape") for path in paths]
        self._text = b"".join(encoded)
        self._offsets = array("Q", accumulate(map(len, encoded), initial=0))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:
        """Return the path number *index*; negative ones count from the end."""
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} paths and no number {index}")
        start, stop = self._offsets[number : number + 2]
        return self._text[start:stop].decode("utf-8", "surrogateescape")
