"""Publishers that race one another, and publishers that are killed: real processes, real stores."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio

from cachesvc.objectstore.origin import Origin, parse_origin
from tests.seaweed import SeaweedServer
from vfs.snapshots.dataset import opened
from vfs.snapshots.packs import digests_of
from vfs.snapshots.repository import Repository, opened_repository

PUBLISHERS = 4
ROUNDS = 8
LOCAL_KILLS = 50
S3_KILLS = 15
LATER, SOONER = 1.1, 0.7


class Publisher:
    """A publishing process, asked line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self) -> str:
        """Say one more line, and wait for one."""
        self.say()
        return self.answer()

    def say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


@contextmanager
def publisher(
    mode: str, source: Path, repository: str, environ: Mapping[str, str]
) -> Iterator[Publisher]:
    source.mkdir(parents=True, exist_ok=True)
    for number in range(100):
        (source / f"file{number}").write_text(f"file{number}")
    command = [sys.executable, "-m", "tests.fault.publisher", mode, str(source), repository]
    pipe = subprocess.PIPE
    environment = {**os.environ, **environ}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        started = Publisher(process)
        assert started.answer() == "ready"
        yield started


def history(repository: Origin, limit: int | None = None) -> list[str]:
    async def read() -> list[str]:
        async with opened_repository(repository) as opened:
            return [snapshot_id async for snapshot_id, _ in opened.history("main", limit)]

    return anyio.run(read)


def file_count(repository: Origin) -> int:
    """Read every inode of the latest snapshot, each page's digest checked on the way."""

    async def read() -> int:
        async with opened_repository(repository) as opened:
            tree = await opened.open("main")
            for position in range(1, tree.superblock.inode_count + 1):
                await tree.inode(position)
            return tree.superblock.file_count

    return anyio.run(read)


def race(sources: Path, repository: str, environ: Mapping[str, str]) -> None:
    """Let publishers race, and check that the ref's history is exactly the winners."""
    won: list[str] = []
    losses = 0
    with ExitStack() as stack:
        publishers = [
            stack.enter_context(publisher("race", sources / str(n), repository, environ))
            for n in range(PUBLISHERS)
        ]
        for _ in range(ROUNDS):
            for each in publishers:
                each.say()
            answers = [each.answer() for each in publishers]
            assert all(answer.startswith(("won ", "lost ")) for answer in answers)
            won += [answer.removeprefix("won ") for answer in answers if answer.startswith("won")]
            lost = [answer for answer in answers if answer.startswith("lost")]
            assert len(lost) < PUBLISHERS
            losses += len(lost)
            for message in lost:
                assert any(winner in message for winner in won), message
                assert re.search(r"by \S+@\S+ at \d{4}-\d\d-\d\dT", message)
    assert losses > 0
    chain = history(parse_origin(repository, environ=environ))
    assert sorted(chain) == sorted(won)


def test_racing_publishers_on_a_disk_each_step_has_one_winner(tmp_path: Path) -> None:
    race(tmp_path / "sources", str(tmp_path / "repository"), {})


def test_racing_publishers_on_s3_each_step_has_one_winner(
    tmp_path: Path, s3_server: SeaweedServer, s3_url: str
) -> None:
    race(tmp_path / "sources", s3_url, s3_server.environ)


def packed_files(repository: Origin) -> dict[bytes, bytes]:
    """Read every packed file of the latest snapshot from its pack."""

    async def read() -> dict[bytes, bytes]:
        found = {}
        async with opened(repository) as store:
            tree = await Repository(store).open("main")
            for position in range(1, tree.superblock.inode_count + 1):
                extent = (await tree.inode(position)).extent
                if extent is not None:
                    stored = await tree.contents.object_of(extent)
                    stop = extent.offset + extent.length
                    data = await store.get_range(stored.key, extent.offset, stop, None)
                    found[await tree.path_of(position)] = bytes(data)
        return found

    return anyio.run(read)


def check_packs(repository: Origin) -> None:
    """All that the latest snapshot has in packs is there and right."""
    packed = packed_files(repository)
    assert len(packed) == 101
    assert all(data == path for path, data in packed.items() if path != b"changed")


def kill_at_random(
    source: Path,
    repository: str,
    environ: Mapping[str, str],
    kills: int,
    *,
    mode: str = "fork",
    check: Callable[[Origin], None] = lambda _: None,
) -> None:
    """Kill a publisher again and again; each time the ref is whole and leads to a whole tree."""
    chance = random.Random(kills)
    origin = parse_origin(repository, environ=environ)
    with publisher(mode, source, repository, environ) as forking:
        started = time.monotonic()
        assert forking.ask().isdecimal()
        assert forking.ask() == "ended 0"
        longest = 1.2 * (time.monotonic() - started)
        (latest,) = history(origin)
        killed = 0
        while killed < kills:
            pid = int(forking.ask())
            time.sleep(chance.uniform(0, longest))
            os.kill(pid, signal.SIGKILL)
            is_killed = forking.ask() == f"ended {signal.SIGKILL:d}"
            killed += is_killed
            # However fast they are, most die, and some at their end: the first has most to do.
            longest *= LATER if is_killed else SOONER
            now = history(origin, 2)
            assert latest in now
            assert file_count(origin) == 101
            check(origin)
            latest = now[0]
        assert forking.ask().isdecimal()
        assert forking.ask() == "ended 0"
        assert history(origin, 2)[1] == latest


def test_a_publisher_killed_at_any_moment_leaves_the_old_ref_or_the_new_on_disk(
    tmp_path: Path,
) -> None:
    repository = tmp_path / "repository"
    kill_at_random(tmp_path / "source", str(repository), {}, LOCAL_KILLS)
    left = {path.name for path in repository.rglob("*") if path.is_file()} - {"main"}
    assert all(re.fullmatch(r"[0-9a-f]{40}", name) for name in left), left


def test_a_publisher_killed_at_any_moment_leaves_the_old_ref_or_the_new_on_s3(
    tmp_path: Path, s3_server: SeaweedServer, s3_url: str
) -> None:
    kill_at_random(tmp_path / "source", s3_url, s3_server.environ, S3_KILLS)


def test_a_packing_publisher_killed_at_any_moment_leaves_whole_packs_on_disk(
    tmp_path: Path,
) -> None:
    """What is there beside the ref is named by its content, and no temporary file stays."""
    repository = tmp_path / "repository"
    kills = LOCAL_KILLS // 2
    kill_at_random(tmp_path / "source", str(repository), {}, kills, mode="pack", check=check_packs)
    packs = list((repository / "packs").iterdir())
    assert [path.name for path in packs] == [digests_of(path)[0] for path in packs]
    left = {path.name for path in (repository / "snapshots").iterdir()}
    assert all(re.fullmatch(r"[0-9a-f]{40}", name) for name in left), left


def test_a_packing_publisher_killed_at_any_moment_leaves_whole_packs_on_s3(
    tmp_path: Path, s3_server: SeaweedServer, s3_url: str
) -> None:
    environ = s3_server.environ
    kill_at_random(tmp_path / "source", s3_url, environ, S3_KILLS, mode="pack", check=check_packs)
