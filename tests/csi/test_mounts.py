from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from csi.errors import InvalidArgumentError, NotFoundError
from csi.mounts import MS_BIND, LinuxMounts
from vfs.mounting.mount import MNT_DETACH
from vfs.mounting.mountinfo import mount_table

MS_SHARED = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str | None, flags: int) -> None:
    words = (os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, None)
    if _libc.mount(*words) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def unmount_below(directory: Path) -> None:
    for info in reversed(mount_table()):
        if info.mountpoint.is_relative_to(directory):
            _libc.umount2(os.fsencode(info.mountpoint), MNT_DETACH)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A shared mount, as the kubelet's directory is on a node, with a source and a target."""
    mount("tmpfs", tmp_path, "tmpfs", 0)
    try:
        mount("none", tmp_path, None, MS_SHARED)
        for name in ("source", "target", "other"):
            (tmp_path / name).mkdir()
        mount("tmpfs", tmp_path / "source", "tmpfs", 0)
        source = tmp_path / "source"
        (source / "a" / "b").mkdir(parents=True)
        (source / "a" / "b" / "file").write_text("inside")
        (source / "link").symlink_to("a")
        (source / "out").symlink_to("/")
        yield tmp_path
    finally:
        unmount_below(tmp_path)


def test_a_bound_target_shows_the_source(place: Path) -> None:
    LinuxMounts().bind(place / "source", "", place / "target", executable=False)
    assert (place / "target/a/b/file").read_text() == "inside"


def test_a_bound_target_shows_a_part_of_the_source(place: Path) -> None:
    LinuxMounts().bind(place / "source", "a/b", place / "target", executable=False)
    assert (place / "target/file").read_text() == "inside"


@pytest.mark.parametrize("sub_path", ["..", "a/../..", "/", "/a", "link/b", "out", "out/etc"])
def test_no_sub_path_leads_outside_or_through_a_link(place: Path, sub_path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="subPath"):
        LinuxMounts().bind(place / "source", sub_path, place / "target", executable=False)
    assert not LinuxMounts().detach(place / "target")


def test_a_sub_path_that_is_not_there_is_named(place: Path) -> None:
    with pytest.raises(NotFoundError, match="a/missing"):
        LinuxMounts().bind(place / "source", "a/missing", place / "target", executable=False)


def test_a_sub_path_to_a_file_is_refused(place: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no directory"):
        LinuxMounts().bind(place / "source", "a/b/file", place / "target", executable=False)


def test_all_that_is_stacked_on_a_target_is_taken_off(place: Path) -> None:
    mounts = LinuxMounts()
    for _ in range(3):
        mounts.bind(place / "source", "", place / "target", executable=False)
    assert mounts.detach(place / "target")
    assert not mounts.detach(place / "target")
    assert list((place / "target").iterdir()) == []


def test_a_target_that_does_not_exist_has_nothing_to_take_off(place: Path) -> None:
    assert not LinuxMounts().detach(place / "missing")


def test_a_bind_allows_execution_only_where_asked(place: Path) -> None:
    source, mounts = place / "source", LinuxMounts()
    mount("none", source, None, MS_BIND | 32 | 1 | 2 | 4 | 8)  # remount ro, nosuid, nodev, noexec
    mounts.bind(source, "", place / "target", executable=False)
    mounts.bind(source, "", place / "other", executable=True)
    options = {info.mountpoint: info.options for info in mounts.table()}
    assert {"ro", "nosuid", "nodev", "noexec"} <= options[place / "target"]
    assert {"ro", "nosuid", "nodev"} <= options[place / "other"]
    assert "noexec" not in options[place / "other"]


class Container:
    """A mount namespace that has copies of targets, as a container with HostToContainer has."""

    def __init__(self, targets: dict[Path, Path]) -> None:
        binds = " && ".join(
            f"mount --bind {target} {inside} && mount --make-slave {inside}"
            for target, inside in targets.items()
        )
        self._process = subprocess.Popen(
            [
                "unshare",
                "-m",
                "--propagation",
                "slave",
                "sh",
                "-c",
                f"{binds} && echo ready && cat",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def read(self, path: Path) -> str:
        return Path(f"/proc/{self._process.pid}/root{path}").read_text()

    def close(self) -> None:
        self._process.communicate(timeout=30)


def test_a_new_source_is_laid_over_all_old_targets_and_in_their_containers(place: Path) -> None:
    mounts, targets = LinuxMounts(), [place / "target", place / "other"]
    for target in targets:
        mounts.bind(place / "source", "", target, executable=False)
    dead = [info for info in mounts.table() if info.mountpoint in targets]
    (place / "new").mkdir()
    (place / "inside").mkdir()
    mount("tmpfs", place / "new", "tmpfs", 0)
    (place / "new/file").write_text("new")
    container = Container({place / "other": place / "inside"})
    try:
        mounts.rebind(place / "new", dead)
        assert [(target / "file").read_text() for target in targets] == ["new", "new"]
        assert container.read(place / "inside/file") == "new"
        stacked = [info.mountpoint for info in mounts.table() if info.mountpoint in targets]
        assert len(stacked) == 4

        mounts.detach(place / "target")
        assert (place / "other/file").read_text() == "new"
        assert container.read(place / "inside/file") == "new"
    finally:
        container.close()


def test_a_new_source_shows_the_same_parts_with_the_same_rights(place: Path) -> None:
    mounts = LinuxMounts()
    mounts.bind(place / "source", "a", place / "target", executable=True)
    (dead,) = [info for info in mounts.table() if info.mountpoint == place / "target"]
    (place / "new").mkdir()
    mount("tmpfs", place / "new", "tmpfs", 0)
    (place / "new/a").mkdir()
    (place / "new/a/file").write_text("new")
    mounts.rebind(place / "new", [dead])
    assert (place / "target/file").read_text() == "new"
    assert "noexec" not in mounts.table()[-1].options


def test_a_target_that_went_meanwhile_is_left_alone(place: Path) -> None:
    mounts = LinuxMounts()
    mounts.bind(place / "source", "", place / "target", executable=False)
    (dead,) = [info for info in mounts.table() if info.mountpoint == place / "target"]
    mounts.detach(place / "target")
    (place / "target").rmdir()
    mounts.rebind(place / "source", [dead])
    assert not mounts.detach(place / "target")


def test_taking_off_something_busy_does_not_wait(place: Path) -> None:
    mounts = LinuxMounts()
    mounts.bind(place / "source", "", place / "target", executable=False)
    with (place / "target/a/b/file").open():
        assert mounts.detach(place / "target")


def test_the_errno_of_a_refused_bind_is_told(place: Path) -> None:
    with pytest.raises(Exception, match=os.strerror(errno.ENOENT)):
        LinuxMounts().bind(place / "source", "", place / "missing", executable=False)
