"""Switching versions while others read, and switches that are cut short or very large."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from unittest.mock import patch

import pytest
import trio

from tests.fuse.switching import play
from tests.fuse.test_names import all_entries, getdents
from tests.fuse.versioned import Versioned, publish, version, versioned
from tests.node import HEADRACE, Node, wait_until
from vfs.mounting.versions import Switch
from vfs.serving import protocol
from vfs.serving.invalidation import Invalidation
from vfs.snapshots.repository import StoredSnapshot

FILES = 400
SWITCHES = 20
KILLS = 8


class CutShortError(Exception):
    """The end of a process, as far as its files and the kernel can tell."""


@pytest.fixture
def dataset(node: Node, source: Path) -> Versioned:
    """A mount that shows the first of two versions."""
    return versioned(node, source, "--workers", "2")


def many(number: int) -> dict[str, str]:
    """Return files that tell their version by their bytes, their sizes and their names."""
    shared = {f"d/{each}": f"{each} in version {number}\n" * number for each in range(FILES)}
    own = {f"d/{each}-only-in-{number}": "" for each in range(FILES)}
    return shared | own


@pytest.fixture
def crowded(node: Node, source: Path) -> Versioned:
    """A mount with a large directory in which everything changes."""
    for number in (1, 2):
        publish(node, source, f"v{number}", many(number))
    return Versioned(node, source, node.mount(f"{source}@v1", "--workers", "2"))


@contextmanager
def meanwhile(*work: Callable[[], object]) -> Iterator[None]:
    """Do all of *work* again and again, each in a thread of its own, until the block ends."""
    over = Event()

    def keep_on(action: Callable[[], object]) -> int:
        count = 0
        while not over.is_set():
            action()
            count += 1
        return count

    with ThreadPoolExecutor(len(work)) as pool:
        counts: list[Future[int]] = [pool.submit(keep_on, action) for action in work]
        try:
            yield
        finally:
            over.set()
    assert all(count.result() > SWITCHES for count in counts)


def read_one(mount: Path) -> None:
    """Read any file that both versions have, and check that it is of one version, size and all."""
    path = f"d/{random.randrange(FILES)}"
    with (mount / path).open("rb", buffering=0) as file:
        content = file.read().decode()
        assert os.fstat(file.fileno()).st_size == len(content)
    assert content in (many(1)[path], many(2)[path])


def list_all(mount: Path) -> None:
    """List the directory, and check that the names are those of one version."""
    names = {f"d/{name}" for name in os.listdir(mount / "d")}
    assert names in (many(1).keys(), many(2).keys())


def test_readers_never_see_a_mixture(crowded: Versioned) -> None:
    """While a mount goes to and fro, every file that is opened is of one version, with its size,
    and so is every listing; when the command returns both are of the new one.
    """
    mount = crowded.mount
    with meanwhile(
        lambda: read_one(mount),
        lambda: read_one(mount),
        lambda: list_all(mount),
        lambda: list_all(mount),
    ):
        for turn in range(SWITCHES):
            number = 2 - turn % 2
            crowded.show(f"v{number}")
            assert {f"d/{name}" for name in os.listdir(mount / "d")} == many(number).keys()
            path = f"d/{random.randrange(FILES)}"
            assert (mount / path).read_text() == many(number)[path]


def test_a_listing_goes_on_in_the_version_in_which_it_began(crowded: Versioned) -> None:
    """A listing that was begun before a switch ends with the names of the old version; begun again
    it has the new ones, and what it said of entries misleads nobody.
    """
    directory = os.open(crowded.mount / "d", os.O_RDONLY)
    try:
        names = {entry.name for entry in getdents(directory, 512)}
        crowded.show("v2")
        names |= {entry.name for entry in all_entries(directory, 512)}
    finally:
        os.close(directory)
    assert {f"d/{os.fsdecode(name)}" for name in names - {b".", b".."}} == many(1).keys()
    assert (crowded.mount / "d/99").read_text() == many(2)["d/99"]
    assert not (crowded.mount / "d/99-only-in-1").exists()
    assert crowded.content() == many(2)


def test_a_switch_that_is_killed(dataset: Versioned) -> None:
    """Whenever the process that switches is killed, the mount shows one of the two versions, all of
    it, and `headrace list` says which.
    """
    for turn in range(KILLS):
        name = f"v{2 - turn % 2}"
        with subprocess.Popen(
            [HEADRACE, "checkout", name, dataset.mount],
            env=dataset.node.environment,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ) as command:
            wait_until(lambda: switching(dataset.node) or command.poll() is not None)
            time.sleep(turn * 0.5 / KILLS)
            for pid in switching(dataset.node):
                os.kill(pid, 9)
        number = shown(dataset)
        assert dataset.content() == version(number)


def switching(node: Node) -> list[int]:
    """Return the processes that make a switch."""
    return node.pids_of("vfs.mounting.versions")


def shown(dataset: Versioned) -> int:
    """Return which version `headrace list` says is shown, when nobody switches any more."""
    wait_until(lambda: not switching(dataset.node))
    (row,) = dataset.node.mounts()
    first = dataset.node.run("show", f"{dataset.source}@v1", "--json").stdout
    return 1 if row["snapshot"] in first else 2


def test_a_switch_of_which_the_kernel_was_not_told(dataset: Versioned) -> None:
    """When everything that knows of a switch dies before the kernel was told what to forget, the
    next supervisor tells it: the mount shows the new version, all of it.
    """
    before = dataset.content()
    assert not (dataset.mount / "diff/new").exists()

    async def cut(switch: Switch, snapshots: Mapping[str, StoredSnapshot]) -> None:
        with patch("vfs.mounting.versions.tell", cut_short), pytest.raises(CutShortError):
            await switch.to(snapshots["v2"])

    play(dataset, cut)
    assert dataset.content() != version(2)
    dataset.node.kill("supervisor")
    wait_until(lambda: dataset.shows(version(2)))
    assert before == version(1)
    assert not (dataset.mount / "diff/gone").exists()


def cut_short(connection: int, forgotten: Invalidation) -> bool:
    """End before a single notification is sent."""
    raise CutShortError


@pytest.mark.parametrize("kernel", ["Linux 6.16", "older"])
def test_a_switch_that_changes_very_much(dataset: Versioned, kernel: str) -> None:
    """With more changes than are worth naming one by one all names are looked up again; on a kernel
    that cannot do that they are named all the same.
    """

    async def go(switch: Switch, snapshots: Mapping[str, StoredSnapshot]) -> None:
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr("vfs.mounting.versions.NAMED_ENTRIES", 1)
            if kernel == "older":
                unknown = protocol.OUT_HEADER.pack(protocol.OUT_HEADER.size, 99, 0)
                patches.setattr(protocol, "inc_epoch_notification", lambda: unknown)
            for name in ("v2", "v1", "v2"):
                await switch.to(snapshots[name])
                content = await trio.to_thread.run_sync(dataset.content)
                assert content == version(int(name[1]))

    assert dataset.content() == version(1)
    assert not (dataset.mount / "diff/new").exists()
    play(dataset, go)
    assert (dataset.mount / "diff/new").exists()
