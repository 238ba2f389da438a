"""A manifest that was damaged, or made to mislead, is refused: no wrong tree, no endless one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
    asked,
    forged,
    manifest_of,
    read_back,
    walk,
)
from vfs.errors import ManifestDamagedError, ManifestError
from vfs.manifest.inode import PLACE, RECORD_SIZE, decode_inode
from vfs.manifest.superblock import TableRoot
from vfs.manifest.tree import Tree

NODES: dict[bytes, Node] = {
    b"a": File(5, 11, 0o600, "ab" * 16),
    b"d": Directory(3, 0o700),
    b"d/e/f": File(1 << 23, 4, 0o644, "text", bytes(range(16))),
    b"d/g": File(2, 4, 0o644, "4"),
    b"l": Symlink(b"d/e"),
}
WHOLE = manifest_of(NODES)
POSITIONS = {b"": 1, b"a": 2, b"d": 3, b"l": 4, b"d/e": 5, b"d/g": 6, b"d/e/f": 7}
READ_BACK = asked(WHOLE, read_back)


def read_all(data: bytes) -> dict[bytes, Node] | None:
    """Return all that a manifest describes, or None when it was refused."""
    try:
        return asked(data, read_back)
    except ManifestError:
        return None


def test_every_altered_byte_is_noticed() -> None:
    for at in range(len(WHOLE)):
        altered = bytearray(WHOLE)
        altered[at] ^= 1 << at % 8
        assert read_all(bytes(altered)) is None, f"byte {at}"


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=20), st.integers(0, 20))
def test_bytes_replaced_by_any_others_are_noticed(at: int, other: bytes, length: int) -> None:
    altered = WHOLE[:at] + other + WHOLE[at + length :]
    assert read_all(altered) in (None, READ_BACK)


def test_every_truncation_is_noticed() -> None:
    for size in range(len(WHOLE)):
        assert read_all(WHOLE[:size]) is None, f"first {size} bytes"


def test_bytes_after_the_end_change_nothing() -> None:
    assert read_all(WHOLE + b"more") == READ_BACK


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_other_files_are_refused(data: bytes) -> None:
    assert read_all(data) is None
    assert read_all(WHOLE[:32] + data) is None


class DamagedSource(MemorySource):
    """Gives wrong bytes to whoever reads, and to *times* who read again; notes each range."""

    def __init__(self, data: bytes, times: int = 0) -> None:
        super().__init__(data)
        self.times = times
        self.read_ranges: list[tuple[int, int]] = []
        self.reread_ranges: list[tuple[int, int]] = []

    async def read(self, start: int, stop: int) -> bytes:
        self.read_ranges.append((start, stop))
        return bytes(byte ^ 1 for byte in self.data[start:stop])

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        assert bad == bytes(byte ^ 1 for byte in self.data[start:stop])
        self.reread_ranges.append((start, stop))
        self.times -= 1
        return bad if self.times >= 0 else self.data[start:stop]


def test_what_is_damaged_on_its_way_is_read_once_more() -> None:
    async def read() -> dict[bytes, Node]:
        return await read_back(await Tree.open(source, None))

    source = DamagedSource(WHOLE)
    assert anyio.run(read) == READ_BACK
    assert source.reread_ranges == source.read_ranges


def test_what_is_damaged_twice_is_refused_and_may_be_right_the_next_time() -> None:
    async def read() -> None:
        tree = await Tree.open(source, None)
        source.times = 1
        inode = await tree.resolve(b"d/e/f")
        assert inode is not None
        with pytest.raises(ManifestDamagedError):
            await tree.contents.chunk_hashes(inode, 0, 2)
        assert await tree.contents.chunk_hashes(inode, 0, 2)

    source = DamagedSource(WHOLE)
    anyio.run(read)
    assert len(source.reread_ranges) == len(source.read_ranges)


def test_another_object_in_the_manifests_place_is_read_once_more() -> None:
    async def read() -> Tree:
        return await Tree.open(source, None)

    source = DamagedSource(WHOLE, times=1)
    with pytest.raises(ManifestError):
        anyio.run(read)
    assert len(source.reread_ranges) == 1
    assert anyio.run(read).superblock.file_count == 3


def test_a_forged_manifest_with_nothing_altered_is_read() -> None:
    nodes: dict[bytes, Node] = {b"a": File(), b"d/b": Symlink(b"a")}
    whole = manifest_of(nodes)
    assert asked(forged(whole), walk) == asked(whole, walk)


def with_place(path: bytes, parent: int, first: int) -> Callable[[bytearray], None]:
    def alter(page: bytearray) -> None:
        at = (POSITIONS[path] - 1) * RECORD_SIZE
        name_offset = PLACE.unpack_from(page, at)[2]
        PLACE.pack_into(page, at, parent, first, name_offset)

    return alter


def with_name(path: bytes, name: bytes) -> Callable[[bytearray], None]:
    def alter(page: bytearray) -> None:
        at = PLACE.unpack_from(page, (POSITIONS[path] - 1) * RECORD_SIZE)[2]
        page[at : at + len(name)] = name

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(with_place(b"d", 1, 1), id="a directory that holds the root"),
        pytest.param(with_place(b"d", 1, 3), id="a directory that holds itself"),
        pytest.param(with_place(b"d/e", 3, 3), id="a directory that holds its parent"),
        pytest.param(with_place(b"d", 1, 4), id="a directory that holds another's children"),
        pytest.param(with_place(b"d", 1, 7), id="children after the last inode"),
        pytest.param(with_place(b"d", 1, (1 << 64) - 1), id="children at the end of all numbers"),
        pytest.param(with_place(b"a", 3, 0), id="a child of another directory"),
        pytest.param(with_place(b"a", 2, 0), id="its own parent"),
        pytest.param(with_place(b"", 2, 2), id="a root with a parent"),
        pytest.param(with_name(b"a", b"/"), id="a slash as a name"),
        pytest.param(with_name(b"a", b"."), id="a dot as a name"),
        pytest.param(with_name(b"a", b"\0"), id="a NUL as a name"),
        pytest.param(with_name(b"a", b"l"), id="the same name twice"),
        pytest.param(with_name(b"a", b"z"), id="names that are not sorted"),
    ],
)
def test_a_page_made_to_mislead_is_refused(alter: Callable[[bytearray], None]) -> None:
    async def list_all(tree: Tree) -> None:
        with pytest.raises(ManifestError):
            await walk(tree)

    data = forged_metadata(alter)
    try:
        asked(data, list_all)
    except ManifestError:
        return


def forged_metadata(alter: Callable[[bytearray], None]) -> bytes:
    """Return WHOLE without its hash table, with its inode page altered and all digests right."""
    return forged(WHOLE, alter, lambda block: replace(block, hashes=TableRoot(0, 0, bytes(16))))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 7 * RECORD_SIZE + 60), st.integers(0, 255)), min_size=1, max_size=8
    )
)
def test_any_page_with_right_digests_is_a_tree_or_refused(changes: list[tuple[int, int]]) -> None:
    """What can be listed is a tree: each inode is there once, and its path leads to it."""

    def alter(page: bytearray) -> None:
        for at, value in changes:
            page[at % len(page)] = value

    async def check(tree: Tree) -> None:
        found = await walk(tree)
        assert len({inode.position for inode in found.values()}) == len(found)
        for path, inode in found.items():
            assert await tree.path_of(inode.position) == path
            assert await tree.resolve(path) == inode

    try:
        asked(forged_metadata(alter), check)
    except ManifestError:
        return


def test_a_root_that_is_not_the_superblocks_is_refused() -> None:
    assert (
        read_all(forged(WHOLE, alter_superblock=lambda b: replace(b, root_digest=bytes(16))))
        is None
    )


def test_hashes_outside_their_table_are_refused() -> None:
    async def question(tree: Tree) -> None:
        inode = await tree.resolve(b"d/e/f")
        assert inode is not None
        with pytest.raises(ManifestError, match="hashes"):
            await tree.contents.chunk_hashes(inode, 0, 1)

    asked(forged_metadata(lambda _: None), question)


def test_every_inode_of_the_example_decodes() -> None:
    """Guards the example itself: the positions that the forgeries aim at are these."""

    def check(page: bytearray) -> None:
        names = [decode_inode(bytes(page), at, at + 1).name for at in range(7)]
        assert names == [path.rpartition(b"/")[2] for path in POSITIONS]

    assert forged_metadata(check)
