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

from bench.expected import Content, Unchanging
from bench.stalls import Step

PATIENCE_SECONDS = 60
BLOCK_SIZE = 256 * 1024

Blocks = Callable[[FileIO], Iterator[memoryview]]


class Readers:
    """Threads that read files again and again for the length of a block and check their hashes.

    The kernel is told to forget a file before it is read, so that reading needs the servers. Every
    other thread reads through a mapping. One more thread may keep a large file mapped all the time.
    """

    def __init__(
        self,
        directory: Path,
        content: Content | Mapping[str, bytes],
        count: int,
        large: str | None = None,
    ) -> None:
        """Read the files of *directory* that have a *content*, by *count* threads."""
        self.refused: list[str] = []
        """What the system answered with an error."""
        self.wrong: list[str] = []
        """Which bytes were not those that should be there."""
        self.steps: list[Step] = []
        """What was waited for: opening a file, or reading a block."""
        self._directory = directory
        self._content = Unchanging(content) if isinstance(content, Mapping) else content
        self._stopping = threading.Event()
        self._rounds = [0] * count
        self._threads = [
            threading.Thread(target=self._read, args=(number,)) for number in range(count)
        ]
        if large is not None:
            self._threads.append(threading.Thread(target=self._keep_mapped, args=(large,)))

    @property
    def errors(self) -> list[str]:
        """Everything that was not as it should be."""
        return self.refused + self.wrong

    @property
    def longest_stall_seconds(self) -> float:
        """The longest that any step took."""
        return max((step.seconds for step in self.steps), default=0.0)

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
        names = self._content.names()
        blocks = mapped_blocks if number % 2 else read_blocks
        while not self._stopping.is_set():
            name = chance.choice(names)
            try:
                self._check(name, blocks)
            except OSError as error:
                self.refused.append(f"{name}: {error}")
            self._rounds[number] += 1

    def _check(self, name: str, blocks: Blocks) -> None:
        """Read one file, all of which has to be of a version that was shown when it was opened."""
        digest = hashlib.sha256()
        opening = began = time.monotonic()
        with (self._directory / name).open("rb", buffering=0) as file:
            opened = time.monotonic()
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for block in blocks(file):
                digest.update(block)
                block.release()
                began = self._took(began)
        self._took(began)
        if digest.digest() not in self._content.possible(name, opening, opened):
            self.wrong.append(f"{name}: wrong bytes")

    def _keep_mapped(self, name: str) -> None:
        """Read a file through one mapping again and again, without the kernel's pages of it."""
        with (
            (self._directory / name).open("rb", buffering=0) as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shown,
        ):
            while not self._stopping.is_set():
                shown.madvise(mmap.MADV_DONTNEED)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                digest = hashlib.sha256()
                began = time.monotonic()
                for block in blocks_of(shown):
                    digest.update(block)
                    block.release()
                    began = self._took(began)
                if digest.digest() not in self._content.possible(name, began, began):
                    self.wrong.append(f"{name}: wrong bytes in the mapping")

    def _took(self, began: float) -> float:
        now = time.monotonic()
        self.steps.append(Step(began, now - began))
        return now


def read_blocks(file: FileIO) -> Iterator[memoryview]:
    """Yield a file's bytes by read(2)."""
    while block := file.read(BLOCK_SIZE):
        yield memoryview(block)


def mapped_blocks(file: FileIO) -> Iterator[memoryview]:
    """Yield a file's bytes as they lie in a mapping of it."""
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shown:
        yield from blocks_of(shown)


def blocks_of(shown: mmap.mmap) -> Iterator[memoryview]:
    """Yield the bytes of a mapping."""
    with memoryview(shown) as view:
        for start in range(0, len(view), BLOCK_SIZE):
            yield view[start : start + BLOCK_SIZE]
