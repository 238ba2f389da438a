"""Trees agree with plain dicts: random datasets, changed step by step, each step published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import anyio
import pytest
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
    read_back,
    written,
)
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.difference import Change, ChangeKind, difference
from vfs.manifest.tree import Tree

CHUNK_SIZE = 512

NAMES = st.sampled_from([b"a", b"b", b"a.", b"\xff", b"a" * 255])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
MTIMES = st.integers(0, 2)
VERSIONS = st.sampled_from([None, "1", "ab" * 16, "ab" * 16 + "-7", "v\u20ac"])


@st.composite
def files(draw: st.DrawFn) -> File:
    size = draw(st.integers(0, 2 * CHUNK_SIZE + 1))
    chunks = -(-size // CHUNK_SIZE)
    hashes = draw(st.none() | st.binary(min_size=8 * chunks, max_size=8 * chunks))
    return File(
        size, draw(MTIMES), draw(st.sampled_from([0o644, 0o755])), draw(VERSIONS), hashes or None
    )


NODES = st.one_of(
    files(),
    st.builds(Directory, MTIMES, st.sampled_from([0o700, 0o755])),
    st.builds(Symlink, st.sampled_from([b"a", b"../b"]), MTIMES),
)
OPERATIONS = st.lists(st.tuples(PATHS, NODES | st.none()), max_size=8)


def changed(model: Mapping[bytes, Node], path: bytes, node: Node | None) -> dict[bytes, Node]:
    """Put *node* at *path* as a file system would, or remove what is there when it is None."""
    keep_below = isinstance(node, Directory)
    result = {
        other: kept
        for other, kept in model.items()
        if other != path and (keep_below or not other.startswith(path + b"/"))
    }
    if node is None:
        return result
    above = path.rpartition(b"/")[0]
    while above:
        if not isinstance(result.get(above), Directory):
            result[above] = Directory(1)
        above = above.rpartition(b"/")[0]
    result[path] = node
    return result


async def published(model: Mapping[bytes, Node]) -> Tree:
    builder = ManifestBuilder(CHUNK_SIZE)
    add_all(builder, model)
    result, data = written(builder)
    return await Tree.open(MemorySource(data), result.snapshot_id, cache_size=1)


async def check_names(tree: Tree, model: Mapping[bytes, Node]) -> None:
    """Every path and its neighbours: found if the model has it, with the right content and path."""
    for path in [*model, *(path + b"x" for path in model), *(path + b"/a" for path in model)]:
        inode = await tree.resolve(path)
        if path not in model:
            assert inode is None
        else:
            assert inode is not None
            assert await node_of(tree, inode) == model[path]
            assert await tree.path_of(inode.position) == path


def check_difference(
    changes: list[Change], old: Mapping[bytes, Node], new: Mapping[bytes, Node]
) -> None:
    """Added and removed are set arithmetic; all other differences are changes, files exactly."""
    by_kind = {kind: {c.path for c in changes if c.kind is kind} - {b""} for kind in ChangeKind}
    switched = {path for path in old.keys() & new.keys() if type(old[path]) is not type(new[path])}
    assert by_kind[ChangeKind.ADDED] == (new.keys() - old.keys()) | switched
    assert by_kind[ChangeKind.REMOVED] == (old.keys() - new.keys()) | switched
    differ = {path for path in old.keys() & new.keys() if old[path] != new[path]} - switched
    above = {path for path in by_kind[ChangeKind.CHANGED] if isinstance(new[path], Directory)}
    assert differ <= by_kind[ChangeKind.CHANGED] <= differ | above
    assert len(changes) == len({(change.path, change.kind) for change in changes})


async def play(operations: list[tuple[bytes, Node | None]]) -> None:
    model: dict[bytes, Node] = {}
    tree = await published(model)
    for path, node in operations:
        after = changed(model, path, node)
        next_tree = await published(after)
        assert await read_back(next_tree) == after
        await check_names(next_tree, after)
        check_difference([c async for c in difference(tree, next_tree)], model, after)
        model, tree = after, next_tree


@contextmanager
def tiny_pages() -> Iterator[None]:
    """Give a page 3 inodes and a group 2 pages, so that small trees span many of both."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("vfs.manifest.writer", "vfs.manifest.tree", "vfs.manifest.contents"):
            patch.setattr(f"{module}.PAGE_RECORDS", 3)
        for module in ("vfs.manifest.writer", "vfs.manifest.contents"):
            patch.setattr(f"{module}.HASH_PAGE_RECORDS", 2)
        for module in ("vfs.manifest.writer", "vfs.manifest.table", "vfs.manifest.page"):
            patch.setattr(f"{module}.GROUP_SIZE", 2)
        yield


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_a_published_tree_agrees_with_a_dict_after_each_change(
    operations: list[tuple[bytes, Node | None]],
) -> None:
    anyio.run(play, operations, backend="trio")


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_a_tree_of_many_pages_and_groups_agrees_with_a_dict(
    operations: list[tuple[bytes, Node | None]],
) -> None:
    with tiny_pages():
        anyio.run(play, operations, backend="trio")


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 999), max_size=60))
def test_a_directory_of_many_groups_finds_the_names_it_has_and_no_others(
    numbers: set[int],
) -> None:
    model: dict[bytes, Node] = {b"%d" % number: File(number) for number in numbers}
    with tiny_pages():
        anyio.run(check_names, anyio.run(published, model), model, backend="trio")


@settings(max_examples=10, deadline=None)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=3), st.integers(0, 9), max_size=30), st.data()
)
def test_any_bytes_but_slash_and_nul_are_names(
    sizes: dict[bytes, int], data: st.DataObject
) -> None:
    """Sorted by bytes, listed from any child on."""
    model: dict[bytes, Node] = {
        name: File(size)
        for name, size in sizes.items()
        if not {0, 47} & set(name) and name not in (b".", b"..")
    }
    start = data.draw(st.integers(0, len(model)))

    async def check() -> None:
        tree = await published(model)
        root = await tree.inode(1)
        names = [child.name async for batch in tree.children(root, start) for child in batch]
        assert names == sorted(model)[start:]

    anyio.run(check, backend="trio")
