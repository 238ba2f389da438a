"""Mounts of snapshots whose small files lie in packs."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.node import Node
from tests.pages import kept_in_memory

SIZES = {"a": 1, "b": 4_096, "d/c": 110_000, "d/e": 700_000, "d/f": 900_000, "empty": 0}
LARGE = "large"


@pytest.fixture
def packed(node: Node, source: Path) -> Path:
    """A mount of a snapshot with packs; a repository apart, so that the source may go."""
    for name, size in {**SIZES, LARGE: 5 << 20}.items():
        path = source / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(size))
    (source / "link").symlink_to("a")
    (source / "d" / "c").chmod(0o755)
    node.snapshot(source, "--ref", "plain")
    node.snapshot(source, "--ref", "packed", "--pack")
    return node.mount(f"{source}@packed")


def facts_of(path: Path) -> tuple[object, ...]:
    """Return what a reader can see of a path."""
    status = path.lstat()
    shown = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink)
    if path.is_symlink():
        return *shown, path.readlink()
    return *shown, sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()


def test_a_packed_file_is_like_any_other(packed: Path, source: Path) -> None:
    """A packed file (`snapshot --pack`) has the name, the attributes and the bytes of the source's,
    and so has everything beside it.
    """
    for name in (*SIZES, LARGE, "link"):
        assert facts_of(packed / name) == facts_of(source / name), name
    assert sorted(os.listdir(packed / "d")) == sorted(os.listdir(source / "d"))


def test_parts_of_a_packed_file(packed: Path, source: Path) -> None:
    """Reads of a packed file begin and end where the file does, wherever it lies in its pack."""
    for name, size in SIZES.items():
        content = (source / name).read_bytes()
        with (packed / name).open("rb", buffering=0) as file:
            for offset in (0, size // 2, max(0, size - 1), size, size + 5):
                assert os.pread(file.fileno(), 1 << 20, offset) == content[offset:]


def test_a_packed_file_is_a_copy(packed: Path, source: Path) -> None:
    """A packed file can be read whatever becomes of the object in the source, which no other can;
    its `user.headrace.object` is the pack, its `user.headrace.etag` the version it was copied from.
    """
    content = (source / "d" / "e").read_bytes()
    version = str((source / "d" / "e").stat().st_mtime_ns)
    (source / "d" / "e").unlink()
    (source / LARGE).unlink()
    assert (packed / "d" / "e").read_bytes() == content
    assert "/packs/" in os.getxattr(packed / "d" / "e", "user.headrace.object").decode()
    assert os.getxattr(packed / "d" / "e", "user.headrace.etag").decode() == version
    with pytest.raises(OSError, match="Stale"):
        (packed / LARGE).read_bytes()


def test_how_much_of_a_packed_file_is_on_the_node(packed: Path) -> None:
    """`user.headrace.cached_bytes` of a packed file counts its own bytes and not its pack's."""
    assert os.getxattr(packed / "b", "user.headrace.cached_bytes") == b"0"
    (packed / "b").read_bytes()
    assert os.getxattr(packed / "b", "user.headrace.cached_bytes") == b"4096"


def test_packing_is_no_change(node: Node, source: Path, packed: Path) -> None:
    """A switch between snapshots of the same files, packed and not, changes no inode number, and
    what the kernel has read stays in its memory.
    """
    names = [name for name, size in SIZES.items() if size < 1 << 17]
    before = [(packed / name).stat().st_ino for name in names]
    contents = [(packed / name).read_bytes() for name in names]
    with kept_in_memory(packed / name for name in names if SIZES[name]):
        done = node.run("checkout", "plain", packed)
        assert "0 files changed, 0 added, 0 removed" in done.stdout
        assert [(packed / name).stat().st_ino for name in names] == before
        shutil.rmtree(source / ".headrace" / "packs")
        with node.stopped("worker"):
            for name, content in zip(names, contents, strict=True):
                cat = subprocess.run(
                    ["cat", packed / name], capture_output=True, timeout=10, check=True
                )
                assert cat.stdout == content
