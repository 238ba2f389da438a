"""ManifestBuilder: implied parents, collisions, digests, and memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from cachesvc.errors import UsageError
from tests.fakes.manifests import (
    INFO,
    Directory,
    File,
    Node,
    Symlink,
    asked,
    manifest_of,
    read_back,
    walk,
    written,
)
from vfs.errors import InvalidNameError, NameCollisionError
from vfs.manifest.builder import ManifestBuilder, SnapshotInfo
from vfs.manifest.collected import CollectedDirectory
from vfs.manifest.inode import Inode
from vfs.manifest.superblock import Superblock
from vfs.manifest.tree import Tree

CHUNK = 1 << 22


def inodes_of(nodes: dict[bytes, Node]) -> dict[bytes, Inode]:
    return asked(manifest_of(nodes), walk)


def root_digest_of(nodes: dict[bytes, Node], info: SnapshotInfo = INFO) -> bytes:
    return superblock_of(manifest_of(nodes, info)).root_digest


def superblock_of(data: bytes) -> Superblock:
    async def question(tree: Tree) -> Superblock:
        return tree.superblock

    return asked(data, question)


def test_every_kind_of_node_comes_back_as_it_was_added() -> None:
    nodes: dict[bytes, Node] = {
        b"a": File(5, 11, 0o600, "ab" * 16),
        b"d": Directory(3, 0o700),
        b"d/\xff\xfe": File(0, -5, 0o4755, None),
        b"d/l": Symlink(b"../a", 9, 0o777),
        b"e": Directory(4, 0o1777),
    }
    assert asked(manifest_of(nodes), read_back) == nodes


def test_parents_that_were_not_added_are_made_with_the_time_of_their_newest_child() -> None:
    found = inodes_of({b"a/b/c": File(mtime_ns=50), b"a/d": File(mtime_ns=9)})
    assert (found[b"a"].mode, found[b"a"].mtime_ns, found[b"a/b"].mtime_ns) == (0o755, 50, 50)
    assert found[b""].mtime_ns == 50


def test_a_directory_may_be_added_after_what_lies_in_it() -> None:
    found = inodes_of({b"a/b": File(mtime_ns=50), b"a": Directory(3, 0o700)})
    assert (found[b"a"].mode, found[b"a"].mtime_ns) == (0o700, 3)


def test_the_root_may_be_added_too() -> None:
    found = inodes_of({b"": Directory(3, 0o711), b"a": File(mtime_ns=50)})
    assert (found[b""].mode, found[b""].mtime_ns) == (0o711, 3)


def test_an_empty_dataset_is_a_root_without_children() -> None:
    found = inodes_of({})
    assert [(inode.position, inode.child_count) for inode in found.values()] == [(1, 0)]


@pytest.mark.parametrize(
    "paths", [(b"d/a", b"d/a"), (b"d/a", b"d/b", b"d/a"), (b"d/a", b"d/a/x"), (b"d/a/x", b"d/a")]
)
def test_two_things_of_one_path_are_refused_by_name(paths: tuple[bytes, ...]) -> None:
    builder = ManifestBuilder()
    for path in paths:
        builder.add_file(path, 0, 0, 0o644, None)
    with pytest.raises(NameCollisionError, match="d/a"):
        written(builder)


def test_a_directory_that_is_added_twice_is_refused() -> None:
    builder = ManifestBuilder()
    builder.add_directory(b"a", 0, 0o755)
    with pytest.raises(NameCollisionError):
        builder.add_directory(b"a", 0, 0o755)


@pytest.mark.parametrize(
    "path", [b"", b"/a", b"a/", b"a//b", b"./a", b"a/../b", b"..", b"a\0", b"x" * 256]
)
def test_paths_that_no_file_system_has_are_refused(path: bytes) -> None:
    with pytest.raises(InvalidNameError):
        ManifestBuilder().add_file(path, 0, 0, 0o644, None)


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * 4096])
def test_targets_that_no_symlink_has_are_refused(target: bytes) -> None:
    with pytest.raises(InvalidNameError):
        ManifestBuilder().add_symlink(b"l", target, 0, 0o777)


@pytest.mark.parametrize("size", [-1, 1 << 63])
def test_sizes_that_no_file_has_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        ManifestBuilder().add_file(b"a", size, 0, 0o644, None)


def test_times_beyond_64_bits_become_the_nearest_that_fits() -> None:
    found = inodes_of({b"a": File(mtime_ns=1 << 70), b"b": File(mtime_ns=-(1 << 70))})
    assert (found[b"a"].mtime_ns, found[b"b"].mtime_ns) == ((1 << 63) - 1, 1 - (1 << 63))


def test_the_order_of_adding_does_not_matter() -> None:
    nodes: dict[bytes, Node] = {
        b"%d/%d/%d" % (n % 3, n % 5, n): File(n, n, version=f"v{n}") for n in range(200)
    }
    shuffled = list(nodes.items())
    random.Random(0).shuffle(shuffled)
    assert manifest_of(nodes) == manifest_of(dict(shuffled))


def test_equal_content_has_an_equal_digest_wherever_it_lies() -> None:
    inside: dict[bytes, Node] = {b"x": File(1), b"sub/y": Symlink(b"x")}
    found = inodes_of(
        {b"zz/zz": File(9)}
        | {b"one/" + path: node for path, node in inside.items()}
        | {b"deep/two/" + path: node for path, node in inside.items()}
    )
    assert found[b"one"].digest == found[b"deep/two"].digest != found[b"zz"].digest


def test_publishing_the_same_again_gives_the_same_root_digest_but_another_snapshot() -> None:
    later = SnapshotInfo("file:///data", 2, "again", "ab" * 20)
    nodes: dict[bytes, Node] = {b"a": File(1), b"d/b": File(2)}
    assert root_digest_of(nodes) == root_digest_of(nodes, later)
    assert manifest_of(nodes) != manifest_of(nodes, later)


def test_the_time_of_the_root_itself_is_not_part_of_its_digest() -> None:
    """A repository inside the dataset's root touches the root at each publish."""
    touched: dict[bytes, Node] = {b"": Directory(99), b"a": File(1)}
    assert root_digest_of(touched) == root_digest_of({b"": Directory(1), b"a": File(1)})


@pytest.mark.parametrize(
    "node",
    [
        File(2),
        File(1, mtime_ns=8),
        File(1, mode=0o755),
        File(1, version="v2"),
        File(1, hashes=bytes(8)),
        Symlink(b"a"),
        Directory(),
    ],
)
def test_any_visible_change_changes_the_root_digest(node: Node) -> None:
    assert root_digest_of({b"d/a": File(1)}) != root_digest_of({b"d/a": node})


def test_other_hashes_change_the_root_digest() -> None:
    one, other = File(1, hashes=b"a" * 8), File(1, hashes=b"b" * 8)
    assert root_digest_of({b"a": one}) != root_digest_of({b"a": other})


def test_the_superblock_counts_what_was_added() -> None:
    nodes: dict[bytes, Node] = {b"a": File(5), b"d/b": File(7), b"l": Symlink(b"a")}
    info = SnapshotInfo("s3://h/b", 12, "message", "cd" * 20)
    block = superblock_of(manifest_of(nodes, info))
    assert (block.file_count, block.directory_count, block.symlink_count) == (2, 2, 1)
    assert (block.total_bytes, block.source, block.message) == (12, "s3://h/b", "message")
    assert (block.parent, block.created_ns, block.hashed) == ("cd" * 20, 12, False)


def test_every_directory_counts_what_lies_below_it() -> None:
    found = inodes_of({b"a/b": File(5), b"a/c/d": File(7), b"e": File(1)})
    below = {path: (node.files_below, node.bytes_below) for path, node in found.items()}
    assert (below[b""], below[b"a"], below[b"a/c"]) == ((3, 13), (2, 12), (1, 7))


def test_hashes_of_a_wrong_number_are_refused() -> None:
    with pytest.raises(ValueError, match="chunks"):
        ManifestBuilder().add_file(b"a", CHUNK + 1, 0, 0o644, None, bytes(8))


def test_a_hashed_snapshot_refuses_a_file_without_hashes() -> None:
    builder = ManifestBuilder()
    builder.add_file(b"empty", 0, 0, 0o644, None, b"")
    builder.add_file(b"a", 1, 0, 0o644, None)
    with pytest.raises(ValueError, match="1 files"):
        written(builder, SnapshotInfo("file:///data", 1, hashed=True))


def test_an_etag_that_is_absurdly_long_is_refused_rather_than_written_unreadably() -> None:
    builder = ManifestBuilder()
    builder.add_file(b"a", 1, 0, 0o644, "x" * (17 << 20))
    with pytest.raises(InvalidNameError, match="too long"):
        written(builder)


def test_a_message_that_no_superblock_holds_is_refused() -> None:
    with pytest.raises(UsageError, match="message is too long"):
        written(ManifestBuilder(), SnapshotInfo("file:///data", 1, "x" * (1 << 16)))


def test_memory_is_less_than_150_bytes_and_the_name_for_each_file() -> None:
    count = 20_000
    builder = ManifestBuilder()
    tracemalloc.start()
    for number in range(count):
        builder.add_file(b"d%d/%020d" % (number // 1000, number), 1, number, 0o644, "ab" * 16)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / count < 150


def test_a_collected_directory_knows_its_path() -> None:
    root = CollectedDirectory(b"", None)
    assert root.add_subdirectory(b"a").add_subdirectory(b"b").path == b"a/b"
