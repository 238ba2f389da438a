"""Which version of a dataset a mount shows, and what happens when its files change under it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.node import Node


def errno_of_reading(path: Path) -> int:
    """Return the errno with which reading *path* fails."""
    with pytest.raises(OSError, match="Errno") as caught:
        path.read_bytes()
    assert caught.value.errno is not None
    return caught.value.errno


def test_a_mount_keeps_its_snapshot(node: Node, source: Path) -> None:
    """A mount shows one snapshot until it is taken off, whatever is published meanwhile; who mounts
    later sees what was published then.
    """
    (source / "old").write_text("1")
    before = node.snapshot(source)
    mount = node.mount(source)
    (source / "new").write_text("2")
    assert node.snapshot(source) != before
    assert os.listdir(mount) == ["old"]
    assert sorted(os.listdir(node.mount(source, name="later"))) == ["new", "old"]


def test_a_version_by_its_name(node: Node, source: Path) -> None:
    """A snapshot is mounted by its ref, by its id, or by the start of its id; with no name by
    main.
    """
    (source / "first").touch()
    first = node.snapshot(source, "--ref", "v1")
    (source / "second").touch()
    node.snapshot(source)
    for number, name in enumerate((f"{source}@v1", f"{source}@{first}", f"{source}@{first[:8]}")):
        assert os.listdir(node.mount(name, name=f"m{number}")) == ["first"]
    assert sorted(os.listdir(node.mount(source))) == ["first", "second"]


@pytest.mark.parametrize("change", ["rewritten", "deleted", "truncated"])
def test_a_local_file_that_changed(node: Node, source: Path, change: str) -> None:
    """A file whose object was changed or deleted after the snapshot is ESTALE where its bytes are
    not on the node yet: a reader never gets bytes of another version. What is on the node stays
    readable.
    """
    for name in ("seen", "other"):  # the other comes first: nothing is read ahead from the last
        (source / name).write_bytes(b"version 1")
    node.snapshot(source)
    mount = node.mount(source)
    assert (mount / "seen").read_bytes() == b"version 1"
    for name in ("seen", "other"):
        match change:
            case "rewritten":
                (source / name).write_bytes(b"version 2")
            case "deleted":
                (source / name).unlink()
            case _:
                os.truncate(source / name, 3)
    assert errno_of_reading(mount / "other") == errno.ESTALE
    assert (mount / "seen").read_bytes() == b"version 1"
    again = node.mount(source, name="again")
    assert (again / "seen").read_bytes() == b"version 1"


def test_wrong_bytes_are_not_served(node: Node, source: Path) -> None:
    """Where a snapshot has checksums (`snapshot --hash`), bytes that do not match are fetched once
    more and are then EIO, and the log names the object; the mount's other files read on.
    """
    for name in ("damaged", "sound"):
        (source / name).write_bytes(b"right bytes")
    node.snapshot(source, "--hash")
    mount = node.mount(source)
    status = (source / "damaged").stat()
    (source / "damaged").write_bytes(b"wrong bytes")
    os.utime(source / "damaged", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert errno_of_reading(mount / "damaged") == errno.EIO
    assert (mount / "sound").read_bytes() == b"right bytes"
    assert "damaged" in node.log()


def test_a_source_that_was_never_published(node: Node, source: Path) -> None:
    """A source that was never published is scanned for the one mount: nothing is written into it,
    the command says how to publish, and the next mount shows what is there then.
    """
    (source / "file").write_bytes(b"as it was")
    mount = node.directory / "mnt"
    mount.mkdir()
    done = node.run("mount", source, mount)
    assert "headrace snapshot" in done.stderr
    assert (mount / "file").read_bytes() == b"as it was"
    assert os.listdir(source) == ["file"]
    node.umount(mount)
    (source / "file").write_bytes(b"as it is")
    (source / "more").touch()
    mount = node.mount(source)
    assert (mount / "file").read_bytes() == b"as it is"
    assert sorted(os.listdir(mount)) == ["file", "more"]
