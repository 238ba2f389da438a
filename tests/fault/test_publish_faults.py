"""Publishing to a real S3 server through a proxy that loses answers, refuses and throttles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from cachesvc.errors import AccessDeniedError
from cachesvc.objectstore.origin import parse_origin
from tests.fakes.faultproxy import FaultProxy, LoseAnswer, Reset, Status
from tests.fault.publisher import Silence
from tests.seaweed import SeaweedServer
from vfs.snapshots.dataset import Dataset
from vfs.snapshots.publish import Published, PublishOptions, publish
from vfs.snapshots.repository import opened_repository


@dataclass(frozen=True)
class Place:
    """A local source and a repository in S3 behind the proxy."""

    source: Path
    dataset: Dataset
    proxy: FaultProxy

    def publish(self) -> Published:
        return anyio.run(publish, self.dataset, PublishOptions(), Silence())

    def latest(self) -> str:
        async def find() -> str:
            async with opened_repository(self.dataset.repository) as repository:
                return (await repository.find("main")).snapshot_id

        return anyio.run(find)


@pytest.fixture
def place(tmp_path: Path, s3_server: SeaweedServer, s3_proxy: FaultProxy, s3_url: str) -> Place:
    environ = {**s3_server.environ, "AWS_ENDPOINT_URL": s3_proxy.endpoint}
    (tmp_path / "file").touch()
    repository = parse_origin(s3_url, environ=environ)
    return Place(tmp_path, Dataset(parse_origin(str(tmp_path)), repository, None), s3_proxy)


def test_a_lost_answer_to_the_move_of_a_ref_is_no_conflict(place: Place) -> None:
    place.proxy.inject(LoseAnswer(), method="PUT", part="refs/main", times=1)
    published = place.publish()
    assert published.moved
    assert place.latest() == published.snapshot_id
    assert place.proxy.count("PUT", "refs/main") == 2


def test_a_cut_upload_is_repeated(place: Place) -> None:
    place.proxy.inject(Reset(), method="PUT", part="snapshots/", times=2)
    published = place.publish()
    assert place.latest() == published.snapshot_id


def test_a_refused_upload_leaves_the_old_ref(place: Place) -> None:
    first = place.publish()
    (place.source / "new").touch()
    place.proxy.inject(Status(403, "AccessDenied"), method="PUT", part="snapshots/")
    with pytest.raises(AccessDeniedError, match="snapshots/"):
        place.publish()
    assert place.latest() == first.snapshot_id
    assert place.proxy.count("PUT", "refs/main") == 1


def test_a_throttled_move_is_repeated(place: Place) -> None:
    place.proxy.inject(Status(503, "SlowDown"), method="PUT", part="refs/main", times=2)
    assert place.publish().moved


def test_looking_into_a_small_snapshot_takes_two_requests(place: Place) -> None:
    """The ref, and the manifest's first block."""
    place.publish()
    place.proxy.requests.clear()

    async def look() -> None:
        async with opened_repository(place.dataset.repository) as repository:
            tree = await repository.open("main")
            assert await tree.resolve(b"file") is not None

    anyio.run(look)
    assert place.proxy.requests.total() == 2
