"""Questions about datasets: what they say, and which of them share a mount."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cachesvc.errors import UsageError
from cachesvc.objectstore.origin import Origin
from vfs.mounting.resolving import ResolveRequest, key_of
from vfs.snapshots.dataset import Dataset
from vfs.snapshots.repository import StoredSnapshot

SECRET = "canary-of-a-secret"
REQUEST = ResolveRequest("s3://b/p", "/mounts", {"AWS_SECRET_ACCESS_KEY": SECRET})
DATASET = Dataset(Origin("file:///a"), Origin("file:///a/.headrace"), None)
FOUND = StoredSnapshot("a" * 40, 9)


def key(
    request: ResolveRequest = REQUEST, dataset: Dataset = DATASET, found: StoredSnapshot = FOUND
) -> str:
    return key_of(request, dataset, found)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "s3://b/p@main"},
        {"environment": {}},
        {"uid": 0},
        {"hang_budget_seconds": 5.0},
        {"snapshot_id": "a" * 40},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_mount_is_shared_whatever_else_differs(change: dict[str, Any]) -> None:
    assert key(replace(REQUEST, **change)) == key()


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "other"},
        {"uid": 1},
        {"gid": 1},
        {"mode": 0o444},
        {"workers": 2},
        {"read_ahead_kib": 1},
        {"prefetch": "*"},
        {"deadline_seconds": 5.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_readers_notice_makes_another_mount(change: dict[str, Any]) -> None:
    assert key(replace(REQUEST, **change)) != key()


def test_another_snapshot_source_or_repository_makes_another_mount() -> None:
    other = Origin("file:///other")
    keys = {
        key(),
        key(found=StoredSnapshot("b" * 40, 9)),
        key(dataset=replace(DATASET, source=other)),
        key(dataset=replace(DATASET, repository=other)),
    }
    assert len(keys) == 4
    assert {len(each) for each in keys} == {32}


def test_a_question_in_unknown_words_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="colour") as refused:
        ResolveRequest.from_fields({"source": "s3://b/p", "colour": SECRET})
    assert SECRET not in str(refused.value)


def test_a_question_shows_no_secret() -> None:
    shown = repr(replace(REQUEST, options={"secret": SECRET}))
    assert SECRET not in shown
    assert str(Path("/mounts")) in shown
