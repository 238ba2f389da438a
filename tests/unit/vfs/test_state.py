from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cachesvc.config import CacheConfig
from cachesvc.objectstore.origin import Origin
from vfs.errors import MountError
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import (
    MountState,
    all_states,
    forget_state,
    load_state,
    mount_directory,
    runtime_directory,
    save_state,
)
from vfs.snapshots.dataset import DatasetRequest

SECRET = "canary-of-a-secret"


KEY = "0123456789abcdef"


def state_of(mountpoint: str) -> MountState:
    return MountState(
        key=KEY,
        mountpoint=mountpoint,
        source="s3://host/bucket",
        repository="s3://host/bucket/.headrace",
        ref="main",
        snapshots=("a" * 40, "b" * 40),
        connection=51,
        cache_directory="/cache",
    )


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_RUNTIME_DIR", str(tmp_path / "run"))


def test_a_saved_state_is_loaded_again_until_it_is_forgotten() -> None:
    state = replace(state_of("/mnt/x"), workers=(2, 3))
    save_state(state)
    assert load_state(KEY) == state
    assert list(all_states()) == [state]
    assert (state.epoch, state.snapshot) == (1, "b" * 40)
    forget_state(KEY)
    assert load_state(KEY) is None


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "7", '{"version": 99}', '{"version": 1}'])
def test_a_state_file_that_is_none_is_as_good_as_absent(content: str) -> None:
    save_state(state_of("/mnt/x"))
    (mount_directory(KEY) / "state.json").write_text(content)
    assert load_state(KEY) is None


def test_the_runtime_directory_is_closed_to_others() -> None:
    assert runtime_directory().stat().st_mode & 0o777 == 0o700


def test_a_runtime_directory_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_directory()
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(MountError, match="belongs to another user"):
        runtime_directory()


def spec_of(directory: Path) -> MountSpec:
    return MountSpec(
        key=KEY,
        mountpoint=Path("/mnt/x"),
        request=DatasetRequest("s3://bucket/d@v1", None, {"secret": SECRET}),
        source=Origin("s3://bucket/d", {"secret": SECRET, "endpoint_url": "http://h"}),
        repository=Origin("file:///repo\udcff", {}),
        ref=None,
        snapshot_id="a" * 40,
        manifest_size=9,
        cache=CacheConfig(directory, size=5),
        uid=1,
        gid=2,
        deadline_seconds=1.5,
        prefetch="train/**",
        environment={"AWS_SECRET_ACCESS_KEY": SECRET},
        identity="somebody",
        mode=0o440,
        no_exec=True,
    )


def test_a_spec_survives_its_way_through_a_pipe(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    again = MountSpec.from_json(spec.to_json())
    assert again == spec
    assert again.source.options["secret"] == SECRET
    assert SECRET not in repr(spec)


def test_a_spec_of_another_version_is_understood(tmp_path: Path) -> None:
    said = json.loads(spec_of(tmp_path).to_json())
    del said["identity"]
    assert MountSpec.from_json(json.dumps({**said, "newer": 1})).identity == ""


def test_a_spec_takes_the_credentials_of_another_of_the_same_mount(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    other = replace(spec, ref="v1", environment={"AWS_SECRET_ACCESS_KEY": "new"})
    taken = spec.with_credentials_of(other)
    assert (taken.environment, taken.ref) == (other.environment, spec.ref)
    with pytest.raises(MountError, match="something else"):
        spec.with_credentials_of(replace(other, snapshot_id="b" * 40))


def test_workers_of_another_container_are_nobody_here() -> None:
    state = replace(state_of("/mnt/x"), workers=(2, 3))
    assert state.workers_in(7) == (2, 3)
    assert replace(state, pid_namespace=7).workers_in(7) == (2, 3)
    assert replace(state, pid_namespace=8).workers_in(7) == ()
