"""The driver as the kubelet meets it: real processes, real FUSE mounts, a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.csi.bucket import Bucket, new_bucket, write_files
from tests.csi.cluster import ClusterNode, cluster_node
from tests.fakes.faultproxy import FaultProxy
from tests.seaweed import SeaweedServer


@pytest.fixture(scope="session")
def bucket(s3_server: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """A published dataset of `FILES` that no test changes."""
    place = tmp_path_factory.mktemp("dataset")
    made = new_bucket(s3_server, place)
    made.snapshot(write_files(place / "files"))
    return made


@pytest.fixture
def own_bucket(s3_server: SeaweedServer, tmp_path: Path) -> Bucket:
    """A published dataset of `FILES` that this test may change."""
    made = new_bucket(s3_server, tmp_path)
    made.snapshot(write_files(tmp_path / "files"))
    return made


@pytest.fixture
def proxied(s3_server: SeaweedServer, s3_proxy: FaultProxy, tmp_path: Path) -> Bucket:
    """A published dataset of `FILES`, of this test alone, that is reached through `s3_proxy`."""
    made = new_bucket(replace(s3_server, endpoint=s3_proxy.endpoint), tmp_path)
    made.snapshot(write_files(tmp_path / "files"))
    return made


@pytest.fixture(scope="module")
def shared_node() -> Iterator[ClusterNode]:
    """A node for tests that neither kill nor configure anything and unpublish what they publish."""
    with cluster_node("--grace=0") as made:
        yield made


@pytest.fixture
def node(shared_node: ClusterNode) -> Iterator[ClusterNode]:
    """The shared node, on which nothing is left of this test afterwards."""
    yield shared_node
    shared_node.await_tidiness()


@pytest.fixture
def own_node() -> Iterator[ClusterNode]:
    """A node of this test's own."""
    with cluster_node("--grace=0") as made:
        yield made
