"""What stat(2), statvfs(3) and getxattr(2) say of a mount."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.gallery import BIG_SIZE, HUGE_SIZE, Gallery
from tests.node import Node
from vfs.mounting.mountinfo import mounted_at

_libc = ctypes.CDLL(None, use_errno=True)

SNAPSHOT, OBJECT, ETAG, CACHED = (
    f"user.headrace.{name}" for name in ("snapshot", "object", "etag", "cached_bytes")
)


def few_files(root: Path) -> Iterator[Path]:
    """Yield all paths below *root* but the many and the deep ones, relative to it."""
    for directory, directories, files in os.walk(root):
        directories[:] = [name for name in directories if name not in {"many", "deep", ".headrace"}]
        yield from (Path(directory, name).relative_to(root) for name in (*directories, *files))


def test_modes_and_times_are_the_sources(gallery: Gallery) -> None:
    """Type, size, permission bits and mtime, to the nanosecond, are those of the source."""
    for path in few_files(gallery.source):
        shown, recorded = (gallery.mount / path).lstat(), (gallery.source / path).lstat()
        assert (shown.st_mode, shown.st_mtime_ns) == (recorded.st_mode, recorded.st_mtime_ns), path
        if not stat.S_ISDIR(shown.st_mode):
            assert shown.st_size == recorded.st_size


def test_other_times_equal_the_mtime(gallery: Gallery) -> None:
    """atime and ctime equal the mtime, and reading changes none of them."""
    path = gallery.mount / "plain"
    for _ in range(2):
        status = path.stat()
        assert status.st_atime_ns == status.st_ctime_ns == status.st_mtime_ns
        path.read_bytes()


def test_everything_belongs_to_who_mounted(gallery: Gallery) -> None:
    """Everything belongs to the user and the group that mounted."""
    for path in few_files(gallery.mount):
        status = (gallery.mount / path).lstat()
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())


def test_link_counts(gallery: Gallery) -> None:
    """A file has one link, a directory two and one for each directory in it."""
    for path in few_files(gallery.mount):
        status = (gallery.mount / path).lstat()
        if stat.S_ISDIR(status.st_mode):
            below = [
                entry.is_dir(follow_symlinks=False) for entry in os.scandir(gallery.mount / path)
            ]
            assert status.st_nlink == 2 + sum(below)
        else:
            assert status.st_nlink == 1


def test_hard_links_become_files(gallery: Gallery) -> None:
    """Names that were hard links to one file in the source are files of their own."""
    first, second = (gallery.mount / "twins" / name for name in ("first", "second"))
    assert not os.path.samefile(first, second)
    assert first.read_bytes() == second.read_bytes() == b"twin"


def test_blocks_are_the_size(gallery: Gallery) -> None:
    """st_blocks is the size in whole blocks of 4 KiB, so that `du` tells what reading all moves."""
    for name, size in (("big", BIG_SIZE), ("huge", HUGE_SIZE), ("plain", 6), ("empty", 0)):
        status = (gallery.mount / name).stat()
        assert (status.st_size, status.st_blksize) == (size, 4096)
        assert status.st_blocks == -(-size // 4096) * 8


def test_a_file_system_that_is_full_and_read_only(gallery: Gallery) -> None:
    """statvfs(3) shows the snapshot's bytes and inodes, nothing free, ST_RDONLY and NAME_MAX
    255.
    """
    shown = os.statvfs(gallery.mount)
    sizes = [(gallery.source / path).lstat() for path in few_files(gallery.source)]
    total = sum(each.st_size for each in sizes if stat.S_ISREG(each.st_mode))
    total += len(b"deep down")
    assert shown.f_blocks == -(-total // shown.f_frsize)
    assert (shown.f_bfree, shown.f_bavail, shown.f_ffree, shown.f_namemax) == (0, 0, 0, 255)
    assert shown.f_files > 100_000
    assert shown.f_flag & os.ST_RDONLY


def test_the_mount_table_tells_the_source(gallery: Gallery) -> None:
    """The mount table shows type `fuse.headrace` and the source, so `df` and `findmnt` tell
    them.
    """
    info = mounted_at(gallery.mount)
    assert info is not None
    assert (info.filesystem, info.source) == ("fuse.headrace", f"headrace:file://{gallery.source}")


def test_inode_numbers_are_of_the_snapshot(node: Node, source: Path) -> None:
    """An inode number means the same file as long as the mount shows the snapshot, whoever serves
    it, and in every other mount of that snapshot too.
    """
    for number in range(20):
        (source / f"d{number % 3}").mkdir(exist_ok=True)
        (source / f"d{number % 3}" / str(number)).touch()
    node.snapshot(source)
    first = node.mount(source, name="first")
    numbers = {path: (first / path).stat().st_ino for path in few_files(first)}
    assert len(set(numbers.values())) == len(numbers) == 23
    second = node.mount(source, name="second")
    again = {path: (second / path).stat().st_ino for path in list(numbers)[:10]}
    node.kill("worker")
    again |= {path: (second / path).stat().st_ino for path in few_files(second)}
    assert again == numbers


def test_files_tell_where_they_come_from(gallery: Gallery) -> None:
    """A file's `user.headrace.object` is its object's URL, `user.headrace.etag` that object's
    version, and `user.headrace.snapshot` the snapshot, which directories have as well.
    """
    plain = gallery.mount / "plain"
    assert sorted(os.listxattr(plain)) == sorted([SNAPSHOT, OBJECT, ETAG, CACHED])
    assert os.getxattr(plain, OBJECT).decode() == f"file://{gallery.source}/plain"
    assert os.getxattr(plain, ETAG).decode() == str((gallery.source / "plain").stat().st_mtime_ns)
    for path in (plain, gallery.mount, gallery.mount / "names"):
        assert os.getxattr(path, SNAPSHOT).decode() == gallery.snapshot
    assert os.listxattr(gallery.mount) == [SNAPSHOT]


def test_symlinks_have_no_attributes(gallery: Gallery) -> None:
    """Symlinks have no extended attributes: Linux lets nobody read `user.` ones there."""
    link = gallery.mount / "links" / "dangling"
    assert os.listxattr(link, follow_symlinks=False) == []


def test_attributes_that_are_not_there(gallery: Gallery) -> None:
    """Any other extended attribute is ENODATA, and a buffer that is too small for one is ERANGE."""
    for name in ("user.other", "security.capability", "user.headrace.nothing"):
        with pytest.raises(OSError, match="plain") as caught:
            os.getxattr(gallery.mount / "plain", name)
        assert caught.value.errno == errno.ENODATA
    path = os.fsencode(gallery.mount / "plain")
    buffer = ctypes.create_string_buffer(3)
    assert _libc.getxattr(path, SNAPSHOT.encode(), buffer, 3) == -1
    assert ctypes.get_errno() == errno.ERANGE


def test_cached_bytes_grow_by_reading_only(node: Node, source: Path) -> None:
    """Bytes move when somebody reads them: mounting, listing, stat(2) and extended attributes fetch
    none, and `user.headrace.cached_bytes` tells how many of a file's are on the node.
    """
    (source / "small").write_bytes(b"s" * 1000)
    (source / "large").write_bytes(b"l" * (64 << 20))
    node.snapshot(source)
    mount = node.mount(source, "--read-ahead", "0")

    def cached(name: str) -> int:
        return int(os.getxattr(mount / name, CACHED))

    assert [path.stat().st_size for path in sorted(mount.iterdir())] == [64 << 20, 1000]
    assert (cached("small"), cached("large")) == (0, 0)
    (mount / "small").read_bytes()
    with (mount / "large").open("rb") as file:
        assert file.read(10) == b"l" * 10
    assert cached("small") == 1000
    assert 0 < cached("large") < 64 << 20


def test_cached_bytes_of_a_huge_sparse_file(node: Node, source: Path) -> None:
    """To tell `user.headrace.cached_bytes` takes time for what is on the node, not for the size of
    the file, sparse or not.
    """
    (source / "sparse").touch()
    os.truncate(source / "sparse", 15 << 40)
    node.snapshot(source)
    path = node.mount(source, "--read-ahead", "0") / "sparse"
    started = time.monotonic()
    assert int(os.getxattr(path, CACHED)) == 0
    with path.open("rb") as file:
        assert file.read(10) == bytes(10)
    assert 0 < int(os.getxattr(path, CACHED)) < 1 << 30
    assert time.monotonic() - started < 10
