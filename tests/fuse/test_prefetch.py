"""`headrace prefetch`: files are in the node's cache before anybody reads them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from cachesvc.ask import ask_service
from cachesvc.client import CacheClient, Want
from cachesvc.objectstore.local import LocalStore
from cachesvc.objectstore.origin import parse_origin
from tests.node import HEADRACE, Node, comm_of, wait_until
from vfs.mounting.prefetching import LEFT_SECONDS

FETCHER = "headrace-fetch"
"""What the process that fetches calls itself."""
CONTENT = {
    f"{directory}/{number:02}.{kind}": random.Random(number).randbytes(3000 + number)
    for directory in ("train/cats", "train/dogs", "test")
    for number in range(20)
    for kind in ("jpg", "txt")
} | {"big": random.Random(1).randbytes(9 << 20), "empty": b""}


@pytest.fixture
def dataset(node: Node, source: Path) -> Path:
    """A mount of some directories of files, none of which was read."""
    for name, content in CONTENT.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "link").symlink_to("big")
    node.snapshot(source, "--hash")
    return node.mount(source)


@contextmanager
def cut_off(source: Path) -> Iterator[None]:
    """Take the source away for the length of a block."""
    away = source.with_name("away")
    source.rename(away)
    try:
        yield
    finally:
        away.rename(source)


def prefetched(node: Node, *words: str | Path) -> dict[str, Any]:
    """Run the command and return what it says for scripts."""
    said: dict[str, Any] = json.loads(node.run("prefetch", *words, "--json").stdout)
    return said


@contextmanager
def prefetching(node: Node, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command for the length of a block, at most."""
    with subprocess.Popen(
        [HEADRACE, "prefetch", *words],
        env=node.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_zygote(node: Node) -> None:
    """SIGKILL the process from which others are forked, and none of those."""
    (pid,) = (
        pid
        for pid in node.pids_of("vfs.mounting.zygote")
        if not comm_of(pid).startswith("headrace-")
    )
    os.kill(pid, signal.SIGKILL)


def names(prefix: str, kind: str = "") -> list[str]:
    return [name for name in CONTENT if name.startswith(prefix) and name.endswith(kind)]


def readable(mount: Path) -> list[str]:
    """Return the files that can be read without the source."""
    found = []
    for name, content in CONTENT.items():
        try:
            assert (mount / name).read_bytes() == content
        except OSError:
            continue
        found.append(name)
    return sorted(found)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("train/*/*.jpg", names("train/", ".jpg")),
        ("**/cats/**/0?.txt", names("train/cats/0", ".txt")),
        ("test", names("test/")),
        ("big", ["big"]),
        ("train/cats/[01]0.*", [*names("train/cats/00"), *names("train/cats/10")]),
    ],
)
def test_what_matches_is_read_without_the_store(
    node: Node, source: Path, dataset: Path, pattern: str, expected: list[str]
) -> None:
    """After `headrace prefetch MOUNTPOINT PATTERN` the files that match, and no others, are read
    though the store cannot be reached.
    """
    said = prefetched(node, dataset, pattern)
    assert (said["file_count"], said["failed_count"]) == (len(expected), 0)
    assert said["file_size"] == sum(len(CONTENT[name]) for name in expected)
    with cut_off(source):
        assert readable(dataset) == sorted([*expected, "empty"])


def test_without_a_pattern_it_is_everything(node: Node, source: Path, dataset: Path) -> None:
    """The second time nothing is fetched any more."""
    done = node.run("prefetch", dataset)
    assert f"{len(CONTENT)} files" in done.stdout
    assert prefetched(node, dataset)["fetched_size"] == 0
    with cut_off(source):
        assert readable(dataset) == sorted(CONTENT)


def test_a_list_of_names_is_fetched(
    node: Node, source: Path, dataset: Path, tmp_path: Path
) -> None:
    """`--order FILE` has one path a line, below the mountpoint or relative to it; what is no file
    of the snapshot is counted and left out.
    """
    chosen = ["test/03.jpg", "big", "train/dogs/07.txt"]
    listing = tmp_path / "order"
    lines = [chosen[0], f"./{chosen[1]}", f"{dataset}/{chosen[2]}", "nothing", "train", "big/x", ""]
    listing.write_text("\n".join(lines))
    said = prefetched(node, dataset, "--order", listing)
    assert (said["file_count"], said["missing_count"]) == (3, 3)
    with cut_off(source):
        assert readable(dataset) == sorted([*chosen, "empty"])


def test_a_cache_that_is_too_small_says_so(node: Node, source: Path) -> None:
    """It ends when the cache is full, and what is there is what comes first."""
    for number in range(40):
        (source / f"{number:02}").write_bytes(os.urandom(1 << 20))
    node.snapshot(source)
    mount = node.mount(source, "--cache-size", "24M")
    said = prefetched(node, mount)
    assert said["is_full"]
    assert 12 <= said["filled_count"] <= 24
    assert "the cache is full" in node.run("prefetch", mount).stdout
    with cut_off(source):
        for number in range(12):
            assert len((mount / f"{number:02}").read_bytes()) == 1 << 20


@pytest.mark.parametrize("words", [[], ["--window", "4M"]])
def test_who_follows_the_readers_fetches_what_a_cache_does_not_hold(
    node: Node, source: Path, tmp_path: Path, words: list[str]
) -> None:
    """With --follow files come into the cache in their order as those before them are read,
    however small the cache is, and no further ahead than --window says; when all were read the
    command ends.
    """
    content = {f"{number:02}": random.Random(number).randbytes(1 << 20) for number in range(40)}
    for name, data in content.items():
        (source / name).write_bytes(data)
    node.snapshot(source)
    mount = node.mount(source, "--cache-size", "24M")
    order = tmp_path / "order"
    names = random.Random(3).sample(sorted(content), len(content))
    order.write_text("".join(f"{name}\n" for name in names))
    with prefetching(node, mount, "--order", order, "--follow", *words, "--json") as process:
        for number, name in enumerate(names):
            wait_until(lambda name=name: is_cached(mount / name))  # type: ignore[misc]
            if words:
                assert not any(is_cached(mount / later) for later in names[number + 8 :])
            assert read_uncached(mount / name) == content[name]
        said = json.loads(process.communicate(timeout=LEFT_SECONDS / 2)[0])
    assert process.returncode == 0
    assert said["read_count"] == said["filled_count"] == said["chunk_count"] == len(content)
    assert said["fetched_size"] == len(content) << 20


def is_cached(path: Path) -> bool:
    """Return whether all of a file is in the node's cache."""
    return int(os.getxattr(path, "user.headrace.cached_bytes")) == path.stat().st_size


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Commands heed SIGINT, though a shell that runs the tests in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_stops_it(node: Node, dataset: Path) -> None:
    """Ctrl-C ends the command at once and with it the fetching."""
    with prefetching(node, dataset, "--bandwidth", "1K/s") as process:
        wait_until(lambda: node.pids_named(FETCHER))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in said
    wait_until(lambda: not node.pids_named(FETCHER))
    assert (dataset / "big").read_bytes() == CONTENT["big"]


@pytest.mark.parametrize("role", ["supervisor", "zygote"])
def test_it_goes_on_when_those_who_began_it_die(node: Node, dataset: Path, role: str) -> None:
    """Nobody sees anything of it: the process that fetches needs neither of them."""
    with prefetching(node, dataset, "--bandwidth", "2M/s", "--json") as process:
        wait_until(lambda: node.pids_named(FETCHER))
        if role == "zygote":
            kill_zygote(node)
        else:
            node.kill(role)
        said = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    assert said["filled_count"] == said["chunk_count"] > 0


@pytest.mark.parametrize("is_orphaned", [False, True])
def test_it_ends_with_its_mount(node: Node, dataset: Path, is_orphaned: bool) -> None:
    """Nobody would read what it fetches; it says so, also when another supervisor has taken over,
    and the mount goes at once.
    """
    with prefetching(node, dataset, "--bandwidth", "1K/s") as process:
        wait_until(lambda: node.pids_named(FETCHER))
        if is_orphaned:
            node.kill("supervisor")
            wait_until(lambda: node.processes()["supervisor"])
        node.umount(dataset)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{dataset}: the mount was taken off; what is fetched is kept" in said
    wait_until(lambda: not node.pids_named(FETCHER))


def test_a_zygote_that_was_killed_is_followed_by_another(node: Node, dataset: Path) -> None:
    """Whoever wants to prefetch just then waits for it."""
    kill_zygote(node)
    assert prefetched(node, dataset)["is_full"] is False


def test_what_cannot_be_fetched_is_an_error(node: Node, source: Path, dataset: Path) -> None:
    """The rest is fetched; the one line says how many chunks are not there, and why one is not."""
    (source / "test/05.txt").unlink()
    done = node.run("prefetch", dataset, "test", code=1)
    assert "1 chunks could not be fetched" in done.stderr
    assert "test/05.txt" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with cut_off(source):
        assert "test/06.txt" in readable(dataset)


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["../x"], 2, "must stay within"),
        (["x", "--order", "/dev/null"], 2, "PATTERN or --order"),
        (["--bandwidth", "quick"], 2, "no size"),
        (["--window", "1G"], 2, "say --follow as well"),
    ],
)
def test_wrong_use_is_refused(
    node: Node, dataset: Path, words: list[str], code: int, complaint: str
) -> None:
    """Exit code 2, and a line that says what was wrong."""
    assert complaint in node.run("prefetch", dataset, *words, code=code).stderr


def test_a_directory_that_is_no_mount_is_refused(node: Node, tmp_path: Path) -> None:
    """It is named."""
    done = node.run("prefetch", tmp_path, code=1)
    assert "nothing of headrace's is mounted" in done.stderr


COUNT = 160
SIZE = 256 << 10


def test_a_shuffled_epoch_that_was_announced(node: Node, source: Path) -> None:
    """Files read once an epoch in an order that the cache was told, by any process: of the epoch
    after, a cache of half the dataset has what is needed first, and the bytes are right.
    """
    content = {f"{number:03}": random.Random(number).randbytes(SIZE) for number in range(COUNT)}
    for name, data in content.items():
        (source / name).write_bytes(data)
    node.snapshot(source)
    mount = node.mount(source, "--cache-size", f"{(COUNT * SIZE * 11 // 20) >> 20}M")
    rng = random.Random(5)
    epochs = [rng.sample(sorted(content), COUNT) for _ in range(6)]

    async def wants(client: CacheClient, names: list[str]) -> list[Want]:
        store = LocalStore(parse_origin(str(source)))
        infos = [await store.head(name) for name in names]
        return [Want(0, client.ref(0, i.key, i.size, i.version), 0) for i in infos]

    async def play() -> list[int]:
        client = CacheClient(node.cache, [parse_origin(str(source))], ensure=_never)
        fetched = []
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            for epoch, following in pairwise(epochs):
                before = (await ask_service(node.cache, "stats"))["chunks_fetched"]
                client.announce_nowait(await wants(client, epoch + following), window_size=4 * SIZE)
                for name in epoch:
                    data = await trio.to_thread.run_sync(read_uncached, mount / name)
                    assert data == content[name]
                after = (await ask_service(node.cache, "stats"))["chunks_fetched"]
                fetched.append(after - before)
            nursery.cancel_scope.cancel()
        return fetched

    fetched = trio.run(play)
    assert fetched[0] >= COUNT
    # About 100 of 160. Without the announcement more than 160: files of one directory seem to be
    # read in order now and then, and what is fetched ahead by mistake drives out what is needed.
    later = fetched[1:]
    assert sum(later) <= len(later) * COUNT * 3 // 4


def read_uncached(path: Path) -> bytes:
    """Read a file, and leave nothing of it with the kernel."""
    with path.open("rb") as file:
        data = file.read()
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return data


async def _never() -> None:
    raise AssertionError("the mount's cache service is gone")
