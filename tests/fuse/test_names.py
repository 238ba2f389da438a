"""Names and the shape of the tree, as a mount shows them."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fuse.gallery import DEEP_NAME, LONGEST_NAME, MANY, PATH_MAX, Gallery, every_kind_of_name

_libc = ctypes.CDLL(None, use_errno=True)
_DIRENT = struct.Struct("<QqHB")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as getdents64(2) gives it; `next` is where a listing goes on after it."""

    ino: int
    next: int
    kind: int
    name: bytes


def getdents(directory: int, size: int) -> list[Entry]:
    """Return the next entries that fit in *size* bytes; none at the end."""
    buffer = ctypes.create_string_buffer(size)
    filled = _libc.getdents64(directory, buffer, size)
    assert filled >= 0, os.strerror(ctypes.get_errno())
    data, entries, at = buffer.raw[:filled], [], 0
    while at < filled:
        ino, following, length, kind = _DIRENT.unpack_from(data, at)
        name = data[at + _DIRENT.size : at + length].split(b"\0")[0]
        entries.append(Entry(ino, following, kind, name))
        at += length
    return entries


def all_entries(directory: int, size: int = 32768) -> Iterator[Entry]:
    """Yield what is left of a listing, read *size* bytes at a time."""
    while batch := getdents(directory, size):
        yield from batch


@pytest.fixture
def root(gallery: Gallery) -> Iterator[int]:
    """The mount's top directory, open."""
    directory = os.open(gallery.mount, os.O_RDONLY | os.O_DIRECTORY)
    yield directory
    os.close(directory)


def test_names_are_any_bytes(gallery: Gallery) -> None:
    """A name is any bytes but `/` and NUL, UTF-8 or not, and is shown and found byte by byte."""
    directory = os.fsencode(gallery.mount / "names")
    assert set(os.listdir(directory)) == set(every_kind_of_name())
    for name in every_kind_of_name():
        with open(os.path.join(directory, name), "rb") as file:
            assert file.read() == name


def test_a_listing_is_sorted(gallery: Gallery) -> None:
    """A directory lists `.`, `..`, and then each name once, in the order of their bytes."""
    directory = os.open(gallery.mount / "names", os.O_RDONLY)
    try:
        names = [entry.name for entry in all_entries(directory)]
    finally:
        os.close(directory)
    assert names == [b".", b"..", *sorted(every_kind_of_name())]


def test_the_longest_name(gallery: Gallery) -> None:
    """A name may have 255 bytes; to look for a longer one is ENAMETOOLONG."""
    names = gallery.mount / "names"
    assert (names / os.fsdecode(LONGEST_NAME)).stat().st_size == 255
    with pytest.raises(OSError, match="File name too long") as caught:
        (names / os.fsdecode(LONGEST_NAME + b"n")).stat()
    assert caught.value.errno == errno.ENAMETOOLONG


def test_the_deepest_path(gallery: Gallery) -> None:
    """Directories nest as deep as a path can be long (PATH_MAX, 4,096 bytes)."""
    path = str(gallery.mount / "deep")
    while "leaf" not in os.listdir(path):
        path += f"/{DEEP_NAME}"
    assert PATH_MAX - 100 < len(path) < PATH_MAX
    assert Path(path, "leaf").read_bytes() == b"deep down"


def test_many_entries_are_listed_once_each(gallery: Gallery) -> None:
    """A directory may have 100,000 entries and more; each is listed exactly once."""
    names = os.listdir(gallery.mount / "many")
    assert len(names) == MANY
    assert set(names) == {f"{number:06}" for number in range(MANY)}


def test_a_listing_can_be_left_and_taken_up_again(gallery: Gallery) -> None:
    """A listing may be read in pieces of any size, rewound, and taken up again at any entry."""
    directory = os.open(gallery.mount / "names", os.O_RDONLY)
    try:
        entries = list(all_entries(directory, 512))
        assert sorted(entry.name for entry in entries[2:]) == sorted(every_kind_of_name())
        for place in (100, 0, len(entries) - 1, 37):
            os.lseek(directory, entries[place].next, os.SEEK_SET)
            assert list(all_entries(directory)) == entries[place + 1 :]
        os.lseek(directory, 0, os.SEEK_SET)
        assert list(all_entries(directory)) == entries
    finally:
        os.close(directory)


def test_entries_tell_their_type_and_inode(gallery: Gallery, root: int) -> None:
    """Each entry of a listing tells its type and the inode number that stat(2) shows."""
    for entry in all_entries(root):
        status = os.lstat(os.fsencode(gallery.mount) + b"/" + entry.name)
        if entry.name != b"..":
            assert (entry.ino, entry.kind) == (status.st_ino, stat.S_IFMT(status.st_mode) >> 12)


def test_parents_are_where_they_belong(gallery: Gallery) -> None:
    """`..` leads to the parent, and no name of a snapshot leads out of the mount."""
    names = gallery.mount / "names"
    assert os.path.samefile(names / "..", gallery.mount)
    assert os.path.samefile(gallery.mount / "..", gallery.node.directory)


def test_symlinks_are_as_recorded(gallery: Gallery) -> None:
    """A symlink has its target's bytes as they were, dangling, long, absolute or not UTF-8."""
    for link in (gallery.source / "links").iterdir():
        shown = gallery.mount / "links" / link.name
        assert shown.is_symlink()
        assert os.readlink(os.fsencode(shown)) == os.readlink(os.fsencode(link))
        assert shown.lstat().st_size == link.lstat().st_size


def test_symlinks_are_followed_by_the_kernel(gallery: Gallery) -> None:
    """The kernel follows symlinks as on any file system: a dangling one is ENOENT, a loop ELOOP."""
    links = gallery.mount / "links"
    assert (links / "to_file").read_bytes() == b"hello\n"
    assert os.listdir(links / "to_directory") == []
    assert os.path.samefile(links / "absolute", "/etc/hostname")
    for name, code in (("dangling", errno.ENOENT), ("loop", errno.ELOOP)):
        with pytest.raises(OSError, match=name) as caught:
            os.stat(links / name)
        assert caught.value.errno == code


def test_empty_files_and_directories(gallery: Gallery) -> None:
    """Empty files and empty directories are there, as in the source."""
    assert (gallery.mount / "empty").read_bytes() == b""
    assert os.listdir(gallery.mount / "emptydir") == []


def test_a_name_that_is_not_there(gallery: Gallery) -> None:
    """A name that is not in the snapshot is ENOENT, below a file ENOTDIR."""
    for path, code in (("absent", errno.ENOENT), ("plain/absent", errno.ENOTDIR)):
        with pytest.raises(OSError, match="absent") as caught:
            os.stat(gallery.mount / path)
        assert caught.value.errno == code


def test_the_repository_is_not_shown(gallery: Gallery) -> None:
    """A source's own `.headrace` directory is not part of its snapshots."""
    assert (gallery.source / ".headrace").is_dir()
    assert not (gallery.mount / ".headrace").exists()
