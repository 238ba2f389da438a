"""Readers that look at every byte while somebody else does their worst."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType

PATIENCE_SECONDS = 60
BLOCK_SIZE = 256 * 1024

Blocks = Callable[[FileIO], Iterator[memoryview]]


class Readers:
    """Threads that read files again and again for the length of a block and check their hashes.

    The kernel is told to forget a file before it is read, so that reading needs the servers. Every
    other thread reads through a mapping.
    """

    def __init__(self, directory: Path, hashes: Mapping[str, bytes], count: int) -> None:
        """Read the files of *directory* named in *hashes*, by *count* threads."""
        self.errors: list[str] = []
        self.stalls: list[float] = []
        """Seconds that each step took: opening, listing or reading a block."""
        self._directory = directory
        self._hashes = hashes
        self._stopping = threading.Event()
        self._rounds = [0] * count
        self._threads = [
            threading.Thread(target=self._read, args=(number,)) for number in range(count)
        ]

    @property
    def longest_stall_seconds(self) -> float:
        """The longest that any step took."""
        return max(self.stalls, default=0.0)

    @property
    def file_count(self) -> int:
        """Files read so far."""
        return sum(self._rounds)

    def __enter__(self) -> Readers:
        """Begin to read."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reading."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for_rounds(self, count: int) -> None:
        """Return when every thread has read *count* more files."""
        goal = [done + count for done in self._rounds]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(done < aim for done, aim in zip(self._rounds, goal, strict=True)):
            if time.monotonic() > deadline or self.errors:
                raise TimeoutError(f"readers do not get on: {self.errors}")
            time.sleep(0.01)

    def _read(self, number: int) -> None:
        chance = random.Random(number)
        names = sorted(self._hashes)
        blocks = mapped_blocks if number % 2 else read_blocks
        while not self._stopping.is_set():
            name = chance.choice(names)
            try:
                if self._hash_of(self._directory / name, blocks) != self._hashes[name]:
                    self.errors.append(f"{name}: wrong bytes")
            except OSError as error:
                self.errors.append(f"{name}: {error}")
            self._rounds[number] += 1

    def _hash_of(self, path: Path, blocks: Blocks) -> bytes:
        digest = hashlib.sha256()
        began = time.monotonic()
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for block in blocks(file):
                digest.update(block)
                block.release()
                began = self._took(began)
        self._took(began)
        return digest.digest()

    def _took(self, began: float) -> float:
        now = time.monotonic()
        self.stalls.append(now - began)
        return now


def read_blocks(file: FileIO) -> Iterator[memoryview]:
    """Yield a file's bytes by read(2)."""
    while block := file.read(BLOCK_SIZE):
        yield memoryview(block)


def mapped_blocks(file: FileIO) -> Iterator[memoryview]:
    """Yield a file's bytes as they lie in a mapping of it."""
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shown, memoryview(shown) as view:
        for start in range(0, len(view), BLOCK_SIZE):
            yield view[start : start + BLOCK_SIZE]
