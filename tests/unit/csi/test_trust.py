"""The mounter has no privileges: what it says is not taken for more than it may be."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from csi.mounter import HeldMount, MountStatus, status_of
from tests.unit.csi.sourcemounts import sources_in
from tests.unit.csi.test_specs import spec_of
from vfs.mounting.record import MountRecord

KEY = "a" * 32 + "-01234567"


def told(root: Path, key: str, **changes: Any) -> HeldMount:  # noqa: ANN401  fields of a spec
    """Return a mount as the mounter tells of it, with a descriptor of its choice."""
    spec = replace(spec_of(key), mountpoint=root / "mounts" / key)
    return HeldMount(MountRecord(replace(spec, **changes), b"", 7), os.open(root, os.O_RDONLY))


def test_what_this_driver_has_made_is_held(root: Path) -> None:
    sources = sources_in(root)
    (root / "mounts" / KEY).mkdir()
    mount = told(root, KEY)
    sources.adopt(mount)
    assert [held.record.key for held in sources.held()] == [KEY]
    os.close(mount.connection)


@pytest.mark.parametrize("key", [KEY, "../../etc", "x", ""])
def test_what_it_makes_up_is_not_held_and_not_written_down(root: Path, key: str) -> None:
    sources = sources_in(root)
    mount = told(root, key)
    sources.adopt(mount)
    assert sources.held() == []
    assert list((root / "specs").iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(mount.connection)


def test_a_mount_elsewhere_is_not_held(root: Path) -> None:
    sources = sources_in(root)
    (root / "mounts" / KEY).mkdir()
    sources.adopt(told(root, KEY, mountpoint=Path("/etc")))
    assert sources.held() == []


def test_it_does_not_say_who_may_run_programs(root: Path) -> None:
    sources = sources_in(root)
    (root / "mounts" / KEY).mkdir()
    mount = told(root, KEY, no_exec=False, allow_other=False)
    sources.adopt(mount)
    (held,) = sources.held()
    assert held.record.spec.no_exec
    assert held.record.spec.allow_other
    os.close(mount.connection)


def test_counts_are_numbers() -> None:
    assert status_of({"alive": True, "hits": 3, "later": "x"}) == MountStatus(True, hits=3)
    for bad in ("x", -1, float("inf"), float("nan"), None, [1]):
        with pytest.raises(ValueError, match="hits"):
            status_of({"alive": True, "hits": bad})
