"""Publishing from real directories into real local repositories."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
import xxhash

from cachesvc.chunk import CHUNK_SIZE
from cachesvc.errors import ObjectChangedError, UsageError
from vfs.errors import (
    AmbiguousSnapshotError,
    RefConflictError,
    ScratchError,
    SnapshotMissingError,
    SourceNamesError,
)
from vfs.manifest.inode import Inode, Kind
from vfs.manifest.tree import Tree
from vfs.snapshots.dataset import Dataset, parse_dataset
from vfs.snapshots.largest import largest_directories
from vfs.snapshots.publish import Published, PublishOptions, Step, publish
from vfs.snapshots.repository import opened_repository

MTIME_NS = 1_600_000_000_123_456_789


@dataclass
class Watch:
    """Progress that remembers its steps and may do something when one begins."""

    on_begin: Callable[[Step], None] = lambda _: None
    steps: list[tuple[Step, int | None]] = field(default_factory=list)
    done: int = 0

    def begin(self, step: Step, total: int | None) -> None:
        self.steps.append((step, total))
        self.done = 0
        self.on_begin(step)

    def advance(self, amount: int) -> None:
        self.done += amount


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "d" / "deep").mkdir(parents=True)
    (root / "d" / "deep" / "a.txt").write_text("alpha")
    (root / "d" / "b.txt").write_text("beta")
    return root


def dataset_of(source: Path) -> Dataset:
    return parse_dataset(str(source), None, {})


def published(source: Path, watch: Watch | None = None, **options: object) -> Published:
    chosen = PublishOptions(**options)  # type: ignore[arg-type]
    return anyio.run(publish, dataset_of(source), chosen, watch or Watch())


def inodes(source: Path, name: str = "main") -> dict[bytes, Inode]:
    async def read() -> dict[bytes, Inode]:
        async with opened_repository(dataset_of(source).repository) as repository:
            return await all_inodes(await repository.open(name))

    return anyio.run(read)


async def all_inodes(tree: Tree) -> dict[bytes, Inode]:
    found = {}
    for position in range(1, tree.superblock.inode_count + 1):
        found[await tree.path_of(position)] = await tree.inode(position)
    return found


def test_a_snapshot_shows_the_source_as_it_lies(source: Path) -> None:
    (source / "empty").mkdir(mode=0o700)
    script = source / os.fsdecode(b"caf\xe9.sh")
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    os.utime(script, ns=(MTIME_NS, MTIME_NS))
    os.symlink("../nowhere", source / "d" / "link")
    published(source)
    found = inodes(source)
    assert set(found) == {
        *(b"", b"caf\xe9.sh", b"d", b"d/b.txt", b"d/deep", b"d/deep/a.txt", b"d/link", b"empty")
    }
    assert found[b"empty"].kind is Kind.DIRECTORY
    assert found[b"empty"].mode == 0o700
    assert found[b"d/link"].target == b"../nowhere"
    assert found[b"caf\xe9.sh"].mode == 0o755
    assert found[b"caf\xe9.sh"].mtime_ns == MTIME_NS
    assert found[b"caf\xe9.sh"].version == str(MTIME_NS)


def test_unchanged_content_moves_nothing(source: Path) -> None:
    first = published(source)
    second = published(source)
    assert first.moved
    assert not second.moved
    assert second.snapshot_id == first.snapshot_id
    assert len(list((source / ".headrace" / "snapshots").iterdir())) == 1


def test_changed_content_makes_a_snapshot_with_a_parent(source: Path) -> None:
    first = published(source, message="one")
    (source / "new").touch()
    second = published(source, message="two")

    async def history() -> list[tuple[str, str]]:
        async with opened_repository(dataset_of(source).repository) as repository:
            found = repository.history("main", None)
            return [(snapshot_id, block.message) async for snapshot_id, block in found]

    assert anyio.run(history) == [(second.snapshot_id, "two"), (first.snapshot_id, "one")]


def test_history_ends_where_a_snapshot_was_removed(source: Path) -> None:
    first = published(source)
    (source / "new").touch()
    second = published(source)
    (source / ".headrace" / "snapshots" / first.snapshot_id).unlink()

    async def history() -> list[str]:
        async with opened_repository(dataset_of(source).repository) as repository:
            return [snapshot_id async for snapshot_id, _ in repository.history("main", None)]

    assert anyio.run(history) == [second.snapshot_id]


def test_refs_are_independent(source: Path) -> None:
    published(source)
    (source / "new").touch()
    published(source, ref="v2")
    assert b"new" not in inodes(source, "main")
    assert b"new" in inodes(source, "v2")


def test_publishing_over_a_damaged_snapshot_makes_a_new_one(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = published(source)
    manifest = source / ".headrace" / "snapshots" / first.snapshot_id
    manifest.write_bytes(manifest.read_bytes()[:50])
    assert published(source).moved
    assert "cannot be compared with" in caplog.text
    assert b"d/b.txt" in inodes(source)


def test_hashes_of_every_chunk_are_recorded(source: Path) -> None:
    data = os.urandom(CHUNK_SIZE + 17)
    (source / "big").write_bytes(data)
    (source / "none").touch()
    published(source, hashed=True)

    async def hashes() -> tuple[bool, object, object]:
        async with opened_repository(dataset_of(source).repository) as repository:
            tree = await repository.open("main")
            big, none = await tree.resolve(b"big"), await tree.resolve(b"none")
            assert big is not None
            assert none is not None
            return (
                tree.superblock.hashed,
                await tree.contents.chunk_hashes(big, 0, 2),
                await tree.contents.chunk_hashes(none, 0, 1),
            )

    expected = [xxhash.xxh3_64_intdigest(part) for part in (data[:CHUNK_SIZE], data[CHUNK_SIZE:])]
    hashed, of_big, of_none = anyio.run(hashes)
    assert (hashed, of_big, of_none) == (True, expected, None)


def test_a_file_that_changes_while_it_is_hashed_ends_the_publication(source: Path) -> None:
    def rewrite(step: Step) -> None:
        if step is Step.HASH:
            (source / "d" / "b.txt").write_text("other")

    with pytest.raises(ObjectChangedError, match=r"b\.txt"):
        published(source, Watch(rewrite), hashed=True)
    assert not (source / ".headrace").exists()


def test_progress_counts_entries_and_bytes(source: Path) -> None:
    watch = Watch()
    published(source, watch, hashed=True)
    last = [(Step.WRITE, None), (Step.UPLOAD, None)]
    assert watch.steps == [(Step.LIST, None), (Step.HASH, 9), *last]
    (source / "new").touch()
    watch.steps.clear()
    published(source, watch)
    assert watch.steps == [(Step.LIST, None), (Step.SORT, 6), *last]


def test_the_loser_of_a_race_is_told_who_won_and_changes_nothing(source: Path) -> None:
    """The other publisher moves the ref after this one read it and before it moves it."""
    winners: list[Published] = []

    def overtake(step: Step) -> None:
        if step is Step.LIST and not winners:
            other = source.parent / "other"
            other.mkdir()
            dataset = parse_dataset(str(other), str(source / ".headrace"), {})
            with anyio.from_thread.start_blocking_portal() as portal:
                winners.append(portal.call(publish, dataset, PublishOptions(), Watch()))

    with pytest.raises(RefConflictError) as caught:
        published(source, Watch(overtake))
    assert winners[0].snapshot_id in str(caught.value)
    assert "publish again" in str(caught.value)
    assert set(inodes(source)) == {b""}


def test_a_repository_elsewhere_is_used_and_left_out_if_inside(source: Path) -> None:
    dataset = parse_dataset(str(source), str(source / "meta" / "repo"), {})
    for _ in range(2):
        (source / "new").write_text(os.urandom(4).hex())
        outcome = anyio.run(publish, dataset, PublishOptions(), Watch())
    assert (source / "meta" / "repo" / "refs" / "main").exists()
    assert outcome.written.file_count == 3


def test_a_source_cannot_be_its_own_repository(source: Path) -> None:
    dataset = parse_dataset(str(source), str(source), {})
    with pytest.raises(UsageError, match="cannot be its own repository"):
        anyio.run(publish, dataset, PublishOptions(), Watch())


def test_strict_refuses_what_cannot_be_shown(source: Path) -> None:
    os.mkfifo(source / "fifo")
    with pytest.raises(SourceNamesError, match=r"1 that are sockets.*fifo"):
        published(source, strict=True)
    assert not (source / ".headrace").exists()
    assert published(source).skipped.counts.total() == 1


def test_a_full_temporary_directory_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(ScratchError, match=r"/proc/nowhere.*TMPDIR"):
        published(source)


def test_no_temporary_file_is_left_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    seen: list[list[Path]] = []
    published(source, Watch(lambda _: seen.append(list(scratch.iterdir()))))
    assert seen == [[]] * 4


def test_snapshots_are_found_by_ref_id_and_unique_start(source: Path) -> None:
    wanted = published(source).snapshot_id
    snapshots = source / ".headrace" / "snapshots"
    (snapshots / (wanted[:8] + "f" * 32)).touch()

    async def find(name: str) -> str:
        async with opened_repository(dataset_of(source).repository) as repository:
            return (await repository.find(name)).snapshot_id

    for name in ("main", wanted, wanted[:9] if wanted[8] != "f" else wanted[:39]):
        assert anyio.run(find, name) == wanted
    with pytest.raises(AmbiguousSnapshotError, match="start of 2 snapshots"):
        anyio.run(find, wanted[:8])
    for name in ("nope", "0" * 40, wanted[:3], "../main", ""):
        with pytest.raises(SnapshotMissingError):
            anyio.run(find, name)


def test_the_largest_directories_are_found(source: Path) -> None:
    for name, size in (("x/y/z", 100), ("x/small", 5), ("big", 500)):
        (source / name).mkdir(parents=True)
        (source / name / "data").write_bytes(bytes(size))
    published(source)

    async def largest(count: int) -> list[tuple[bytes, int]]:
        async with opened_repository(dataset_of(source).repository) as repository:
            tree = await repository.open("main")
            found = await largest_directories(tree, count)
            return [(each.path, each.inode.bytes_below) for each in found]

    every = [(b"big", 500), (b"x", 105), (b"x/y", 100), (b"x/y/z", 100), (b"d", 9)]
    assert anyio.run(largest, 5) == every
    assert anyio.run(largest, 2) == every[:2]
    assert anyio.run(largest, 0) == []
