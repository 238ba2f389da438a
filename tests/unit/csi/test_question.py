from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from csi.config import DriverConfig
from csi.credentials import Credentials
from csi.question import Question, question_of
from tests.fakes.csi_node import call_of
from vfs.snapshots.dataset import split_source_ref

CONFIG = DriverConfig(Path("/csi.sock"), "node", state_dir=Path("/state"), workers=3)


def ask(attributes: Mapping[str, str] | None = None, group: int | None = None) -> Question:
    call = call_of(Path("/pods/mount"), attributes=attributes)
    arguments = replace(call.wanted.arguments, mount_group=group)
    call = replace(call, wanted=replace(call.wanted, arguments=arguments))
    return question_of(call, Credentials("node"), CONFIG)


def test_what_the_volume_does_not_say_the_settings_do() -> None:
    assert ask() == {
        "source": "s3://bucket/imagenet@main",
        "repository": None,
        "options": {},
        "environment": None,
        "identity": "node",
        "mounts": "/state/mounts",
        "uid": 0,
        "gid": 0,
        "mode": None,
        "no_exec": True,
        "workers": 3,
        "read_ahead_kib": 4096,
        "prefetch": None,
        "deadline_seconds": 60.0,
        "hang_budget_seconds": 30.0,
        "snapshot_id": None,
    }


def test_what_the_volume_says_goes_before_the_settings() -> None:
    asked = ask({"workers": "1", "readAhead": "0", "deadline": "5", "endpoint": "http://h"})
    assert (asked["workers"], asked["read_ahead_kib"], asked["deadline_seconds"]) == (1, 0, 5.0)
    assert asked["options"] == {"endpoint_url": "http://h"}


@pytest.mark.parametrize(
    ("attributes", "group", "gid"),
    [
        ({}, 2000, 0),
        ({"mode": "0444"}, 2000, 0),
        ({"mode": "0440"}, 2000, 2000),
        ({"mode": "0440", "gid": "7"}, 2000, 7),
        ({"mode": "0440"}, None, 0),
    ],
)
def test_the_pods_group_owns_files_only_where_its_members_may_do_more(
    attributes: dict[str, str], group: int | None, gid: int
) -> None:
    """Else pods of different groups share one mount."""
    assert ask(attributes, group)["gid"] == gid


@pytest.mark.parametrize(
    "dataset", ["s3://bucket", "https://host", "https://host/a", "s3://bucket/a@b@c", "s3://b@v1"]
)
def test_the_mounter_reads_the_same_place_and_name(dataset: str) -> None:
    call = call_of(Path("/pods/mount"), attributes={"dataset": dataset})
    source = question_of(call, Credentials("node"), CONFIG)["source"]
    place, name = split_source_ref(str(source))
    assert (place.rstrip("/"), name) == (call.attributes.dataset, call.attributes.name)
