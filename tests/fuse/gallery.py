"""One tree with everything in it that a file system may be asked about, and its mount."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.node import Node, new_node

MANY = 100_000
MOST_LINKS = 50_000
"""ext4 takes 65,000 links to one file."""
LONGEST_NAME = b"n" * 255
PATH_MAX = 4096
BIG_SIZE = 20 * (1 << 20) + 123
HUGE_SIZE = 5 * (1 << 30) + 77
HUGE_MARKS = (0, (4 << 30) - 3, HUGE_SIZE - 9)
MARK = b"<marked>!"
DEEP_NAME = "eleven_char"


@dataclass(frozen=True, slots=True)
class Gallery:
    """A source directory and where it is mounted."""

    node: Node
    source: Path
    mount: Path
    snapshot: str


@contextmanager
def mounted_gallery() -> Iterator[Gallery]:
    """Make the tree, publish it and mount it for the length of a block, open to all users."""
    with new_node() as node:
        node.directory.chmod(0o711)
        source = node.directory / "source"
        build(source)
        snapshot = node.snapshot(source)
        yield Gallery(node, source, node.mount(source), snapshot)


def build(root: Path) -> None:
    """Make the tree at *root*."""
    root.mkdir()
    _files(root)
    _names(root / "names")
    _deep(root / "deep")
    _links(root / "links")
    _modes(root / "modes")
    _times(root / "times")
    _many(root / "many")


def _files(root: Path) -> None:
    (root / "plain").write_bytes(b"hello\n")
    (root / "empty").touch()
    (root / "emptydir").mkdir()
    (root / "big").write_bytes(random.Random(1).randbytes(BIG_SIZE))
    (root / "again").write_bytes(random.Random(2).randbytes(BIG_SIZE))
    (root / "twins").mkdir()
    (root / "twins" / "first").write_bytes(b"twin")
    os.link(root / "twins" / "first", root / "twins" / "second")
    with (root / "huge").open("wb") as file:
        file.truncate(HUGE_SIZE)
        for offset in HUGE_MARKS:
            file.seek(offset)
            file.write(MARK)


def _names(root: Path) -> None:
    root.mkdir()
    for name in every_kind_of_name():
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_bytes(name)


def every_kind_of_name() -> Iterator[bytes]:
    """Yield each name of one byte, and some of the names that programs stumble over."""
    for byte in range(1, 256):
        if bytes([byte]) not in {b"/", b"."}:
            yield bytes([byte])
    yield from (b"\xff\xfe\xfd", b"new\nline", b" lead", b"trail ", b"...", b"-rf", b"a\\b")
    yield from (b"e\xcc\x81", b"\xc3\xa9", LONGEST_NAME, b"%2F", b"*?[")


def _deep(root: Path) -> None:
    """Nest directories until a path to the file in the last one is as long as it may be."""
    room = PATH_MAX - 1 - max(len(os.fsencode(root)), 80) - len("/leaf")
    directory = str(root)
    os.mkdir(directory)
    for _ in range(room // len("/" + DEEP_NAME)):
        directory += "/" + DEEP_NAME
        os.mkdir(directory)
    Path(directory, "leaf").write_bytes(b"deep down")


def _links(root: Path) -> None:
    root.mkdir()
    (root / "to_file").symlink_to("../plain")
    (root / "to_directory").symlink_to("../emptydir")
    (root / "absolute").symlink_to("/etc/hostname")
    (root / "dangling").symlink_to("nowhere/at all")
    (root / "loop").symlink_to("loop")
    (root / "not_utf8").symlink_to(os.fsdecode(b"\xff\xfe"))
    (root / "long").symlink_to("x/" * 2000)


def _modes(root: Path) -> None:
    root.mkdir()
    for mode in (0o000, 0o400, 0o444, 0o600, 0o640, 0o755, 0o4755, 0o2755, 0o1644, 0o777):
        path = root / f"{mode:04o}"
        path.write_bytes(b"secret")
        path.chmod(mode)
    (root / "closed").mkdir()
    (root / "closed" / "inside").write_bytes(b"secret")
    (root / "closed").chmod(0o700)
    (root / "script").write_text("#!/bin/sh\necho it runs\n")
    (root / "script").chmod(0o755)
    (root / "setuid_id").write_bytes(Path(shutil.which("id") or "/usr/bin/id").read_bytes())
    (root / "setuid_id").chmod(0o4755)


def _times(root: Path) -> None:
    root.mkdir()
    for number, mtime_ns in enumerate((0, 1, 1_234_567_890_123_456_789, 5_000_000_000 * 10**9)):
        path = root / str(number)
        path.touch()
        os.utime(path, ns=(mtime_ns, mtime_ns))
    os.utime(root, ns=(7, 987_654_321_000_000_001))


def _many(root: Path) -> None:
    """Make as many names: hard links, which are quickly made and each a file to a snapshot."""
    root.mkdir()
    directory = os.open(root, os.O_RDONLY)
    try:
        for start in range(0, MANY, MOST_LINKS):
            _link_many(directory, range(start, min(MANY, start + MOST_LINKS)))
    finally:
        os.close(directory)


def _link_many(directory: int, numbers: range) -> None:
    first, *others = [f"{number:06}" for number in numbers]
    os.close(os.open(first, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory))
    for name in others:
        os.link(first, name, src_dir_fd=directory, dst_dir_fd=directory)
