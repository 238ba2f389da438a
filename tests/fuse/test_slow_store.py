"""Readers who wait for the store, however many they are, are in nobody's way."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.upload import upload
from tests.fakes.faultproxy import FaultProxy, Hold
from tests.node import Node, wait_until
from tests.seaweed import SeaweedServer
from vfs.mounting.mountinfo import mounted_at

WARM, COLD = 40, 300
ANSWER_SECONDS = 60
"""Only a failing test waits so long."""


@dataclass(frozen=True, slots=True)
class SlowStore:
    """A mount of files of which the store sends only those in `warm/` while it holds requests."""

    node: Node
    proxy: FaultProxy
    content: dict[str, bytes]
    url: str

    def mounted(self, *words: str) -> Path:
        """Mount, with the warm files in the node's cache and nothing in the kernel's memory."""
        mount = self.node.mount(self.url, *words, name="before")
        for name in self.names("warm"):
            (mount / name).read_bytes()
        self.node.umount(mount)
        return self.node.mount(self.url, *words)

    def names(self, directory: str) -> list[str]:
        """Return the files in one of the directories."""
        return [name for name in self.content if name.startswith(directory)]

    def holds(self, mount: Path, name: str) -> bool:
        """Read a file; say whether it holds the right bytes."""
        return (mount / name).read_bytes() == self.content[name]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the store keep all who ask for cold files waiting for the length of a block."""
        self.proxy.inject(Hold(), part="/cold/")
        try:
            yield
        finally:
            self.proxy.heal()


@pytest.fixture
def store(
    node: Node, s3_server: SeaweedServer, s3_proxy: FaultProxy, s3_url: str, tmp_path: Path
) -> SlowStore:
    """Warm and cold files in a bucket behind a proxy."""
    chance = random.Random(6)
    content = {
        f"{directory}/{number}": chance.randbytes(3000)
        for directory, count in (("warm", WARM), ("cold", COLD))
        for number in range(count)
    }
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    upload(tmp_path, content, s3_url, s3_server.environ)
    node.environment |= s3_server.environ | {"AWS_ENDPOINT_URL": s3_proxy.endpoint}
    node.snapshot(s3_url)
    return SlowStore(node, s3_proxy, content, s3_url)


@contextmanager
def kernels_view(directory: Path) -> Iterator[Path]:
    """Show what the kernel tells of its FUSE connections, in a place of our own."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def requests_waiting(connections: Path, mount: Path) -> int:
    """Return how many requests of a mount have no answer yet, as the kernel counts them."""
    info = mounted_at(mount)
    assert info is not None
    return int((connections / str(info.minor) / "waiting").read_text())


def chunks_asked_for(node: Node) -> int:
    """Return for how many chunks clients of the cache service wait."""
    stats = json.loads(node.run("cache", "stats", "--json").stdout)
    count: int = stats["chunks_asked_for_now"]
    return count - 1  # the question itself counts, too


def answered_meanwhile(store: SlowStore, mount: Path, waiting: list[Future[bool]]) -> None:
    """Check that warm files, names and attributes are answered while nobody of *waiting* is."""
    assert all(store.holds(mount, name) for name in store.names("warm"))
    assert sorted(os.listdir(mount)) == ["cold", "warm"]
    assert {(mount / name).stat().st_size for name in store.names("cold")} == {3000}
    assert not (mount / "absent").exists()
    assert not any(reading.done() for reading in waiting)


def test_one_slow_miss(store: SlowStore) -> None:
    """One reader who waits for the store delays nobody who wants what is on the node, though there
    be one worker only.
    """
    mount = store.mounted("--workers", "1")
    with ThreadPoolExecutor(2) as threads, store.held():
        reading = threads.submit(store.holds, mount, "cold/7")
        wait_until(lambda: store.proxy.count("GET", "/cold/7"))
        threads.submit(answered_meanwhile, store, mount, [reading]).result(ANSWER_SECONDS)
        store.proxy.heal()
        assert reading.result(ANSWER_SECONDS)


def test_hundreds_of_misses(store: SlowStore, tmp_path: Path) -> None:
    """Hundreds of readers may wait for the store at once: what is on the node is answered
    meanwhile, and when the store answers they all get the right bytes.
    """
    mount = store.mounted()
    with (
        kernels_view(tmp_path / "connections") as connections,
        ThreadPoolExecutor(COLD + 1) as threads,
        store.held(),
    ):
        waiting = [threads.submit(store.holds, mount, name) for name in store.names("cold")]
        wait_until(lambda: chunks_asked_for(store.node) == COLD)
        threads.submit(answered_meanwhile, store, mount, waiting).result(ANSWER_SECONDS)
        assert requests_waiting(connections, mount) >= COLD
        store.proxy.heal()
        assert all(reading.result(ANSWER_SECONDS) for reading in waiting)
