"""Inode numbers over a mount's versions agree with a model that knows every tree as a dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.manifests import (
    Directory,
    File,
    MemorySource,
    Node,
    Symlink,
    add_all,
    node_of,
    walk,
    written,
)
from vfs.errors import StaleInodeError
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.inode import ROOT_POSITION, Inode, Kind
from vfs.manifest.tree import NotLoaded, Tree
from vfs.serving.ino import ROOT_INO, Ino
from vfs.serving.mounted import MountedSnapshots
from vfs.snapshots.repository import StoredSnapshot

NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
NODES = st.one_of(
    st.builds(File, size=st.integers(0, 2)),
    st.builds(Directory, mtime_ns=st.integers(1, 2)),
    st.builds(Symlink, st.sampled_from([b"a", b"b"])),
)
CHANGES = st.lists(st.tuples(PATHS, NODES | st.none()), min_size=1, max_size=3)
VERSIONS = st.lists(CHANGES | st.integers(0, 5), min_size=1, max_size=8)
"""Each version changes the one before it, or goes back to one of the first."""


class Versions:
    """A history in memory, of manifests in memory."""

    def __init__(self) -> None:
        self.models: list[dict[bytes, Node]] = []
        self.current = -1
        self._snapshots: list[StoredSnapshot] = []
        self._manifests: dict[str, bytes] = {}

    def append(self, model: Mapping[bytes, Node]) -> None:
        """Show *model* from now on."""
        builder = ManifestBuilder()
        add_all(builder, model)
        result, data = written(builder)
        self.models.append(dict(model))
        self._snapshots.append(StoredSnapshot(result.snapshot_id, len(data)))
        self._manifests[result.snapshot_id] = data
        self.current += 1

    def snapshot(self, epoch: int) -> StoredSnapshot:
        """Return an epoch's snapshot."""
        return self._snapshots[epoch]

    async def open_tree(self, snapshot: StoredSnapshot) -> Tree:
        """Open a tree that keeps one page in memory."""
        source = MemorySource(self._manifests[snapshot.snapshot_id])
        return await Tree.open(source, snapshot.snapshot_id, cache_size=1)

    def mounted(self) -> MountedSnapshots:
        """Return what another worker would make of it."""
        return MountedSnapshots(self, self.open_tree)


def changed(
    model: Mapping[bytes, Node], changes: Sequence[tuple[bytes, Node | None]]
) -> dict[bytes, Node]:
    """Put nodes at paths as a file system would, or remove what is there when it is None."""
    result = dict(model)
    for path, node in changes:
        below = [other for other in result if other.startswith(path + b"/")]
        for other in below if not isinstance(node, Directory) else ():
            del result[other]
        result.pop(path, None)
        above = path.rpartition(b"/")[0]
        while node is not None and above:
            if not isinstance(result.get(above), Directory):
                result[above] = Directory(1)
            above = above.rpartition(b"/")[0]
        if node is not None:
            result[path] = node
    return result


def history_of(steps: Sequence[list[tuple[bytes, Node | None]] | int]) -> list[dict[bytes, Node]]:
    """Return the models that *steps* lead through."""
    models: list[dict[bytes, Node]] = [{}]
    for step in steps:
        back = models[min(step, len(models) - 1)] if isinstance(step, int) else None
        models.append(changed(models[-1], step) if isinstance(step, list) else dict(back or {}))
    return models


def goes_on(old: Node | None, new: Node | None) -> bool:
    """The rule, once more."""
    if isinstance(old, Directory) and isinstance(new, Directory):
        return True
    return old is not None and old == new


def birth(models: Sequence[Mapping[bytes, Node]], path: bytes, epoch: int) -> int:
    """Return the oldest epoch since which *path* has gone on until *epoch*."""
    while epoch > 0 and goes_on(models[epoch - 1].get(path), models[epoch].get(path)):
        epoch -= 1
    return epoch


def death(models: Sequence[Mapping[bytes, Node]], path: bytes, epoch: int) -> int:
    """Return the last epoch until which *path*, from *epoch*, has gone on."""
    while epoch + 1 < len(models) and goes_on(models[epoch].get(path), models[epoch + 1].get(path)):
        epoch += 1
    return epoch


@dataclass(frozen=True)
class Shown:
    """What a worker shows at a path."""

    ino: Ino
    inode: Inode


async def shown(mounted: MountedSnapshots) -> dict[bytes, Shown]:
    """Walk down from the root by listing."""
    epoch, root = await mounted.inode(ROOT_INO)
    found = {b"": Shown(ROOT_INO, root)}
    pending = [b""]
    while pending:
        path = pending.pop()
        directory = found[path].inode
        async for batch in (await mounted.tree(epoch)).children(directory):
            numbers = await mounted.numbers(epoch, directory, batch)
            for ino, child in zip(numbers, batch, strict=True):
                below = path + b"/" + child.name if path else child.name
                found[below] = Shown(ino, child)
                if child.kind is Kind.DIRECTORY:
                    pending.append(below)
    return found


async def check_step(
    versions: Versions, mounted: MountedSnapshots, given_out: dict[Ino, tuple[int, bytes]]
) -> None:
    """Check all numbers of the current epoch and add them to *given_out*."""
    epoch = versions.current
    found = await shown(mounted)
    assert {path: each.ino for path, each in found.items()} == {
        path: each.ino for path, each in (await shown(versions.mounted())).items()
    }
    del found[b""]
    assert found.keys() == versions.models[-1].keys()
    for path, each in found.items():
        born = birth(versions.models, path, epoch)
        assert given_out.setdefault(each.ino, (born, path)) == (born, path)
        parent = found[path.rpartition(b"/")[0]].ino if b"/" in path else ROOT_INO
        name = path.rpartition(b"/")[2]
        expected = each.ino, each.inode
        assert mounted.lookup_nowait(parent, name) in (expected, NotLoaded.NOT_LOADED)
        assert await mounted.lookup(parent, name) == expected
        if each.inode.kind is Kind.DIRECTORY:
            above = await mounted.lookup(each.ino, b"..")
            assert above is not None
            assert above[0] == parent
    assert len({each.ino for each in found.values()}) == len(found)


async def check_meanings(
    versions: Versions, mounted: MountedSnapshots, given_out: Mapping[Ino, tuple[int, bytes]]
) -> None:
    """Check what every number that was ever given out means now, and in a listing begun before."""
    walks = [await walk(await mounted.tree(epoch)) for epoch in range(versions.current + 1)]
    for ino, (born, path) in given_out.items():
        known = mounted.inode_nowait(ino)
        epoch, inode = await mounted.inode(ino)
        assert known in (None, (epoch, inode))
        last = death(versions.models, path, born)
        node = await node_of(await mounted.tree(epoch), inode)
        assert node == versions.models[last][path]
        if isinstance(node, Directory):
            assert (epoch, inode) == (last, walks[last][path])
        for then in range(born, last + 1):
            assert await mounted.listed(ino, then) == (then, walks[then][path])


async def play(models: Sequence[Mapping[bytes, Node]]) -> None:
    versions = Versions()
    mounted = versions.mounted()
    given_out: dict[Ino, tuple[int, bytes]] = {}
    for model in models:
        versions.append(model)
        await check_step(versions, mounted, given_out)
        await check_meanings(versions, mounted, given_out)


@settings(max_examples=100, deadline=None)
@given(VERSIONS)
def test_numbers_agree_with_a_model_after_each_switch(
    steps: list[list[tuple[bytes, Node | None]] | int],
) -> None:
    """What goes on keeps its number, nothing else does; every number resolves to the right content
    in every epoch; and another worker finds the same numbers.
    """
    trio.run(play, history_of(steps))


@settings(max_examples=50, deadline=None)
@given(VERSIONS)
def test_numbers_agree_with_a_model_when_few_trees_and_facts_are_remembered(
    steps: list[list[tuple[bytes, Node | None]] | int],
) -> None:
    """Forgetting costs time and changes no answer; trees span many pages."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("vfs.manifest.writer", "vfs.manifest.tree"):
            patch.setattr(f"{module}.PAGE_RECORDS", 3)
        patch.setattr("vfs.serving.mounted.TREES_OPEN", 1)
        patch.setattr("vfs.serving.mounted.DIRECTORIES_FOLLOWED", 1)
        patch.setattr("vfs.serving.births.PAGES_REMEMBERED", 1)
        patch.setattr("vfs.serving.lineage.DIRECTORIES_REMEMBERED", 1)
        trio.run(play, history_of(steps))


def test_a_directory_deeper_than_the_recursion_limit() -> None:
    """No depth of a tree is too much to find a directory of it in the next version."""
    deep = b"/".join([b"d"] * 2000)
    trio.run(play_deep, deep)


async def play_deep(deep: bytes) -> None:
    versions = Versions()
    for size in (1, 2):
        versions.append({deep + b"/f": File(size)})
    mounted = versions.mounted()
    old = await (await mounted.tree(0)).resolve(deep)
    assert old is not None
    epoch, new = await mounted.follow(0, old, 1)
    assert (epoch, new.position) == (1, old.position)


def test_an_epoch_of_the_future_is_stale() -> None:
    """A number or a cookie that nobody gave out is an error, not a crash."""

    async def ask() -> None:
        versions = Versions()
        versions.append({b"a": Directory()})
        mounted = versions.mounted()
        for ino in (7 << 40 | 2, 9, 0):
            with pytest.raises(StaleInodeError):
                await mounted.inode(ino)
        for ino in (ROOT_INO, 2):
            with pytest.raises(StaleInodeError):
                await mounted.listed(ino, 5)
        assert (await mounted.inode(ROOT_INO))[1].position == ROOT_POSITION

    trio.run(ask)
