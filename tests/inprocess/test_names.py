"""What a snapshot holds, as fsspec's calls tell it; and that nothing of it can be changed."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

import vfs
from cachesvc.errors import UsageError
from tests.inprocess.conftest import NAMES, Desk
from vfs.errors import SnapshotMissingError
from vfs.inprocess.filesystem import HeadraceFileSystem


def test_the_tree(fs: HeadraceFileSystem, source: Path) -> None:
    """ls, find, glob and walk tell the names, and info the sizes and times, of the source."""
    assert fs.ls("", detail=False) == ["empty", "large", "small", "sub"]
    assert fs.ls("/sub/", detail=False) == ["sub/deep", "sub/one", "sub/two"]
    assert fs.find("") == sorted(NAMES)
    assert fs.find("sub", withdirs=True, maxdepth=1) == ["sub", "sub/deep", "sub/one", "sub/two"]
    assert fs.glob("**/t*") == ["sub/deep/er/three", "sub/two"]
    assert [(base, sorted(files)) for base, _, files in fs.walk("sub")] == [
        ("sub", ["one", "two"]),
        ("sub/deep", []),
        ("sub/deep/er", ["three"]),
    ]
    assert {name: fs.size(name) for name in NAMES} == NAMES
    assert fs.du("") == sum(NAMES.values())
    status = (source / "small").stat()
    told = fs.info("small")
    assert (told["mode"], round(told["mtime"], 3)) == (status.st_mode, round(status.st_mtime, 3))
    assert fs.modified("small").timestamp() == pytest.approx(status.st_mtime)


def test_what_is_where(fs: HeadraceFileSystem) -> None:
    """exists, isdir and isfile; what is missing, or below a file, is the error of a local file."""
    assert fs.isdir("sub/deep")
    assert fs.isfile("sub/one")
    assert not fs.isfile("sub")
    assert not fs.exists("sub/nothing")
    assert not fs.exists("small/below")
    with pytest.raises(FileNotFoundError):
        fs.info("nothing")
    with pytest.raises(NotADirectoryError):
        fs.cat_file("small/below")
    with pytest.raises(IsADirectoryError):
        fs.open("sub")
    assert fs.ls("small", detail=False) == ["small"]


def test_symlinks(desk: Desk) -> None:
    """Symlinks are followed within the snapshot; those that lead out, or round, lead nowhere."""
    place = desk.node.directory / "links"
    (place / "real" / "deep").mkdir(parents=True)
    (place / "real" / "file").write_bytes(b"content")
    (place / "real" / "deep" / "up").symlink_to("../file")
    (place / "way").symlink_to("real/deep")
    (place / "out").symlink_to("/etc/hostname")
    (place / "above").symlink_to("../../etc/hostname")
    (place / "round").symlink_to("round")
    desk.publish(place)
    fs = desk.open(place)
    assert fs.cat_file("way/up") == b"content"
    assert fs.cat_file("way/../file") == b"content"
    told = fs.info("real/deep/up")
    assert (told["type"], told["size"], told["islink"], told["destination"]) == (
        "file",
        7,
        True,
        "../file",
    )
    assert fs.info("way")["type"] == "directory"
    assert {entry["name"]: entry["type"] for entry in fs.ls("")}["way"] == "link"
    assert fs.find("") == ["real/deep/up", "real/file"]
    assert fs.find("", detail=True).keys() == {"real/deep/up", "real/file"}
    assert [name for name in ("out", "above", "round") if fs.exists(name)] == []
    assert fs.info("out")["type"] == "link"
    with pytest.raises(OSError, match="round") as caught:
        fs.cat_file("round")
    assert caught.value.errno == errno.ELOOP


def test_names_that_are_no_text(desk: Desk) -> None:
    """Any name that a file can have is found and read."""
    place = desk.node.directory / "odd"
    place.mkdir()
    names = [b"\xff\xfe", b"new\nline", b"*?[", b" lead"]
    for name in names:
        Path(os.fsdecode(os.fsencode(place) + b"/" + name)).write_bytes(name)
    desk.publish(place)
    fs = desk.open(place)
    shown = fs.ls("", detail=False)
    assert sorted(os.fsencode(name) for name in shown) == sorted(names)
    assert {fs.cat_file(name) for name in shown} == set(names)


CHANGES: list[Callable[[HeadraceFileSystem], object]] = [
    lambda fs: fs.open("new", "wb"),
    lambda fs: fs.open("small", "ab"),
    lambda fs: fs.pipe_file("new", b""),
    lambda fs: fs.pipe({"new": b""}),
    lambda fs: fs.touch("new"),
    lambda fs: fs.mkdir("new"),
    lambda fs: fs.makedirs("new"),
    lambda fs: fs.rm("small"),
    lambda fs: fs.rm_file("small"),
    lambda fs: fs.rmdir("sub"),
    lambda fs: fs.mv("small", "new"),
    lambda fs: fs.cp("small", "new"),
    lambda fs: fs.put("/etc/hostname", "new"),
    lambda fs: fs.write_text("new", "text"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_can_be_changed(
    fs: HeadraceFileSystem, change: Callable[[HeadraceFileSystem], object]
) -> None:
    """Whatever would write is EROFS, as on a read-only mount."""
    with pytest.raises(OSError, match="Read-only") as caught:
        change(fs)
    assert caught.value.errno == errno.EROFS


def test_it_shows_one_snapshot_for_ever(desk: Desk) -> None:
    """A filesystem and its pickled copies go on showing what the ref meant when it was opened."""
    place = desk.node.directory / "moving"
    place.mkdir()
    (place / "old").write_bytes(b"1")
    first = desk.publish(place)
    fs = desk.open(f"{place}@main")
    kept = fs.ukey("old")
    (place / "new").write_bytes(b"2")
    second = desk.publish(place)
    copy = pickle.loads(pickle.dumps(fs))
    assert copy == fs
    assert hash(copy) == hash(fs)
    assert fs.snapshot_id == copy.snapshot_id == first
    assert copy.ls("", detail=False) == ["old"]
    later = desk.open(place)
    assert later != fs
    assert later.snapshot_id == second
    assert later.ls("", detail=False) == ["new", "old"]
    assert later.ukey("old") == kept != later.ukey("new")
    assert later.checksum("old") == int(kept, 16)
    assert desk.open(f"{place}@{first[:12]}").snapshot_id == first


def test_urls(desk: Desk, source: Path) -> None:
    """fsspec finds the filesystem by its protocol, in chained URLs too."""
    settings = {"cache_dir": str(desk.node.cache)}
    expected = (source / "sub/one").read_bytes()
    url = f"headrace://sub/one::file://{source}@main"
    for opened in (
        fsspec.open(url, headrace=settings),
        fsspec.open("headrace://sub/one", dataset=str(source), **settings),
    ):
        assert isinstance(opened.fs, HeadraceFileSystem)
        with opened as file:
            assert file.read() == expected


def test_what_cannot_be_opened(desk: Desk, tmp_path: Path) -> None:
    """A source without snapshots, and no source, are errors that say what to do."""
    with pytest.raises(SnapshotMissingError, match="headrace snapshot"):
        desk.open(tmp_path)
    with pytest.raises(UsageError, match="which dataset"):
        HeadraceFileSystem(skip_instance_cache=True)


def test_open_is_one_line(desk: Desk, source: Path) -> None:
    """`vfs.open` gives the filesystem, connected."""
    fs = vfs.open(source, cache_dir=desk.node.cache)
    assert isinstance(fs, HeadraceFileSystem)
    assert fs.cat_file("small") == (source / "small").read_bytes()
