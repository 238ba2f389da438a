"""What a source holds: local trees as they lie, object stores by the rules for names."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from cachesvc.objectstore.protocol import ObjectInfo
from vfs.errors import SourceUnreadableError
from vfs.snapshots.listing import Listed, ListedKind, Listing
from vfs.snapshots.locallisting import LocalListing
from vfs.snapshots.names import SkipReason
from vfs.snapshots.objectlisting import ObjectListing
from vfs.snapshots.spool import Spool

MTIME_NS = 1_600_000_000_123_456_789


def listed(listing: Listing) -> dict[bytes, Listed]:
    async def collect() -> list[Listed]:
        return [entry async for batch in listing.batches() for entry in batch]

    entries = list(listing.visible(anyio.run(collect)))
    by_path = {entry.path: entry for entry in entries}
    assert len(by_path) == len(entries)
    return by_path


def local(root: Path, *left_out: bytes) -> dict[bytes, Listed]:
    return listed(LocalListing(str(root), frozenset(left_out)))


def test_a_local_file_is_listed_with_size_mode_and_mtime(tmp_path: Path) -> None:
    file = tmp_path / "d" / "run.sh"
    file.parent.mkdir()
    file.write_bytes(b"#!/bin/sh\n")
    file.chmod(0o750)
    os.utime(file, ns=(MTIME_NS, MTIME_NS))
    assert local(tmp_path)[b"d/run.sh"] == Listed(
        ListedKind.FILE, b"d/run.sh", 10, MTIME_NS, 0o750, str(MTIME_NS)
    )


def test_the_root_comes_first_and_empty_directories_are_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o700)
    entries = local(tmp_path)
    assert list(entries) == [b"", b"empty"]
    assert entries[b"empty"].kind is ListedKind.DIRECTORY
    assert entries[b"empty"].mode == 0o700


def test_symlinks_are_kept_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "out").symlink_to("/etc")
    os.symlink(b"dangling-\xff", os.fsencode(tmp_path) + b"/broken")
    entries = local(tmp_path)
    assert {path: entries[path].target for path in entries if path} == {
        b"loop": b".",
        b"out": b"/etc",
        b"broken": b"dangling-\xff",
    }
    assert all(entry.kind is ListedKind.SYMLINK for path, entry in entries.items() if path)


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    name = b"caf\xe9\n\x01"
    (tmp_path / os.fsdecode(name)).touch()
    assert name in local(tmp_path)


def test_special_files_are_left_out_and_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        listing = LocalListing(str(tmp_path))
        assert list(listed(listing)) == [b""]
    assert listing.skipped.counts == {SkipReason.SPECIAL_FILE: 2}


def test_the_repository_is_left_out_at_its_place_only(tmp_path: Path) -> None:
    for place in (".headrace/refs", "d/.headrace", "meta/repo"):
        (tmp_path / place).mkdir(parents=True)
    found = local(tmp_path, b".headrace", b"meta/repo")
    assert set(found) == {b"", b"d", b"d/.headrace", b"meta"}


def test_a_source_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadableError, match=r"nowhere: No such file or directory"):
        local(tmp_path / "nowhere")


def test_a_source_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceUnreadableError, match="is not a directory"):
        local(tmp_path / "file")


def test_a_directory_that_may_not_be_read_is_an_error(short_path: Path) -> None:
    """Root may read everything, so the listing runs as another user."""
    (short_path / "secret").mkdir(mode=0)
    if os.geteuid() == 0:
        short_path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(SourceUnreadableError, match=r"secret: Permission denied"):
            local(short_path)
    finally:
        if os.geteuid() == 65534:
            os.seteuid(0)


def test_a_directory_that_vanishes_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vfs.snapshots.locallisting.BATCH_COUNT", 1)
    gone = tmp_path / "gone"
    gone.mkdir()
    listing = LocalListing(str(tmp_path))

    async def remove_when_listed() -> None:
        async for batch in listing.batches():
            if any(entry.path == b"gone" for entry in batch):
                gone.rmdir()

    anyio.run(remove_when_listed)
    assert listing.skipped.counts == {SkipReason.VANISHED: 1}


def test_many_entries_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfs.snapshots.locallisting.BATCH_COUNT", 3)
    for number in range(10):
        (tmp_path / str(number)).touch()

    async def sizes() -> list[int]:
        return [len(batch) async for batch in LocalListing(str(tmp_path)).batches()]

    assert anyio.run(sizes) == [3, 3, 3, 2]


class Keys:
    """A store of which only the listing is asked."""

    def __init__(self, *keys: str, size: int = 1) -> None:
        self._infos = [ObjectInfo(key, size, "etag", MTIME_NS) for key in keys]

    async def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        for info in self._infos:
            if info.key.startswith(prefix):
                yield [info]


def objects(
    *keys: str, left_out: Sequence[bytes] = (), size: int = 1
) -> tuple[Listing, set[bytes]]:
    listing = ObjectListing(Keys(*keys, size=size), frozenset(left_out))  # type: ignore[arg-type]
    return listing, set(listed(listing))


@pytest.mark.parametrize("keys", [("a", "a/b"), ("a/b", "a"), ("a", "a/"), ("a", "a-", "a/b/c")])
def test_a_directory_hides_a_file_of_the_same_name(keys: tuple[str, ...]) -> None:
    """Whatever the order of the listing."""
    listing = ObjectListing(Keys(*keys))  # type: ignore[arg-type]
    files = {path for path, entry in listed(listing).items() if entry.kind is ListedKind.FILE}
    assert files == {key.encode() for key in keys} - {b"a", b"a/"}
    assert listing.skipped.counts[SkipReason.SHADOWED] == 1


def test_an_object_has_a_files_mode_and_its_version() -> None:
    listing = ObjectListing(Keys("d/a"))  # type: ignore[arg-type]
    assert listed(listing) == {b"d/a": Listed(ListedKind.FILE, b"d/a", 1, MTIME_NS, 0o644, "etag")}


def test_a_key_that_ends_in_a_slash_is_a_directory() -> None:
    listing, paths = objects("d/e/", size=0)
    assert paths == {b"d/e"}
    assert not listing.skipped.counts


def test_content_of_a_directory_marker_is_counted() -> None:
    listing, paths = objects("d/", size=7)
    assert paths == {b"d"}
    assert listing.skipped.counts == {SkipReason.MARKER_CONTENT: 1}


def test_keys_that_are_no_paths_are_skipped_and_hide_nothing_else() -> None:
    listing, paths = objects("a//b", "../c", "a/./d", "x" * 256, "nul\0", "", "a/b", "good")
    assert paths == {b"a/b", b"good"}
    assert listing.skipped.counts.total() == 5


def test_the_repositorys_objects_are_left_out() -> None:
    listing, paths = objects(
        ".headrace/",
        ".headrace/refs/main",
        ".headrace2/a",
        "d/.headrace/b",
        left_out=[b".headrace"],
    )
    assert paths == {b".headrace2/a", b"d/.headrace/b"}
    assert not listing.skipped.counts


def test_a_spool_gives_back_what_was_put_in() -> None:
    batches = [
        [
            Listed(ListedKind.FILE, b"a\xff", 5, -1, 0o644, "v\udcff"),
            Listed(ListedKind.SYMLINK, b"l", 2, 0, 0o777, target=b"to"),
        ],
        [Listed(ListedKind.DIRECTORY, b"", 0, MTIME_NS, 0o755)],
    ]
    with closing(Spool()) as spool:
        for batch in batches:
            spool.append(batch)
        assert list(spool.batches()) == batches
        assert list(spool.batches()) == batches
        assert (spool.entry_count, spool.file_bytes) == (3, 5)
