from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cachesvc.config import CacheConfig
from cachesvc.objectstore.origin import Origin
from csi.specs import SpecFiles, filesystem_of
from vfs.mounting.spec import MountSpec
from vfs.snapshots.dataset import DatasetRequest

KEY = "0" * 32 + "-01234567"


@pytest.fixture
def in_memory(root: Path) -> Path:
    return root / "specs"


def spec_of(key: str) -> MountSpec:
    origin = Origin("s3://bucket/data", {"secret": "canary"})
    return MountSpec(
        key=key,
        mountpoint=Path("/mounts") / key,
        request=DatasetRequest("s3://bucket/data", None, {}),
        source=origin,
        repository=origin,
        ref="main",
        snapshot_id="ab" * 20,
        manifest_size=100,
        cache=CacheConfig(Path("/cache")),
        uid=0,
        gid=0,
    )


def test_a_spec_comes_back_whole_and_is_for_its_owner_alone(in_memory: Path) -> None:
    files = SpecFiles(in_memory)
    files.save(spec_of(KEY))
    assert SpecFiles(in_memory).load(KEY) == spec_of(KEY)
    assert files.keys() == [KEY]
    assert stat.S_IMODE((in_memory / KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(in_memory.stat().st_mode) == 0o700


def test_a_removed_spec_is_gone(in_memory: Path) -> None:
    files = SpecFiles(in_memory)
    files.save(spec_of(KEY))
    files.remove(KEY)
    files.remove(KEY)
    assert files.load(KEY) is None
    assert files.keys() == []


def test_a_damaged_spec_is_none(in_memory: Path) -> None:
    files = SpecFiles(in_memory)
    for text in ("", "{", "[]", '{"key": 1}'):
        (in_memory / KEY).write_text(text)
        assert files.load(KEY) is None


def test_no_secret_is_ever_written_to_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csi.specs.filesystem_of", lambda _: "ext4")
    files = SpecFiles(tmp_path / "specs")
    files.save(spec_of(KEY))
    assert list((tmp_path / "specs").iterdir()) == []
    assert files.load(KEY) is None


def test_the_file_system_of_a_path_is_that_of_the_mount_it_lies_in() -> None:
    assert filesystem_of(Path("/dev/shm/x")) == "tmpfs"
    assert filesystem_of(Path("/proc/self")) == "proc"
