"""What is told at once is what pyfuse3 would tell after waiting."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio
from pyfuse3 import EntryAttributes, FileNameT, InodeT, RequestContext

from cachesvc.client import CacheClient
from tests.fakes.manifests import Directory, File, MemorySource, Node, Symlink, add_all, written
from vfs.errors import WrongKindError
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.tree import Tree
from vfs.serving.attributes import AttributeReader
from vfs.serving.entry import ABSENT, ATTR_OUT, ENTRY_OUT, FOREVER_SECONDS, EntryEncoder
from vfs.serving.fuse import SnapshotOperations
from vfs.serving.ino import ROOT_INO
from vfs.serving.layout import Layouts
from vfs.serving.metadata import Metadata
from vfs.serving.modes import Modes
from vfs.serving.mounted import MountedSnapshots
from vfs.snapshots.repository import StoredSnapshot

UID, GID = 1000, 1001
MODES = Modes(is_open=True)
CONTEXT = cast("RequestContext", None)
FIRST: dict[bytes, Node] = {
    b"dir": Directory(mtime_ns=1_700_000_000_123_456_789, mode=0o750),
    b"dir/file": File(size=10_000, mtime_ns=5, mode=0o600),
    b"empty": File(size=0),
    b"link": Symlink(b"dir/file"),
    b"old": File(size=1, mtime_ns=-1),
}
SECOND: dict[bytes, Node] = {**FIRST, b"dir/new": File(size=7)}


class History:
    """Epochs of snapshots in memory."""

    def __init__(self, *models: dict[bytes, Node]) -> None:
        self.current = 0
        self._manifests: list[tuple[StoredSnapshot, bytes]] = []
        for model in models:
            builder = ManifestBuilder()
            add_all(builder, model)
            result, data = written(builder)
            self._manifests.append((StoredSnapshot(result.snapshot_id, len(data)), data))

    def snapshot(self, epoch: int) -> StoredSnapshot:
        return self._manifests[epoch][0]

    async def open_tree(self, snapshot: StoredSnapshot) -> Tree:
        (data,) = (data for stored, data in self._manifests if stored == snapshot)
        return await Tree.open(MemorySource(data), snapshot.snapshot_id)


class Told:
    """One mount, asked at once and by way of pyfuse3's handlers."""

    def __init__(self, history: History) -> None:
        self.mounted = MountedSnapshots(history, history.open_tree)
        self.at_once = Metadata(self.mounted, EntryEncoder(UID, GID, MODES))
        chunks = cast("CacheClient", None)
        attributes = AttributeReader(self.mounted, Layouts(self.mounted, {}), chunks)
        self._operations = SnapshotOperations(self.mounted, attributes, UID, GID, MODES)

    async def lookup(self, parent: int, name: bytes) -> EntryAttributes:
        return await self._operations.lookup(InodeT(parent), FileNameT(name), CONTEXT)

    async def getattr(self, ino: int) -> EntryAttributes:
        return await self._operations.getattr(InodeT(ino), CONTEXT)


def playing(history: History, play: Callable[[Told], Awaitable[None]]) -> None:
    async def run() -> None:
        await play(Told(history))

    trio.run(run)


def fields_of(entry: EntryAttributes) -> tuple[int, ...]:
    """Return what libfuse would make of it: `struct fuse_attr`."""
    times = (entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns)
    return (
        entry.st_ino,
        entry.st_size,
        entry.st_blocks,
        *(each // 10**9 for each in times),
        *(each % 10**9 for each in times),
        entry.st_mode,
        entry.st_nlink,
        entry.st_uid,
        entry.st_gid,
        entry.st_rdev,
        entry.st_blksize,
        0,
    )


def test_the_structures_are_as_long_as_the_kernels() -> None:
    assert (ENTRY_OUT.size, ATTR_OUT.size) == (128, 104)


def test_a_known_name_is_told_as_pyfuse3_would() -> None:
    async def play(told: Told) -> None:
        await told.mounted.current()
        for path in FIRST:
            parent = b"" if b"/" not in path else path.partition(b"/")[0]
            directory = (await told.lookup(ROOT_INO, parent)).st_ino if parent else ROOT_INO
            name = path.rpartition(b"/")[2]
            expected = await told.lookup(directory, name)
            body = told.at_once.lookup_nowait(directory, name)
            assert body is not None
            ino, generation, *lifetimes = struct.unpack_from("<QQQQII", body)
            assert (ino, generation) == (expected.st_ino, expected.generation)
            assert lifetimes == [FOREVER_SECONDS, FOREVER_SECONDS, 0, 0]
            assert ENTRY_OUT.unpack(body)[6:] == fields_of(expected)

    playing(History(FIRST), play)


def test_known_attributes_are_told_as_pyfuse3_would() -> None:
    async def play(told: Told) -> None:
        await told.mounted.current()
        for ino in range(1, len(FIRST) + 2):
            body = told.at_once.getattr_nowait(ino)
            assert body is not None
            lifetime, nanoseconds, _, *attributes = ATTR_OUT.unpack(body)
            assert (lifetime, nanoseconds) == (FOREVER_SECONDS, 0)
            assert tuple(attributes) == fields_of(await told.getattr(ino))

    playing(History(FIRST), play)


def test_a_known_absence_is_told_for_ever() -> None:
    async def play(told: Told) -> None:
        await told.mounted.current()
        assert told.at_once.lookup_nowait(ROOT_INO, b"nothing") == ABSENT
        ino, _, lifetime, *rest = ENTRY_OUT.unpack(ABSENT)
        assert (ino, lifetime) == (0, FOREVER_SECONDS)
        assert not any(rest)

    playing(History(FIRST), play)


def test_a_name_that_is_too_long_is_no_absence() -> None:
    async def play(told: Told) -> None:
        await told.mounted.current()
        assert told.at_once.lookup_nowait(ROOT_INO, b"n" * 255) == ABSENT
        assert told.at_once.lookup_nowait(ROOT_INO, b"n" * 256) is None

    playing(History(FIRST), play)


def test_nothing_is_told_of_a_snapshot_that_is_not_open() -> None:
    async def play(told: Told) -> None:
        assert told.at_once.getattr_nowait(ROOT_INO) is None
        assert told.at_once.lookup_nowait(ROOT_INO, b"dir") is None

    playing(History(FIRST), play)


def test_a_name_below_a_file_is_an_error() -> None:
    async def play(told: Told) -> None:
        file = (await told.lookup(ROOT_INO, b"empty")).st_ino
        with pytest.raises(WrongKindError):
            told.at_once.lookup_nowait(file, b"name")

    playing(History(FIRST), play)


def test_after_a_switch_a_number_is_told_once_it_is_known() -> None:
    """What goes on keeps its number, which has to be looked for once."""

    async def play(told: Told) -> None:
        directory = (await told.lookup(ROOT_INO, b"dir")).st_ino
        before = await told.lookup(directory, b"file")
        history.current = 1
        await told.mounted.current()
        for name in (b"file", b"new"):
            assert told.at_once.lookup_nowait(directory, name) is None
            after = await told.lookup(directory, name)
            body = told.at_once.lookup_nowait(directory, name)
            assert body is not None
            assert ENTRY_OUT.unpack(body)[0] == after.st_ino
            assert (after.st_ino == before.st_ino) == (name == b"file")

    history = History(FIRST, SECOND)
    playing(history, play)
