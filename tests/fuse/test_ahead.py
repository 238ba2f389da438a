"""What a mount asks a real S3 server for, ahead of its readers: requests are counted."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.upload import upload
from cachesvc.fill.gate import MOST_PARTS
from tests.fakes.faultproxy import FaultProxy
from tests.node import Node, wait_until
from tests.seaweed import SeaweedServer
from vfs.serving.awaited import AWAITED_FILE
from vfs.serving.tracks import TRACKS_FILE

COUNT = 300
SIZE = 20_000
CHUNK = 4 << 20
CHUNKS = 12
READ_SIZE = 128 << 10
BLOCKS = CHUNK // READ_SIZE
TOUCHED = [9, 2, 6, 11]
"""Chunks of the large file, none of which follows the one before."""


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
    mount = node.mount(url, "--workers", "1")  # each worker has windows of its own
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


def test_packed_files_in_no_order(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """Packed files that are read in no order bring the megabytes of their pack in which they lie,
    and the rest of the 64 MiB around them once more than a fifth of those is here, each once.
    """
    mount = mounted(far, s3_proxy, s3_url, "--pack")
    count = -(-COUNT * SIZE // (1 << 20))
    assert 1 < count / 5 < 2
    read_small(mount, [200, 20], readers=1)
    assert gets(s3_proxy, "/packs/").total() == 2
    read_small(mount, [290], readers=1)
    wait_until(lambda: all(map(is_here, (mount / "small").iterdir())))
    read_small(mount, list(range(COUNT)))
    assert gets(s3_proxy, "/packs/").total() == count


def is_here(path: Path) -> bool:
    """Say whether all of a file is on the node."""
    return int(os.getxattr(path, "user.headrace.cached_bytes")) == SIZE


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


def test_a_scan_that_several_workers_answer(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """The workers of a mount know of one another what they have fetched ahead, also when one of
    them was killed.
    """
    far.snapshot(s3_url)
    mount = far.mount(s3_url, "--workers", "2")
    s3_proxy.requests.clear()
    read_small(mount, list(range(COUNT // 2)))
    assert all(map(shares_its_tables, far.processes()["worker"]))
    os.kill(far.processes()["worker"][0], signal.SIGKILL)
    read_small(mount, list(range(COUNT // 2, COUNT)))
    wait_until(lambda: len(far.processes()["worker"]) == 2)
    assert all(map(shares_its_tables, far.processes()["worker"]))
    found = gets(s3_proxy, "/small/")
    assert len(found) == found.total() == COUNT


def shares_its_tables(worker: int) -> bool:
    """Say whether a worker maps the tables that all workers of its mount do."""
    maps = Path(f"/proc/{worker}/maps").read_text().splitlines()
    shared = [line for line in maps if " rw-s " in line]
    return all(
        any(line.endswith(f"/{name}") for line in shared) for name in (AWAITED_FILE, TRACKS_FILE)
    )


def test_shuffled_reads_of_small_files(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """Small files that are read in no order are fetched when they are read: what chance lets look
    like an order stays below 64 MiB and an eighth of what is read, and is mostly nothing.
    """
    mount = mounted(far, s3_proxy, s3_url)
    chosen = random.Random(4).sample(range(COUNT), 30)
    read_small(mount, chosen)
    assert gets(s3_proxy, "/small/").total() <= len(chosen) + 8


def read_large(mount: Path, blocks: list[int]) -> None:
    """Read blocks of the large file and check them."""
    content = random.Random(0).randbytes(CHUNKS * CHUNK)
    with (mount / "large").open("rb", buffering=0) as file:
        for offset in (block * READ_SIZE for block in blocks):
            found = os.pread(file.fileno(), READ_SIZE, offset)
            assert found == content[offset : offset + READ_SIZE]


def cached_large(mount: Path) -> int:
    """Return how much of the large file is on the node."""
    return int(os.getxattr(mount / "large", "user.headrace.cached_bytes"))


def test_random_reads_of_a_large_file(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """The first random read within 4 MiB of a large file fetches the blocks of 128 KiB that it
    touches; the next one there has the 4 MiB fetched as well, once.
    """
    mount = mounted(far, s3_proxy, s3_url)
    first = [chunk * BLOCKS + 5 for chunk in TOUCHED]
    read_large(mount, first)
    assert gets(s3_proxy, "/large").total() == len(TOUCHED)
    assert cached_large(mount) == len(TOUCHED) * READ_SIZE
    read_large(mount, [block + 20 for block in first])
    wait_until(lambda: cached_large(mount) == len(TOUCHED) * CHUNK)
    assert gets(s3_proxy, "/large").total() == 3 * len(TOUCHED)
    read_large(mount, [block + 9 for block in first])
    assert gets(s3_proxy, "/large").total() == 3 * len(TOUCHED)


def test_many_random_reads_of_a_large_file(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """Where random reads fell into a large file, without hashes, more than 0.6 times for each 4 MiB
    of 256 MiB, each that follows has 8 MiB more of the 256 MiB fetched.
    """
    mount = mounted(far, s3_proxy, s3_url)
    first = [chunk * BLOCKS + 5 for chunk in TOUCHED]
    read_large(mount, [block + gap for gap in (0, 20) for block in first])
    wait_until(lambda: cached_large(mount) == len(TOUCHED) * CHUNK)
    following = [10, 8, 7]
    read_large(mount, [chunk * BLOCKS + 7 for chunk in following])
    whole = {*TOUCHED, *range(2 * len(following))}
    size = len(whole) * CHUNK + len(following) * READ_SIZE
    wait_until(lambda: cached_large(mount) == size)


def test_reads_of_all_sizes_anywhere_in_a_large_file(
    far: Node, s3_proxy: FaultProxy, s3_url: str
) -> None:
    """Whatever mix of fine and whole chunks is on the node, four readers get the right bytes."""
    content = random.Random(0).randbytes(CHUNKS * CHUNK)
    mount = mounted(far, s3_proxy, s3_url)

    def right(number: int) -> bool:
        chance = random.Random(number)
        offset = chance.randrange(len(content))
        size = chance.choice([1, 5000, READ_SIZE, READ_SIZE + 1, CHUNK + 1])
        with (mount / "large").open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return os.pread(file.fileno(), size, offset) == content[offset : offset + size]

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(right, range(100)))


def test_random_reads_of_a_large_file_with_hashes(
    far: Node, s3_proxy: FaultProxy, s3_url: str
) -> None:
    """Random reads of a large file whose snapshot has hashes fetch the chunks of 4 MiB that they
    touch, each once, in up to four requests side by side, and no others.
    """
    mount = mounted(far, s3_proxy, s3_url, "--hash")
    first = [chunk * BLOCKS + 5 for chunk in TOUCHED]
    read_large(mount, [*first, *(block + 20 for block in first)])
    assert gets(s3_proxy, "/large").total() == MOST_PARTS * len(TOUCHED)
    assert cached_large(mount) == len(TOUCHED) * CHUNK


def bytes_fetched(node: Node) -> int:
    """Return how many bytes came from object storage, whatever for."""
    stats = json.loads(node.run("cache", "stats", "--json").stdout)
    return int(stats["bytes_fetched"])


def test_a_large_file_in_order(far: Node, s3_proxy: FaultProxy, s3_url: str) -> None:
    """A large file that is read in order is fetched ahead of the reader, in requests of one chunk
    and more, each byte once; a chunk that the reader waits for in up to four requests at once.
    """
    mount, awaited = mounted(far, s3_proxy, s3_url), 4
    fetched = bytes_fetched(far)
    with (mount / "large").open("rb", buffering=0) as file:
        assert len(file.read(awaited * CHUNK)) == awaited * CHUNK
        size = b"%d" % (CHUNKS * CHUNK)
        wait_until(lambda: os.getxattr(mount / "large", "user.headrace.cached_bytes") == size)
    assert gets(s3_proxy, "/large").total() <= MOST_PARTS * awaited + CHUNKS - awaited
    assert bytes_fetched(far) == fetched + CHUNKS * CHUNK
