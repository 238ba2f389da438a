"""Publishing with packs, from real directories into real local repositories."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from cachesvc.chunk import checksum
from cachesvc.errors import ObjectChangedError
from cachesvc.objectstore.local import LocalStore
from tests.fakes.manifests import walk
from tests.fault.publisher import Silence
from vfs.manifest.difference import difference
from vfs.manifest.inode import Inode
from vfs.manifest.stored import StoredObject
from vfs.manifest.tree import Tree
from vfs.snapshots.dataset import Dataset, parse_dataset
from vfs.snapshots.packplan import PackOptions
from vfs.snapshots.packs import PACK_CHUNK_SIZE, digests_of
from vfs.snapshots.publish import Published, PublishOptions, publish
from vfs.snapshots.repository import opened_repository

PACK = PackOptions()
SIZES = {b"a": 3_000, b"b": 70_000, b"d/c": 300_000, b"d/e": 1, b"empty": 0, b"large": 1 << 20}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name, size in SIZES.items():
        path = root / name.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(size))
    return root


def dataset_of(source: Path) -> Dataset:
    return parse_dataset(str(source), None, {})


def published(
    source: Path, packing: PackOptions | None = PACK, *, hashed: bool = False
) -> Published:
    options = PublishOptions(packing=packing, hashed=hashed)
    return anyio.run(publish, dataset_of(source), options, Silence())


def packs_of(source: Path) -> dict[str, bytes]:
    directory = source / ".headrace" / "packs"
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*"))}


async def packed(tree: Tree) -> dict[bytes, tuple[Inode, StoredObject]]:
    """Return the packed files of a tree and their packs."""
    found = {}
    for path, inode in (await walk(tree)).items():
        if inode.extent is not None:
            found[path] = inode, await tree.contents.object_of(inode.extent)
    return found


def packed_files(source: Path, snapshot_id: str) -> dict[bytes, tuple[Inode, StoredObject]]:
    async def look() -> dict[bytes, tuple[Inode, StoredObject]]:
        async with opened_repository(dataset_of(source).repository) as repository:
            return await packed(await repository.open(snapshot_id))

    return anyio.run(look)


def contents(source: Path, snapshot_id: str) -> dict[bytes, bytes]:
    """Return the bytes of the packed files as the manifest says that they lie."""
    packs = packs_of(source)
    found = {}
    for path, (inode, stored) in packed_files(source, snapshot_id).items():
        assert inode.extent is not None
        start = inode.extent.offset
        found[path] = packs[stored.key.removeprefix("packs/")][start : start + inode.size]
    return found


def differing(source: Path, old: str, new: str) -> list[bytes]:
    async def compare() -> list[bytes]:
        async with opened_repository(dataset_of(source).repository) as repository:
            a, b = await repository.open(old), await repository.open(new)
            return [change.path async for change in difference(a, b)]

    return anyio.run(compare)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count which files of the source are read."""
    counted: Counter[str] = Counter()
    original = LocalStore.get_range

    async def counting(
        self: LocalStore, key: str, start: int, stop: int, version: str | None
    ) -> bytes:
        if not key.startswith(("snapshots/", "refs/")):
            counted[key] += 1
        return await original(self, key, start, stop, version)

    monkeypatch.setattr(LocalStore, "get_range", counting)
    return counted


def test_small_files_lie_in_a_pack_as_they_are_and_the_others_stay(source: Path) -> None:
    outcome = published(source)
    small = {name for name, size in SIZES.items() if 0 < size < 1 << 20}
    found = contents(source, outcome.snapshot_id)
    assert found == {name: (source / name.decode()).read_bytes() for name in small}
    assert (outcome.packed.file_count, outcome.packed.packs_made) == (len(small), 1)


def test_a_pack_is_named_by_its_content_and_hashed_chunk_by_chunk(source: Path) -> None:
    for number in range(3):
        (source / f"more{number}").write_bytes(os.urandom(900_000))
    outcome = published(source)
    ((name, content),) = packs_of(source).items()
    (source / "copy").write_bytes(content)
    assert name == digests_of(source / "copy")[0]

    async def hashes() -> Sequence[int] | None:
        async with opened_repository(dataset_of(source).repository) as repository:
            tree = await repository.open(outcome.snapshot_id)
            _, stored = next(iter((await packed(tree)).values()))
            return await tree.contents.object_hashes(stored, 0, stored.chunk_count)

    starts = range(0, len(content), PACK_CHUNK_SIZE)
    assert len(starts) > 1
    assert anyio.run(hashes) == [checksum(content[at : at + PACK_CHUNK_SIZE]) for at in starts]


def test_packing_changes_nothing_that_can_be_seen(source: Path) -> None:
    plain = published(source, None)
    packed_too = published(source)
    assert packed_too.moved
    assert packed_too.written.root_digest == plain.written.root_digest
    differing_paths = differing(source, plain.snapshot_id, packed_too.snapshot_id)
    assert differing_paths == [b""]  # its mtime: the repository came to lie in it


def test_publishing_the_same_again_reads_nothing_and_moves_nothing(
    source: Path, reads: Counter[str]
) -> None:
    first = published(source)
    reads.clear()
    again = published(source)
    assert (again.moved, again.snapshot_id) == (False, first.snapshot_id)
    assert not reads


def test_only_what_is_new_or_changed_is_read_and_packed(source: Path, reads: Counter[str]) -> None:
    first = published(source)
    (source / "b").write_bytes(b"other")
    (source / "d" / "new").write_bytes(b"new")
    (source / "a").unlink()
    reads.clear()
    second = published(source)
    assert set(reads) == {"b", "d/new"}
    assert (second.packed.files_packed, second.packed.packs_made) == (2, 1)
    assert contents(source, second.snapshot_id) == {
        name: (source / name.decode()).read_bytes() for name in (b"b", b"d/c", b"d/e", b"d/new")
    }
    before = packed_files(source, first.snapshot_id)[b"d/c"]
    after = packed_files(source, second.snapshot_id)[b"d/c"]
    assert before[1].key == after[1].key


def test_a_snapshot_without_packs_follows_one_with_packs_when_something_changed(
    source: Path,
) -> None:
    published(source)
    assert not published(source, None).moved
    (source / "a").write_bytes(b"other")
    plain = published(source, None)
    assert packed_files(source, plain.snapshot_id) == {}


def test_a_given_order_comes_first_and_the_rest_follows_by_directory(source: Path) -> None:
    outcome = published(source, PackOptions(order={b"d/e": 0, b"missing": 1, b"b": 2}))
    found = packed_files(source, outcome.snapshot_id)
    by_offset = sorted(found, key=lambda path: found[path][0].extent or (0, 0, 0))
    assert by_offset == [b"d/e", b"b", b"a", b"d/c"]


def test_packs_are_as_large_as_they_may_be_and_no_larger(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vfs.snapshots.packplan.PACK_SIZE", 300_001)
    outcome = published(source)
    assert sorted(map(len, packs_of(source).values())) == [73_000, 300_001]
    assert contents(source, outcome.snapshot_id)[b"a"] == (source / "a").read_bytes()


def test_hashes_of_the_files_themselves_are_kept_beside_those_of_the_pack(source: Path) -> None:
    plain = published(source, None, hashed=True)
    both = published(source, hashed=True)
    assert both.written.root_digest == plain.written.root_digest
    assert packed_files(source, both.snapshot_id)[b"a"][0].hashed


def test_a_file_that_changes_while_it_is_packed_is_named_and_nothing_is_published(
    source: Path,
) -> None:
    first = published(source)
    (source / "a").write_bytes(b"second")
    changer = Changer(source / "a")
    with pytest.raises(ObjectChangedError, match="source/a"):
        anyio.run(publish, dataset_of(source), PublishOptions(packing=PackOptions()), changer)
    assert len(packs_of(source)) == 1
    assert not published_ref_moved(source, first)


class Changer(Silence):
    """Rewrites a file when packing begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, step: object, total: int | None) -> None:
        if str(step) == "packing":
            self._path.write_bytes(b"third!")
            os.utime(self._path, ns=(1, 1))


def published_ref_moved(source: Path, first: Published) -> bool:
    async def look() -> bool:
        async with opened_repository(dataset_of(source).repository) as repository:
            return (await repository.find("main")).snapshot_id != first.snapshot_id

    return anyio.run(look)


def test_a_pack_that_is_there_already_is_not_uploaded_again(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(source)
    (source / ".headrace" / "refs" / "main").unlink()
    uploads = Counter[str]()
    original = LocalStore.put_file

    async def counting(self: LocalStore, key: str, path: Path) -> None:
        uploads[key.partition("/")[0]] += 1
        await original(self, key, path)

    monkeypatch.setattr(LocalStore, "put_file", counting)
    published(source)
    assert uploads == {"snapshots": 1}


@pytest.fixture(autouse=True)
def no_temporary_files_stay(tmp_path: Path) -> Iterator[None]:
    yield
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".headrace-")] == []


def test_files_of_a_pack_that_is_gone_are_packed_anew(source: Path) -> None:
    first = published(source)
    (name,) = packs_of(source)
    (source / ".headrace" / "packs" / name).unlink()
    again = published(source)
    assert again.packed.files_packed == first.packed.files_packed
    assert contents(source, again.snapshot_id)[b"a"] == (source / "a").read_bytes()
