from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from csi.errors import InvalidArgumentError, UnavailableError
from csi.targets import Targets, shows, topmost
from csi.threads import Threads
from tests.fakes.csi_mounts import FakeMounts
from vfs.mounting.mountinfo import MountInfo


def targets() -> Targets:
    return Targets(FakeMounts(), Threads())


def info(minor: int, mountpoint: str, root: str = "/") -> MountInfo:
    return MountInfo(minor, 0, Path(mountpoint), "fuse.headrace", "s3://b/d", root=root)


def test_a_target_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    target = tmp_path / "mount"
    asyncio.run(targets().make(target))
    asyncio.run(targets().make(target))
    assert target.stat().st_mode & 0o777 == 0o750


def test_a_target_without_parent_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="parent"):
        asyncio.run(targets().make(tmp_path / "a" / "mount"))


def test_a_target_is_removed_and_may_be_gone_already(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    asyncio.run(targets().remove(tmp_path / "mount"))
    asyncio.run(targets().remove(tmp_path / "mount"))
    assert not (tmp_path / "mount").exists()


def test_a_link_in_the_place_of_a_target_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "mount").symlink_to("precious")
    with pytest.raises(UnavailableError):
        asyncio.run(targets().remove(tmp_path / "mount"))
    assert (tmp_path / "precious").is_dir()


def test_what_was_mounted_last_is_seen() -> None:
    table = [info(1, "/a"), info(2, "/b"), info(3, "/a")]
    assert topmost(table, Path("/a")) == table[2]
    assert topmost(table, Path("/c")) is None


@pytest.mark.parametrize(
    ("there", "sub_path", "expected"),
    [
        (info(1, "/t"), "", True),
        (info(1, "/t", "/train"), "train", True),
        (info(1, "/t", "/train"), "", False),
        (info(1, "/t"), "train", False),
        (info(2, "/t"), "", False),
    ],
)
def test_a_bind_is_known_by_device_and_directory(
    there: MountInfo, sub_path: str, *, expected: bool
) -> None:
    assert shows(there, info(1, "/source"), sub_path) is expected
