"""What the kernel is told of a switch, and in which order things happen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.fakes.manifests import Directory, File, Node
from tests.unit.vfs.test_mounted import Versions
from vfs.errors import MountError
from vfs.mounting.versions import Switch, tell
from vfs.serving import protocol
from vfs.serving.epochs import EpochWriter, create_epochs
from vfs.serving.invalidation import Invalidation, invalidation
from vfs.serving.mounted import MountedSnapshots

OLD: dict[bytes, Node] = {
    b"kept/deep/file": File(1),
    b"diff/changed": File(1),
    b"diff/gone": File(1),
    b"diff/gone-dir/a": File(1),
    b"diff/gone-dir/b": File(1),
    b"diff/kind": File(1),
    b"diff/same": File(1),
}
NEW: dict[bytes, Node] = {
    b"kept/deep/file": File(1),
    b"diff/changed": File(2),
    b"diff/kind/below": File(1),
    b"diff/new": File(1),
    b"diff/new-dir/a": File(1),
    b"diff/same": File(1),
}


def history(*models: dict[bytes, Node]) -> Versions:
    """Return versions of which the first is shown."""
    versions = Versions()
    for model in models:
        versions.append(model)
    versions.current = 0
    return versions


def forgotten(limit: int | None) -> Invalidation:
    """Return what is forgotten from OLD to NEW."""

    async def ask() -> Invalidation:
        versions = history(OLD, NEW)
        later = await versions.open_tree(versions.snapshot(1))
        return await invalidation(versions.mounted(), 0, later, limit)

    return trio.run(ask)


async def ino_of(mounted: MountedSnapshots, path: bytes) -> int:
    """Return the number of a path."""
    ino = 1
    for name in path.split(b"/"):
        found = await mounted.lookup(ino, name)
        assert found is not None
        ino = found[0]
    return ino


def test_only_names_that_differ_are_dropped() -> None:
    """What lies below a directory that came or went goes with it; unchanged directories, and those
    in which something changed, keep their names.
    """
    diff = trio.run(ino_of, history(OLD).mounted(), b"diff")
    found = forgotten(None)
    names = {b"changed", b"gone", b"gone-dir", b"kind", b"new", b"new-dir"}
    assert set(found.entries or ()) == {
        protocol.inval_entry_notification(diff, name) for name in names
    }
    assert found.directories == [
        protocol.barrier_notification(1),
        protocol.inval_inode_notification(1),
        protocol.barrier_notification(diff),
        protocol.inval_inode_notification(diff),
    ]
    counts = found.counts
    assert (counts.added, counts.removed, counts.changed) == (3, 4, 1)


def test_more_than_the_limit_outdates_every_name() -> None:
    """Directories are still told one by one, before the dentries, which are told last."""
    found = forgotten(2)
    assert found.entries is None
    assert list(found.messages()) == [*found.directories, protocol.inc_epoch_notification()]


class Recorded:
    """A switch whose connection is a pipe."""

    def __init__(self, directory: Path) -> None:
        self.versions = history(OLD, NEW)
        path = directory / "epochs"
        create_epochs(path, self.versions.snapshot(0))
        self.epochs = EpochWriter(path)
        self.told, self._connection = os.pipe()
        self.switch = Switch(self.epochs, self._connection, self.versions.open_tree)

    def close(self) -> None:
        self.epochs.close()
        os.close(self.told)
        os.close(self._connection)


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    """A mount that shows OLD."""
    made = Recorded(tmp_path)
    yield made
    made.close()


def test_a_switch_is_written_then_told_then_noted(recorded: Recorded) -> None:
    snapshot = recorded.versions.snapshot(1)
    done = trio.run(recorded.switch.to, snapshot)
    assert (done.new, recorded.epochs.current, recorded.epochs.announced) == (
        snapshot.snapshot_id,
        1,
        1,
    )
    assert os.read(recorded.told, 65536) == b"".join(forgotten(None).messages())


def test_what_is_shown_already_is_no_new_epoch(recorded: Recorded) -> None:
    done = trio.run(recorded.switch.to, recorded.versions.snapshot(0))
    assert (done.old, recorded.epochs.current) == (done.new, 0)


def test_a_snapshot_that_cannot_be_read_changes_nothing(recorded: Recorded) -> None:
    """What fails, fails before the epoch is written."""

    async def fail(*_: object) -> None:
        raise MountError("no")

    switch = Switch(recorded.epochs, recorded.told, fail)  # type: ignore[arg-type]
    with pytest.raises(MountError):
        trio.run(switch.to, recorded.versions.snapshot(1))
    assert recorded.epochs.current == 0


def test_catching_up_tells_what_was_left_unsaid(recorded: Recorded) -> None:
    """Every switch since the last that was told, in order; and then nothing more."""
    for number in (1, 0):
        recorded.epochs.append(recorded.versions.snapshot(number))
    trio.run(recorded.switch.catch_up)
    assert recorded.epochs.announced == 2
    assert os.read(recorded.told, 65536).startswith(b"".join(forgotten(None).messages()))
    os.set_blocking(recorded.told, False)
    trio.run(recorded.switch.catch_up)
    with pytest.raises(BlockingIOError):
        os.read(recorded.told, 1)


def test_a_connection_that_is_gone_is_an_error(recorded: Recorded) -> None:
    with pytest.raises(MountError, match="takes no notification"):
        tell(recorded.told, forgotten(None))


def test_directories_are_told_by_the_numbers_that_the_kernel_knows(tmp_path: Path) -> None:
    """A directory that has been there since an earlier epoch has the number from there."""

    async def ask() -> list[bytes]:
        added: dict[bytes, Node] = {b"a": Directory(1), b"b": File(1)}
        versions = history({b"diff/x": File(1)}, added | {b"diff/x": File(1)}, added)
        versions.append(added | {b"diff/x": File(2)})
        versions.append(added | {b"diff/x": File(3)})
        versions.current = 3
        later = await versions.open_tree(versions.snapshot(4))
        found = await invalidation(versions.mounted(), 3, later, None)
        expected = await ino_of(versions.mounted(), b"diff")
        assert expected >> 40 == 3
        assert protocol.inval_inode_notification(expected) in found.directories
        return found.directories

    assert len(trio.run(ask)) == 4
