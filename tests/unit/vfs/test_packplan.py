"""What is packed, in which order, and when a pack is full."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.manifests import Directory, File, Node, Symlink, add_all, asked, walk, written
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.inode import Inode
from vfs.snapshots.packplan import PackOptions, PackPlan, Pile, SmallFile, order_of

NODES: dict[bytes, Node] = {
    b"z": File(1),
    b"d/sub/f": File(2),
    b"d/b": File(3),
    b"d/a": File(4),
    b"d.x/c": File(5),
    b"l": Symlink(b"z"),
    b"e": Directory(),
}


def builder_of(nodes: dict[bytes, Node]) -> ManifestBuilder:
    builder = ManifestBuilder()
    add_all(builder, nodes)
    return builder


def files_of(nodes: dict[bytes, Node]) -> list[tuple[bytes, Inode]]:
    return [
        (directory + b"/" + inode.name if directory else inode.name, inode)
        for directory, files in builder_of(nodes).files()
        for inode in files
    ]


def small_file(size: int) -> SmallFile:
    ((path, inode),) = files_of({b"f": File(size)})
    return SmallFile(path, inode)


def test_files_come_breadth_first_and_by_name() -> None:
    paths = [path for path, _ in files_of(NODES)]
    assert paths == [b"z", b"d/a", b"d/b", b"d.x/c", b"d/sub/f"]


def test_files_come_with_the_positions_and_contents_that_the_manifest_gives_them() -> None:
    builder = builder_of(NODES)
    promised = {inode.position: inode for _, files in builder.files() for inode in files}
    found = asked(written(builder)[1], walk)
    kept = {inode.position: inode for inode in found.values() if inode.position in promised}
    assert promised == kept


def test_a_large_directory_comes_in_batches_and_in_order() -> None:
    nodes: dict[bytes, Node] = {b"d/%04d" % number: File(1) for number in range(2500)}
    batches = list(builder_of(nodes).files())
    assert [(path, len(files)) for path, files in batches] == [
        *((b"d", 1024), (b"d", 1024), (b"d", 452))
    ]
    assert [inode.position for _, files in batches for inode in files] == list(range(3, 2503))


def test_empty_files_and_those_of_the_limit_and_above_stay_in_place() -> None:
    sizes = [0, 1, 99, 100, 101]
    wanted = [size for size in sizes if PackOptions(100).wants(small_file(size).inode)]
    assert wanted == [1, 99]


@given(st.lists(st.integers(1, 60), max_size=30), st.integers(1, 5))
def test_packs_hold_all_files_in_order_and_are_full_but_for_the_last(
    sizes: list[int], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vfs.snapshots.packplan.PACK_SIZE", 100)
        patch.setattr("vfs.snapshots.packplan.PACK_FILES", most)
        pile = Pile()
        files = [small_file(size) for size in sizes]
        plans = [pile.add(file) for file in files] + [pile.rest()]
    packs = [plan for plan in plans if plan is not None]
    assert [file for pack in packs for file in pack.files] == files
    assert all(pack.offsets[-1] <= 100 and len(pack.files) <= most for pack in packs)
    for pack, following in pairwise(packs):
        size = following.files[0].inode.size
        assert pack.offsets[-1] + size > 100 or len(pack.files) == most


def test_the_files_of_a_pack_lie_end_to_end() -> None:
    assert PackPlan([small_file(size) for size in (3, 1, 2)]).offsets == [0, 3, 4, 6]


def test_an_order_is_one_path_a_line_and_the_first_of_equals_counts() -> None:
    lines = [b"./b/c\n", b"a\r\n", b"\n", b"b/c\n", b"last"]
    assert order_of(lines) == {b"b/c": 0, b"a": 1, b"last": 2}
