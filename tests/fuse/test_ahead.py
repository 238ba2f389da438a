"""What a mount asks a real S3 server for, ahead of its readers: requests are counted."""

from __future__ import annotations

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.upload import upload
from tests.fakes.faultproxy import FaultProxy
from tests.node import Node, wait_until
from tests.seaweed import SeaweedServer

COUNT = 300
SIZE = 20_000
CHUNK = 4 << 20
CHUNKS = 12
READ_SIZE = 128 << 10


@pytest.fixture
def far(
    node: Node, s3_server: SeaweedServer, s3_proxy: FaultProxy, s3_url: str, tmp_path: Path
) -> Node:
    """A machine that reaches a bucket of small files and a large one by way of a proxy."""
    (tmp_path / "small").mkdir()
    names = [f"small/{number:04}" for number in range(COUNT)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(random.Random(number).randbytes(SIZE))
    (tmp_path / "large").write_bytes(random.Random(0).randbytes(CHUNKS * CHUNK))
    upload(tmp_path, [*names, "large"], s3_url, s3_server.environ)
    node.environment.update(s3_server.environ)
    node.environment["AWS_ENDPOINT_URL"] = s3_proxy.endpoint
    return node


def mounted(node: Node, proxy: FaultProxy, url: str, *words: str) -> Path:
    """Publish and mount, and begin to count."""
    node.snapshot(url, *words)
    mount = node.mount(url, "--workers", "1")  # each worker has a look-ahead of its own
    os.listdir(mount / "small")
    proxy.requests.clear()
    return mount


def gets(proxy: FaultProxy, part: str) -> Counter[str]:
    """Return how often each object was asked for whose target contains *part*."""
    found: Counter[str] = Counter()
    for (method, target), count in proxy.requests.items():
        if method == "GET" and part in target:
            found[target] += count
    return found


def read_small(mount: Path, numbers: list[int], readers: int = 4) -> None:
    """Read small files in that order and check them."""

    def right(number: int) -> bool:
        content = (mount / f"small/{number:04}").read_bytes()
        return content == random.Random(number).randbytes(SIZE)

    with ThreadPoolExecutor(readers) as threads:
        assert all(threads.map(right, numbers))


def test_a_scan_over_packed_files(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """Who reads packed files in the order of their directory causes a request for each few
    megabytes, and none for the files themselves.
    """
    mount = mounted(far, s3_proxy, s3_url, "--pack")
    read_small(mount, list(range(COUNT)))
    assert gets(s3_proxy, "/packs/").total() <= -(-COUNT * SIZE // (1 << 20))
    assert not gets(s3_proxy, "/small/")


def test_a_scan_over_files_in_place(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """Small files that are read in the order of their directory are fetched ahead of the reader,
    each once.
    """
    mount = mounted(far, s3_proxy, s3_url)
    for number in range(COUNT // 10):
        (mount / f"small/{number:04}").read_bytes()
    wait_until(lambda: len(gets(s3_proxy, "/small/")) > COUNT // 8)
    read_small(mount, list(range(COUNT)))
    found = gets(s3_proxy, "/small/")
    assert len(found) == found.total() == COUNT


def test_shuffled_reads_of_small_files(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """Small files that are read in no order are fetched when they are read: what chance lets look
    like an order stays below 64 MiB and an eighth of what is read, and is mostly nothing.
    """
    mount = mounted(far, s3_proxy, s3_url)
    chosen = random.Random(4).sample(range(COUNT), 30)
    read_small(mount, chosen)
    assert gets(s3_proxy, "/small/").total() <= len(chosen) + 8


def test_random_reads_of_a_large_file(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """Random reads of a large file fetch the chunks of 4 MiB that they touch, each once, and no
    others.
    """
    mount = mounted(far, s3_proxy, s3_url)
    touched = [9, 2, 6, 11]
    with (mount / "large").open("rb", buffering=0) as file:
        for chunk in touched * 3:
            offset = chunk * CHUNK + random.Random(chunk).randrange(1, 20) * READ_SIZE
            assert len(os.pread(file.fileno(), READ_SIZE, offset)) == READ_SIZE
    assert gets(s3_proxy, "/large").total() == len(touched)
    assert os.getxattr(mount / "large", "user.headrace.cached_bytes") == b"%d" % (4 * CHUNK)


def test_a_large_file_in_order(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """A large file that is read in order is fetched ahead of the reader, in requests of one chunk
    and more, each byte once.
    """
    mount = mounted(far, s3_proxy, s3_url)
    with (mount / "large").open("rb", buffering=0) as file:
        assert len(file.read(4 * CHUNK)) == 4 * CHUNK
        size = b"%d" % (CHUNKS * CHUNK)
        wait_until(lambda: os.getxattr(mount / "large", "user.headrace.cached_bytes") == size)
    assert gets(s3_proxy, "/large").total() <= CHUNKS
