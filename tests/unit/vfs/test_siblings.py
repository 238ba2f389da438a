"""Children decoded side by side are those that `decode_inode` gives one by one, and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.manifests import Directory, File, Node, Symlink, asked, forged, manifest_of
from vfs.errors import ManifestDamagedError, ManifestError
from vfs.manifest.inode import PACKED_BIT, PLACE, RECORD_SIZE, ROOT_POSITION, Inode
from vfs.manifest.siblings import NO_SIBLINGS, Siblings
from vfs.manifest.tree import Tree

NODES: dict[bytes, Node] = {
    b"a": File(5, 11, 0o600, "ab" * 16),
    b"b": File(1 << 23, -1, 0o4755, "text", bytes(range(16))),
    b"c": Directory(3, 0o700),
    b"c/in": File(2, 4),
    b"d": File(0, 4, 0o644, "4"),
    b"e": Symlink(b"c/in"),
    b"f" * 255: File(7),
}
CHILDREN = [name for name in NODES if b"/" not in name]
WHOLE = manifest_of(NODES)
TAG_AT = RECORD_SIZE - 1


def first(count: int) -> Callable[[bytes], int]:
    return lambda name_sizes: min(count, len(name_sizes))


async def in_columns(tree: Tree, start: int, count: int) -> Siblings:
    return await tree.siblings(await tree.inode(ROOT_POSITION), start, first(count))


async def one_by_one(tree: Tree) -> list[Inode]:
    return [*await tree.children_from(await tree.inode(ROOT_POSITION), 0)]


def rows(siblings: Siblings) -> list[tuple[object, ...]]:
    return list(zip(*siblings[1:], strict=True))


def row_of(inode: Inode) -> tuple[object, ...]:
    return inode.name, inode.kind, inode.mode, inode.size, inode.mtime_ns, inode.nlink


@pytest.mark.parametrize("start", range(len(CHILDREN)))
@pytest.mark.parametrize("count", range(1, len(CHILDREN) + 1))
def test_siblings_are_the_inodes_from_a_child_on(start: int, count: int) -> None:
    async def question(tree: Tree) -> tuple[Siblings, list[Inode]]:
        return await in_columns(tree, start, count), await one_by_one(tree)

    siblings, inodes = asked(WHOLE, question)
    assert siblings.position == inodes[start].position
    assert rows(siblings) == [row_of(each) for each in inodes[start : start + count]]


def test_how_many_are_taken_is_decided_by_the_lengths_of_their_names() -> None:
    seen: list[bytes] = []

    def none(name_sizes: bytes) -> int:
        seen.append(name_sizes)
        return 0

    async def question(tree: Tree) -> Siblings:
        return await tree.siblings(await tree.inode(ROOT_POSITION), 2, none)

    assert asked(WHOLE, question) == NO_SIBLINGS
    assert seen == [bytes(len(name) for name in CHILDREN[2:])]


def test_after_the_last_child_there_are_none() -> None:
    async def question(tree: Tree) -> Siblings:
        return await in_columns(tree, len(CHILDREN), 9)

    assert asked(WHOLE, question) == NO_SIBLINGS


def with_bytes(changes: Mapping[int, int]) -> bytes:
    def alter(page: bytearray) -> None:
        for at, value in changes.items():
            page[at % len(page)] = value

    return forged(WHOLE, alter)


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, (len(NODES) + 1) * RECORD_SIZE + 320), st.integers(0, 255), min_size=1
    )
)
def test_records_are_believed_together_exactly_when_they_are_one_by_one(
    changes: dict[int, int],
) -> None:
    async def question(tree: Tree) -> None:
        try:
            inodes = await one_by_one(tree)
        except ManifestDamagedError:
            with pytest.raises(ManifestDamagedError):
                await in_columns(tree, 0, 99)
        else:
            assert rows(await in_columns(tree, 0, 99)) == [row_of(each) for each in inodes]

    try:
        asked(with_bytes(changes), question)
    except ManifestError:
        return  # The root itself is damaged: nothing can be asked.


def at_record(index: int, offset: int = 0) -> int:
    return index * RECORD_SIZE + offset


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(0, 3, id="a child of another directory"),
        pytest.param(19, 0x7F, id="a name outside the page"),
        pytest.param(23, 0x7F, id="a payload outside the page"),
        pytest.param(39, 0x80, id="a size that no file has"),
        pytest.param(61, 0x10, id="bits that no mode has"),
        pytest.param(62, 0, id="no name"),
        pytest.param(TAG_AT, 0, id="no kind"),
        pytest.param(TAG_AT, 3, id="a symlink to nowhere"),
    ],
)
def test_a_record_that_no_writer_makes_is_refused(offset: int, value: int) -> None:
    asked(with_bytes({at_record(1, offset): value}), refused)


@pytest.mark.parametrize("name", [b"/", b".", b"\0"])
def test_a_name_that_cannot_be_one_is_refused(name: bytes) -> None:
    asked(forged(WHOLE, with_name(name)), refused)


async def refused(tree: Tree) -> None:
    with pytest.raises(ManifestDamagedError):
        await one_by_one(tree)
    with pytest.raises(ManifestDamagedError):
        await in_columns(tree, 0, 1)


def with_name(name: bytes) -> Callable[[bytearray], None]:
    """Give the first child another name."""

    def alter(page: bytearray) -> None:
        at = PLACE.unpack_from(page, at_record(1))[2]
        page[at : at + len(name)] = name

    return alter


def test_a_packed_file_too_short_for_its_run_is_refused() -> None:
    """Its payload is looked at, though a listing shows nothing of it."""
    packed = {at_record(CHILDREN.index(b"d") + 1, TAG_AT): 1 | PACKED_BIT}

    async def question(tree: Tree) -> None:
        with pytest.raises(ManifestDamagedError, match="torn run"):
            await in_columns(tree, 0, 99)

    asked(with_bytes(packed), question)


def test_a_name_that_does_not_follow_the_one_before_is_refused_wherever_a_listing_goes_on() -> None:
    """A listing that is read in pieces shows no name twice."""

    async def question(tree: Tree) -> None:
        with pytest.raises(ManifestDamagedError, match="siblings in order"):
            await in_columns(tree, 1, 1)

    asked(forged(WHOLE, with_name(b"z")), question)
