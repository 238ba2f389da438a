"""What is particular to directories: links, locks, clocks, leftovers of the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from cachesvc.errors import (
    ConditionFailedError,
    ObjectChangedError,
    ObjectMissingError,
    OutsideOriginError,
)
from cachesvc.objectstore import replacing
from cachesvc.objectstore.local import LocalStore
from cachesvc.objectstore.origin import parse_origin
from cachesvc.objectstore.protocol import IfAbsent, IfMatch

HANG_IN_A_WRITE = """
import os, sys, time
from cachesvc.objectstore.replacing import replace
def fill(file):
    os.write(file, b"half")
    print("writing", flush=True)
    time.sleep(600)
replace(os.open(sys.argv[1], os.O_RDONLY), "target", fill)
"""


def play(directory: Path, scenario: Callable[[LocalStore], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario(LocalStore(parse_origin(str(directory))))

    anyio.run(run)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize("key", ["link", "up/secret", "deep/up/secret"])
def test_no_symlink_is_followed(inside: Path, outside: Path, key: str) -> None:
    (inside / "link").symlink_to(outside / "secret")
    (inside / "up").symlink_to("..")
    (inside / "deep").mkdir()
    (inside / "deep" / "up").symlink_to("../..")

    async def scenario(store: LocalStore) -> None:
        with pytest.raises(OutsideOriginError):
            await store.get(key)
        with pytest.raises(OutsideOriginError):
            await store.get_range(key, 0, 1, None)

    play(inside, scenario)


def test_writing_through_a_symlinked_directory_is_refused(inside: Path, outside: Path) -> None:
    (inside / "up").symlink_to(outside)

    async def scenario(store: LocalStore) -> None:
        with pytest.raises(OutsideOriginError):
            await store.put("up/planted", b"x")

    play(inside, scenario)
    assert not (outside / "planted").exists()


def test_a_listing_leaves_symlinks_and_special_files_out(inside: Path, outside: Path) -> None:
    (inside / "file").write_bytes(b"x")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "up").symlink_to(outside)
    os.mkfifo(inside / "pipe")

    async def scenario(store: LocalStore) -> None:
        assert [info.key async for batch in store.list() for info in batch] == ["file"]

    play(inside, scenario)


def test_a_fifo_or_a_directory_is_no_object_and_blocks_nobody(inside: Path) -> None:
    os.mkfifo(inside / "pipe")
    (inside / "directory").mkdir()

    async def scenario(store: LocalStore) -> None:
        for key in ("pipe", "directory", "directory/x", "missing/x"):
            with pytest.raises(ObjectMissingError):
                await store.get(key)

    play(inside, scenario)


def test_names_that_are_not_utf8_can_be_read_and_listed(inside: Path) -> None:
    (Path(os.fsdecode(os.fsencode(inside) + b"/\xff\xfe"))).write_bytes(b"bytes")

    async def scenario(store: LocalStore) -> None:
        [key] = [info.key async for batch in store.list() for info in batch]
        assert os.fsencode(key) == b"\xff\xfe"
        assert (await store.get(key))[0] == b"bytes"
        with pytest.raises(ObjectMissingError) as caught:
            await store.get(f"{key}x")
        str(caught.value).encode()

    play(inside, scenario)


def test_a_touched_file_is_another_version(inside: Path) -> None:
    (inside / "file").write_bytes(b"same")

    async def scenario(store: LocalStore) -> None:
        version = (await store.head("file")).version
        os.utime(inside / "file", ns=(5, 5))
        with pytest.raises(ObjectChangedError, match="publish it anew"):
            await store.get_range("file", 0, 4, version)

    play(inside, scenario)


def test_two_writes_in_one_tick_of_the_clock_are_two_versions(inside: Path) -> None:
    async def scenario(store: LocalStore) -> None:
        versions = [await store.put_if("ref", b"0", IfAbsent())]
        for number in range(30):
            versions.append(await store.put_if("ref", b"%d" % number, IfMatch(versions[-1])))
        assert len(set(versions)) == len(versions)

    play(inside, scenario)


def test_a_version_written_in_the_future_is_still_followed_by_a_later_one(inside: Path) -> None:
    async def scenario(store: LocalStore) -> None:
        await store.put("ref", b"from a machine with a wrong clock")
        far = 4_000_000_000 * 10**9
        os.utime(inside / "ref", ns=(far, far))
        version = await store.put_if("ref", b"next", IfMatch(str(far)))
        assert int(version) > far
        with pytest.raises(ConditionFailedError):
            await store.put_if("ref", b"again", IfMatch(str(far)))

    play(inside, scenario)


def test_processes_that_race_for_a_ref_leave_one_winner(inside: Path) -> None:
    script = (
        "import os, sys\n"
        "from cachesvc.objectstore import replacing\n"
        "from cachesvc.objectstore.protocol import IfAbsent\n"
        "sys.stdin.read()\n"
        "write = lambda file: replacing.write_all(file, sys.argv[2].encode())\n"
        "replacing.replace(os.open(sys.argv[1], os.O_RDONLY), 'ref', write, IfAbsent())\n"
    )
    command = [sys.executable, "-c", script, str(inside)]
    racers = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for number in range(4)
    ]
    for racer in racers:
        racer.communicate()
    winners = [number for number, racer in enumerate(racers) if racer.returncode == 0]
    assert [str(number) for number in winners] == [(inside / "ref").read_text()]


def test_what_a_killed_writer_left_is_neither_seen_nor_kept(inside: Path) -> None:
    (inside / "target").write_bytes(b"old")
    writer = subprocess.Popen(
        [sys.executable, "-c", HANG_IN_A_WRITE, str(inside)], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    with writer.stdout as output:
        output.readline()
    assert len(list(inside.iterdir())) == 2

    async def while_it_writes(store: LocalStore) -> None:
        await store.put("other", b"x")
        assert len(os.listdir(inside)) == 3  # a live writer's file is left alone
        keys = sorted([info.key async for batch in store.list() for info in batch])
        assert keys == ["other", "target"]

    async def when_it_is_dead(store: LocalStore) -> None:
        assert (await store.get("target"))[0] == b"old"
        await store.put("other", b"y")
        assert sorted(os.listdir(inside)) == ["other", "target"]

    play(inside, while_it_writes)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    play(inside, when_it_is_dead)


def test_a_failing_write_leaves_the_old_file_and_no_other(inside: Path) -> None:
    (inside / "target").write_bytes(b"old")

    def fail(file: int) -> None:
        os.write(file, b"half")
        raise ZeroDivisionError

    directory = os.open(inside, os.O_RDONLY)
    try:
        with pytest.raises(ZeroDivisionError):
            replacing.replace(directory, "target", fail)
    finally:
        os.close(directory)
    assert [path.name for path in inside.iterdir()] == ["target"]
    assert (inside / "target").read_bytes() == b"old"


def test_a_root_that_is_not_there_is_missing_until_something_is_put(tmp_path: Path) -> None:
    async def scenario(store: LocalStore) -> None:
        with pytest.raises(ObjectMissingError):
            await store.head("a")
        assert [batch async for batch in store.list()] == []
        await store.put("a", b"x")
        assert (await store.head("a")).size == 1

    play(tmp_path / "not" / "yet", scenario)
