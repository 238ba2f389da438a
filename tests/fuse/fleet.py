"""A mount with several workers, and ways to harm them."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

from bench.chaos import Readers
from tests.node import ROLES, Node
from vfs.mounting.process import wait_for_end

FILES = 40
FILE_SIZE = 300_000
BIG_SIZE = 24 << 20
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Fleet:
    """A node with one mount of some small files and a larger one."""

    node: Node
    source: Path
    mount: Path

    def read(self, number: int) -> bytes:
        """Return the bytes of one of the small files."""
        return (self.mount / f"f{number}").read_bytes()

    def readers(self, count: int = 3) -> Readers:
        """Return readers of all files."""
        return Readers(self.mount, hashes(self.source), count)

    def is_whole(self) -> bool:
        """Say whether everybody is there."""
        found = self.node.processes()
        return len(found["worker"]) == WORKERS and all(found[role] for role in ROLES)


def launched_fleet(node: Node, source: Path, *words: str) -> Fleet:
    """Publish some files in *source* and mount them."""
    chance = random.Random(7)
    (source / "big").write_bytes(chance.randbytes(BIG_SIZE))
    for number in range(FILES):
        (source / f"f{number}").write_bytes(chance.randbytes(FILE_SIZE))
    node.snapshot(source)
    return Fleet(node, source, node.mount(source, "--workers", str(WORKERS), *words))


def hashes(directory: Path) -> dict[str, bytes]:
    """Return what is in the files of a directory."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).digest()
        for path in directory.iterdir()
        if path.is_file()
    }


def kill(*pids: int) -> None:
    """SIGKILL all at once and wait until they are gone."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait_for_end(pid, 10)
