"""The cache service dies, and its files vanish: readers see a pause, never a wrong byte."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from cachesvc.spawn import service_pid
from tests.fuse.test_damage import alter_manifest
from tests.inprocess.conftest import NAMES, Desk, fill
from tests.node import wait_until
from vfs.inprocess.filesystem import HeadraceFileSystem

FILES = 120


@pytest.fixture
def source(lonely_desk: Desk) -> Path:
    """A published directory of many files."""
    place = fill(lonely_desk.node.directory / "data")
    for number in range(FILES):
        (place / f"many{number:03}").write_bytes(os.urandom(50_000))
    lonely_desk.publish(place)
    return place


def kill_service(desk: Desk) -> None:
    """SIGKILL the cache service, which there must be."""
    pid = service_pid(desk.node.cache)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def check(fs: HeadraceFileSystem, source: Path) -> None:
    """Read all and compare."""
    for name in fs.find(""):
        assert fs.cat_file(name) == (source / name).read_bytes(), name


def test_killed_between_reads(lonely_desk: Desk, source: Path) -> None:
    """What is cached is read without it; what is not starts it again."""
    fs = lonely_desk.open(source)
    assert fs.cat_file("small") == (source / "small").read_bytes()
    kill_service(lonely_desk)
    assert fs.cat_file("small") == (source / "small").read_bytes()
    check(fs, source)


def test_killed_during_reads(lonely_desk: Desk, source: Path) -> None:
    """Readers in threads get right bytes, while the service is killed again and again."""
    fs = lonely_desk.open(source)
    fs.connect()
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(2):
                check(fs, source)
        except BaseException as error:  # noqa: BLE001 - told to the test
            wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    kills = 0
    while any(reader.is_alive() for reader in readers) and kills < 5:
        wait_until(lambda: service_pid(lonely_desk.node.cache) or not readers[0].is_alive())
        if pid := service_pid(lonely_desk.node.cache):
            os.kill(pid, signal.SIGKILL)
            kills += 1
    for reader in readers:
        reader.join(120)
    assert wrong == []
    assert kills > 0


def test_a_cache_that_vanishes(lonely_desk: Desk, source: Path) -> None:
    """The service killed and its files removed: all is fetched again into new ones."""
    fs = lonely_desk.open(source)
    check(fs, source)
    kill_service(lonely_desk)
    shutil.rmtree(lonely_desk.node.cache / "store")
    check(fs, source)
    wait_until(lambda: service_pid(lonely_desk.node.cache))
    check(fs, source)


def test_a_damaged_manifest(lonely_desk: Desk) -> None:
    """A page that is damaged is EIO for what it holds alone; mended, it is read."""
    place = lonely_desk.node.directory / "wide"
    place.mkdir()
    for number in range(3000):
        (place / f"{number:04}").touch()
    (place / "0000").write_bytes(b"first")
    lonely_desk.publish(place)
    alter_manifest(place, -20)
    fs = lonely_desk.open(place)
    assert fs.cat_file("0000") == b"first"
    for question in (fs.info, fs.exists, fs.cat_file):
        with pytest.raises(OSError, match="damaged") as caught:
            question("2999")
        assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="damaged"):
        fs.find("", detail=True)
    alter_manifest(place, -20)
    assert fs.cat_file("2999") == b""
    assert len(fs.find("")) == 3000


def test_an_object_that_changed(lonely_desk: Desk, source: Path) -> None:
    """An object that is another version now is ESTALE, not its new bytes."""
    fs = lonely_desk.open(source)
    (source / "small").write_bytes(b"another")
    with pytest.raises(OSError, match="small") as caught:
        fs.cat_file("small")
    assert caught.value.errno == errno.ESTALE
    found = fs.cat(["small", "sub/one"], on_error="return")
    assert isinstance(found["small"], OSError)
    assert len(found["sub/one"]) == NAMES["sub/one"]
