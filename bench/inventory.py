"""What lies below a directory, and which of it to read: the facts that a mount is compared with."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SEED = 20


@dataclass(frozen=True, slots=True)
class Inventory:
    """The regular files below a directory, by relative path, with their sizes."""

    sizes: Mapping[str, int]

    @property
    def file_count(self) -> int:
        """How many files there are."""
        return len(self.sizes)

    @property
    def byte_count(self) -> int:
        """How many bytes they hold."""
        return sum(self.sizes.values())

    def beginning(self, count: int, total_size: int) -> Inventory:
        """Return the first files by name, up to *count* of at most *total_size* bytes together."""
        chosen = self._fitting(sorted(self.sizes), count, total_size)
        return Inventory({path: self.sizes[path] for path in chosen})

    def sample(self, count: int, total_size: int) -> list[str]:
        """Return up to *count* files of at most *total_size* bytes together, the same each time."""
        shuffled = random.Random(SEED).sample(sorted(self.sizes), len(self.sizes))
        return self._fitting(shuffled, count, total_size)

    def _fitting(self, paths: Iterable[str], count: int, total_size: int) -> list[str]:
        chosen: list[str] = []
        for path in paths:
            if len(chosen) == count:
                break
            if self.sizes[path] <= total_size:
                chosen.append(path)
                total_size -= self.sizes[path]
        return chosen


def take_inventory(root: Path) -> Inventory:
    """Walk everything below *root* and look at each file once."""
    sizes: dict[str, int] = {}
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    sizes[os.path.relpath(entry.path, root)] = entry.stat(
                        follow_symlinks=False
                    ).st_size
    return Inventory(sizes)


def digests(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Read *paths* below *root* to their ends and return the SHA-256 of each."""
    found = {}
    for path in paths:
        with (root / path).open("rb") as file:
            found[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
