"""Tree: look-ups, listings and contents, over one page and over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.fakes.manifests import (
    INFO,
    Directory,
    File,
    MemorySource,
    Node,
    asked,
    manifest_of,
    walk,
    written,
)
from vfs.errors import ManifestDamagedError, ManifestForeignError, StaleInodeError
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.inode import ROOT_POSITION, Extent, Inode
from vfs.manifest.packing import Packing
from vfs.manifest.stored import Place, StoredObject
from vfs.manifest.tree import NotLoaded, Tree

BIG = 5000
NODES: dict[bytes, Node] = {b"big/%05d" % number: File(number) for number in range(BIG)}
SMALL: dict[bytes, Node] = {
    b"a": File(1),
    b"d/b": File(2),
    b"d/e/c": File(3),
    b"empty": Directory(),
}


@pytest.fixture(scope="module")
def big() -> bytes:
    return manifest_of(NODES)


def test_the_root_is_position_1_and_its_own_parent() -> None:
    async def question(tree: Tree) -> Inode:
        return await tree.inode(ROOT_POSITION)

    root = asked(manifest_of(SMALL), question)
    assert (root.position, root.parent, root.name) == (1, 1, b"")


def test_positions_are_breadth_first_and_sorted_by_name() -> None:
    found = asked(manifest_of(SMALL), walk)
    by_position = sorted(found, key=lambda path: found[path].position)
    assert by_position == [b"", b"a", b"d", b"empty", b"d/b", b"d/e", b"d/e/c"]


@pytest.mark.parametrize("path", [b"", b"a", b"d", b"d/e/c", b"empty"])
def test_a_path_resolves_to_the_inode_that_knows_that_path(path: bytes) -> None:
    async def question(tree: Tree) -> bytes:
        inode = await tree.resolve(path)
        assert inode is not None
        return await tree.path_of(inode.position)

    assert asked(manifest_of(SMALL), question) == path


@pytest.mark.parametrize("path", [b"b", b"d/a", b"a/x", b"empty/x", b"d/", b"/", b"d/../a", b"."])
def test_a_path_that_is_not_there_resolves_to_nothing(path: bytes) -> None:
    async def question(tree: Tree) -> Inode | None:
        return await tree.resolve(path)

    assert asked(manifest_of(SMALL), question) is None


@pytest.mark.parametrize("position", [0, -1, 8, 1 << 40])
def test_a_position_outside_the_snapshot_is_stale(position: int) -> None:
    async def question(tree: Tree) -> None:
        with pytest.raises(StaleInodeError):
            await tree.inode(position)
        with pytest.raises(StaleInodeError):
            tree.inode_nowait(position)

    asked(manifest_of(SMALL), question)


def test_every_name_of_a_big_directory_is_found(big: bytes) -> None:
    async def question(tree: Tree) -> list[int]:
        parent = await resolved(tree, b"big")
        found = [await tree.lookup(parent, b"%05d" % number) for number in range(BIG)]
        return [inode.size for inode in found if inode]

    assert asked(big, question) == list(range(BIG))


@pytest.mark.parametrize("name", [b"", b"0", b"01023x", b"02047\xff", b"99999", b"zzz"])
def test_no_other_name_of_a_big_directory_is_found(big: bytes, name: bytes) -> None:
    async def question(tree: Tree) -> Inode | None:
        return await tree.lookup(await resolved(tree, b"big"), name)

    assert asked(big, question) is None


def test_a_lookup_in_a_directory_of_many_pages_reads_one_of_them(big: bytes) -> None:
    async def question(tree: Tree) -> int:
        parent = await resolved(tree, b"big")
        before = tree.pages_read
        await tree.lookup(parent, b"04000")
        return tree.pages_read - before

    assert asked(big, question) == 1


def test_opening_and_reading_the_root_takes_three_pages_however_big_the_tree_is(big: bytes) -> None:
    async def question(tree: Tree) -> int:
        await tree.inode(ROOT_POSITION)
        return tree.pages_read

    assert asked(big, question) == asked(manifest_of(SMALL), question) == 3


@pytest.mark.parametrize("start", [0, 1, 1021, 1022, 1023, 4999])
def test_a_listing_starts_at_any_child(big: bytes, start: int) -> None:
    async def question(tree: Tree) -> list[int]:
        parent = await resolved(tree, b"big")
        return [child.size async for batch in tree.children(parent, start) for child in batch]

    assert asked(big, question) == list(range(start, BIG))


@pytest.mark.parametrize("start", [BIG, BIG + 1, 1 << 50])
def test_a_listing_from_after_the_last_child_is_empty(big: bytes, start: int) -> None:
    async def question(tree: Tree) -> Sequence[Inode]:
        return await tree.children_from(await resolved(tree, b"big"), start)

    assert not asked(big, question)


def test_a_listing_may_be_left_before_its_end(big: bytes) -> None:
    async def question(tree: Tree) -> int:
        async for batch in tree.children(await resolved(tree, b"big")):
            return len(batch)
        return 0

    assert asked(big, question) == 1022


def test_what_is_in_memory_is_answered_without_waiting(big: bytes) -> None:
    async def question(tree: Tree) -> None:
        parent = await resolved(tree, b"big")
        expected = await tree.lookup(parent, b"04000")
        assert expected is not None
        assert tree.lookup_nowait(parent, b"04000") == expected
        assert tree.lookup_nowait(parent, b"04000x") is None
        assert tree.inode_nowait(expected.position) == expected

    asked(big, question)


def test_what_is_not_in_memory_is_said_to_be_so(big: bytes) -> None:
    async def question(tree: Tree) -> None:
        parent = await resolved(tree, b"big")
        assert tree.lookup_nowait(parent, b"04000") is NotLoaded.NOT_LOADED
        assert tree.inode_nowait(4000) is None

    asked(big, question)


def test_pages_in_memory_are_bounded_and_answers_stay_right(big: bytes) -> None:
    limit = 200_000

    async def question(tree: Tree) -> int:
        found = await walk(tree)
        assert await walk(tree) == found
        assert 0 < tree.memory_size <= limit
        return len(found)

    assert asked(big, question, cache_size=limit) == BIG + 2


def test_a_path_may_lie_on_more_pages_than_memory_holds() -> None:
    path = b"/".join([b"d"] * 3000)

    async def question(tree: Tree) -> bytes:
        assert tree.path_of_nowait(3001) is None
        return await tree.path_of(3001)

    assert asked(manifest_of({path: Directory()}), question, cache_size=1) == path


def test_a_path_in_memory_is_answered_without_waiting() -> None:
    async def question(tree: Tree) -> bytes | None:
        return tree.path_of_nowait((await resolved(tree, b"d/e/c")).position)

    assert asked(manifest_of(SMALL), question) == b"d/e/c"


def test_another_snapshot_than_the_one_asked_for_is_refused() -> None:
    async def question(tree: Tree) -> None:
        assert isinstance(await Tree.open(source, tree.snapshot_id), Tree)
        with pytest.raises(ManifestForeignError):
            await Tree.open(source, "0" * 40)

    data = manifest_of(SMALL)
    source = MemorySource(data)
    asked(data, question)


def test_the_hashes_of_a_files_chunks_come_back_by_number() -> None:
    hashes = b"".join(number.to_bytes(8, "little") for number in range(20_000))
    nodes: dict[bytes, Node] = {
        b"a": File(size=1, hashes=bytes(8)),
        b"huge": File(size=20_000 << 22, hashes=hashes),
        b"none": File(size=1),
    }

    async def question(tree: Tree) -> None:
        huge, none = await resolved(tree, b"huge"), await resolved(tree, b"none")
        assert await tree.contents.chunk_hashes(huge, 8190, 8194) == [8190, 8191, 8192, 8193]
        assert await tree.contents.chunk_hashes(huge, 19_999, 30_000) == [19_999]
        assert await tree.contents.chunk_hashes(none, 0, 1) is None

    asked(manifest_of(nodes), question)


WITHIN = Extent(1, 4, 6)


WHOLE = StoredObject(Place.SOURCE, "whole.bin", 100, None, 4096)
PACK = StoredObject(Place.REPOSITORY, "packs/1", 10, "etag", 512)


def packed_manifest(extent: Extent = WITHIN) -> bytes:
    builder = ManifestBuilder()
    builder.add_file(b"small", 6, 7, 0o644, "v")
    builder.add_file(b"whole.bin", 100, 7, 0o644, "v", (5).to_bytes(8, "little"))
    packing = Packing()
    packing.add_object(WHOLE)
    packing.add_object(PACK, (7).to_bytes(8, "little"))
    packing.place(2, extent)
    return written(builder, INFO, packing)[1]


def test_a_packed_file_leads_to_its_object_and_the_objects_hashes() -> None:
    async def question(tree: Tree) -> None:
        inode = await resolved(tree, b"small")
        assert (inode.extent, inode.version) == (WITHIN, "v")
        assert tree.contents.object_of_nowait(WITHIN) is None
        stored = await tree.contents.object_of(WITHIN)
        assert stored == tree.contents.object_of_nowait(WITHIN) == replace(PACK, first_hash=1)
        assert await tree.contents.object_hashes(stored, 0, 1) == [7]
        whole = await tree.contents.object_of(Extent(0, 0, 100))
        assert whole == WHOLE
        assert await tree.contents.object_hashes(whole, 0, 1) is None

    asked(packed_manifest(), question)


@pytest.mark.parametrize("extent", [Extent(2, 0, 1), Extent(1, 5, 6), Extent(0, 1 << 62, 1)])
def test_an_extent_outside_its_object_is_refused(extent: Extent) -> None:
    async def question(tree: Tree) -> None:
        with pytest.raises(ManifestDamagedError):
            await tree.contents.object_of(extent)

    asked(packed_manifest(), question)


def test_the_builder_refuses_an_extent_outside_its_object() -> None:
    with pytest.raises(ValueError, match="ends after"):
        packed_manifest(Extent(1, 5, 6))


async def resolved(tree: Tree, path: bytes) -> Inode:
    inode = await tree.resolve(path)
    assert inode is not None
    return inode
