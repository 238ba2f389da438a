"""`headrace mount`, `umount` and `list` as a person meets them, above all when they refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fuse.gallery import Gallery
from tests.node import HEADRACE, Node, wait_until
from tests.seaweed import SeaweedServer
from vfs.mounting.mount import unmount
from vfs.mounting.mountinfo import mounted_at
from vfs.mounting.process import is_alive


def refusal(node: Node, *words: str | Path) -> str:
    """Run a command that must fail; return its one line, after looking that it left nothing."""
    before = node.mountpoints()
    done = node.run(*words, code=1)
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("headrace: ")
    assert node.mountpoints() == before
    return lines[0]


@pytest.fixture
def mountpoint(node: Node) -> Path:
    """An empty directory."""
    made = node.directory / "mnt"
    made.mkdir()
    return made


@pytest.fixture
def published(node: Node, source: Path) -> Path:
    """A source with one file and a snapshot."""
    (source / "file").write_bytes(b"content")
    node.snapshot(source)
    return source


def test_a_mountpoint_that_is_missing(node: Node, published: Path) -> None:
    """It is named, and so is what would help."""
    message = refusal(node, "mount", published, node.directory / "absent")
    assert "does not exist" in message
    assert "mkdir" in message


def test_a_mountpoint_that_is_a_file(node: Node, published: Path) -> None:
    """It is named."""
    assert "is not a directory" in refusal(node, "mount", published, published / "file")


def test_a_mountpoint_that_is_taken(node: Node, published: Path) -> None:
    """A second mount on the same directory is refused, and the first goes on."""
    mount = node.mount(published)
    assert "already holds a mount" in refusal(node, "mount", published, mount)
    assert (mount / "file").read_bytes() == b"content"


def test_a_mountpoint_that_is_not_empty(node: Node, published: Path, mountpoint: Path) -> None:
    """What a mountpoint holds is hidden while something is mounted there, and then is back."""
    (mountpoint / "hidden").write_bytes(b"still here")
    node.run("mount", published, mountpoint)
    assert os.listdir(mountpoint) == ["file"]
    node.run("umount", mountpoint)
    assert (mountpoint / "hidden").read_bytes() == b"still here"


def test_a_mountpoint_by_a_relative_path_and_symlinks(
    node: Node, published: Path, mountpoint: Path
) -> None:
    """Symlinks above a mountpoint are resolved; `umount` and `list` know it by its real path."""
    shortcut = node.directory / "shortcut"
    shortcut.symlink_to(node.directory)
    node.run("mount", published, shortcut / "." / "mnt")
    assert [row["mountpoint"] for row in node.mounts()] == [str(mountpoint)]
    node.run("umount", os.path.relpath(shortcut / "mnt"))
    assert node.mounts() == []


@pytest.mark.parametrize("words", [[], ["--repo", "/nonexistent/repository"]])
def test_a_source_that_is_missing(node: Node, mountpoint: Path, words: list[str]) -> None:
    """It is named, in one line after the word that it is being scanned."""
    done = node.run("mount", "/nonexistent/source", mountpoint, *words, code=1)
    assert "/nonexistent/source" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert mounted_at(mountpoint) is None


def test_a_snapshot_that_is_missing(node: Node, published: Path, mountpoint: Path) -> None:
    """A ref or id that nobody published is named."""
    for name in ("nope", "0" * 40):
        assert name in refusal(node, "mount", f"{published}@{name}", mountpoint)


def test_a_repository_that_is_missing(node: Node, published: Path, mountpoint: Path) -> None:
    """A named snapshot in a repository that is not there is an error, not a new scan."""
    message = refusal(node, "mount", f"{published}@main", mountpoint, "--repo", "/nonexistent/repo")
    assert "/nonexistent/repo" in message


@pytest.mark.parametrize("where", [(), ("--foreground",)])
def test_a_manifest_that_is_damaged(
    node: Node, published: Path, mountpoint: Path, where: tuple[str, ...]
) -> None:
    """A snapshot whose first bytes are damaged is refused in one line, never mounted."""
    (manifest,) = (published / ".headrace" / "snapshots").iterdir()
    content = bytearray(manifest.read_bytes())
    content[20] ^= 1
    manifest.chmod(0o644)
    manifest.write_bytes(content)
    refusal(node, "mount", *where, published, mountpoint)


def test_a_bucket_that_is_missing(node: Node, mountpoint: Path, s3_server: SeaweedServer) -> None:
    """It is named; nothing is mounted."""
    node.environment.update(s3_server.environ)
    done = node.run("mount", "s3://no-such-bucket/data", mountpoint, code=1)
    assert "no-such-bucket" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_credentials_that_are_wrong(
    node: Node, mountpoint: Path, s3_server: SeaweedServer, s3_url: str
) -> None:
    """The refusal tells what was refused, and no secret."""
    node.environment.update(s3_server.environ, AWS_SECRET_ACCESS_KEY="not-the-secret-key")
    message = refusal(node, "mount", s3_url, mountpoint)
    assert s3_server.bucket in message
    assert "not-the-secret-key" not in message


def test_a_snapshot_of_another_source(node: Node, tmp_path: Path, mountpoint: Path) -> None:
    """A repository shows its snapshots' own source only: keys in them mean objects of that one."""
    mine, other, repository = (tmp_path / name for name in ("mine", "other", "repository"))
    for directory in (mine, other):
        directory.mkdir()
        (directory / "file").touch()
    node.snapshot(mine, "--repo", repository)
    line = refusal(node, "mount", other, mountpoint, "--repo", repository)
    assert f"is of file://{mine}: publish file://{other} to mount it" in line


def test_unmounting_what_is_not_mounted(node: Node, mountpoint: Path) -> None:
    """It is said; a directory that does not even exist is no other case."""
    for path in (mountpoint, node.directory / "absent"):
        assert "nothing of headrace's is mounted" in refusal(node, "umount", path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_unmounting_what_is_not_ours(node: Node, mountpoint: Path) -> None:
    """Another file system is left alone."""
    subprocess.run(["mount", "-t", "tmpfs", "none", mountpoint], check=True)
    try:
        assert "nothing of headrace's is mounted" in refusal(node, "umount", mountpoint)
    finally:
        subprocess.run(["umount", mountpoint], check=True)


def test_unmounting_what_is_in_use(node: Node, published: Path) -> None:
    """A busy mount stays, and the refusal says how to find who uses it."""
    mount = node.mount(published)
    with (mount / "file").open("rb") as file:
        message = refusal(node, "umount", mount)
        assert "in use" in message
        assert "--lazy" in message
        assert file.read() == b"content"


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let *act* happen as `unmount` waits to try again."""
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: act())
    monkeypatch.setattr("vfs.mounting.mount.time", clock)


def test_unmounting_waits_for_who_only_looks(
    node: Node, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`umount` refuses what somebody uses, but waits a second for who only looks at it, as `df`
    does.
    """
    mount = node.mount(published)
    with (mount / "file").open("rb") as file:
        meanwhile(monkeypatch, file.close)
        unmount(mount)
        assert file.closed
    assert not os.path.ismount(mount)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_unmounting_never_takes_what_was_below(
    node: Node, published: Path, mountpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two who unmount at once, one goes without; a file system below the mount stays."""
    subprocess.run(["mount", "-t", "tmpfs", "none", mountpoint], check=True)
    try:
        below = mounted_at(mountpoint)
        node.run("mount", published, mountpoint)
        with (mountpoint / "file").open("rb"):
            meanwhile(monkeypatch, lambda: node.run("umount", "--lazy", mountpoint))
            unmount(mountpoint)
        assert mounted_at(mountpoint) == below
    finally:
        subprocess.run(["umount", mountpoint], check=True)


@pytest.mark.parametrize(
    "words",
    [
        ["mount"],
        ["mount", "/tmp"],
        ["mount", "/tmp", "/tmp", "--workers", "0"],
        ["mount", "/tmp", "/tmp", "--storage-option", "novalue"],
        ["umount"],
        ["list", "--unknown"],
    ],
    ids=" ".join,
)
def test_wrong_use(node: Node, words: list[str]) -> None:
    """Exit code 2 and a hint, no traceback."""
    done = node.run(*words, code=2)
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


def test_list_tells_all_there_is_to_know(gallery: Gallery) -> None:
    """`list --json` names mountpoint, source, ref, snapshot, epoch, processes and cache."""
    (row,) = json.loads(gallery.node.run("list", "--json").stdout)
    pids = [row.pop(role) for role in ("supervisor", "keeper", "cachesvc")]
    pids += row.pop("workers")
    assert len(pids) == 3 + min(len(os.sched_getaffinity(0)), 4)
    assert all(map(is_alive, pids))
    assert row == {
        "mountpoint": str(gallery.mount),
        "source": f"file://{gallery.source}",
        "repository": f"file://{gallery.source}/.headrace",
        "ref": "main",
        "snapshot": gallery.snapshot,
        "epoch": 0,
        "mounted": True,
        "cache_directory": str(gallery.node.cache),
    }
    assert "main" in gallery.node.run("list").stdout


def test_in_the_foreground(node: Node, published: Path, mountpoint: Path) -> None:
    """`--foreground` says when the mount is ready, stays, and unmounts on Ctrl-C."""
    with subprocess.Popen(
        [HEADRACE, "mount", published, mountpoint, "--foreground"],
        env=node.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert str(mountpoint) in process.stdout.readline()
        assert (mountpoint / "file").read_bytes() == b"content"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert mounted_at(mountpoint) is None


def test_a_mount_that_somebody_else_took_off(node: Node, published: Path) -> None:
    """`fusermount3 -u` ends the processes just as well, and `list` forgets the mount."""
    mount = node.mount(published)
    subprocess.run(["fusermount3", "-u", mount], check=True)
    wait_until(lambda: node.mounts() == [])
