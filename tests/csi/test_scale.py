"""Many pods on one node: one mount for all that show the same, and nothing left when they go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.csi.bucket import FILES, Bucket, new_bucket, write_files
from tests.csi.cluster import HOLDERS, NODE_NAME, ClusterNode, cluster_node
from tests.csi.crowd import Claim, Crowd, pods_with_volumes
from tests.csi.pods import Pod
from tests.fakes.faultproxy import FaultProxy
from tests.fakes.kube_api import FakeKubeApi, fake_kube_api
from tests.node import wait_until
from tests.seaweed import SeaweedServer

AT_ONCE = 60
PODS, VOLUMES, DATASETS = 20, 4, 5
MOST_REQUESTS = 8
"""To the object store, for the first publish of a dataset on a node."""


@pytest.fixture(scope="module")
def api() -> Iterator[FakeKubeApi]:
    with fake_kube_api(FakeKubeApi(NODE_NAME)) as made:
        yield made


@pytest.fixture(scope="module")
def crowded(api: FakeKubeApi, bucket: Bucket) -> Iterator[ClusterNode]:
    """A node on which a volume came and went, so that all who stay are there."""
    with cluster_node("--grace=0", "--kube-api", f"--kube-url={api.url}") as made:
        Crowd(made.kubelet, claims := [Claim(Pod(), bucket.volume())], 1).publish()
        Crowd(made.kubelet, claims, 1).tear_down()
        made.await_tidiness()
        yield made


@pytest.fixture(scope="module")
def buckets(s3_server: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> list[Bucket]:
    """Some published datasets, each with a file that tells it from the others."""
    place = tmp_path_factory.mktemp("datasets")

    def make(number: int) -> Bucket:
        made = new_bucket(s3_server, place)
        made.snapshot(write_files(place / str(number), {**FILES, "name": b"%d" % number}))
        return made

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(make, range(DATASETS)))


def held(node: ClusterNode) -> Mapping[str, list[int]]:
    """Return how many descriptors each of the holders has, and how many of each role there are."""
    roles = node.roles()
    counts = {role: [len(os.listdir(f"/proc/{pid}/fd")) for pid in roles[role]] for role in HOLDERS}
    return {**counts, "processes": [len(pids) for pids in roles.values()]}


def test_many_publishes_at_once_share_one_mount(crowded: ClusterNode, bucket: Bucket) -> None:
    before = held(crowded)
    crowd = Crowd(crowded.kubelet, [Claim(Pod(), bucket.volume()) for _ in range(AT_ONCE)], AT_ONCE)
    crowd.publish()
    assert len(crowded.source_mounts()) == 1
    assert {(target / "readme").read_bytes() for target in crowd.targets()} == {FILES["readme"]}
    crowd.tear_down()
    crowded.await_tidiness()
    wait_until(lambda: held(crowded) == before)


def test_many_pods_with_volumes_of_some_datasets_leave_nothing(
    crowded: ClusterNode, buckets: list[Bucket]
) -> None:
    before = held(crowded)
    crowd = Crowd(crowded.kubelet, pods_with_volumes(PODS, buckets, VOLUMES), at_once=16)
    crowd.publish()
    assert len(crowded.source_mounts()) == DATASETS
    for target, claim in zip(crowd.targets(), crowd.claims, strict=True):
        number = [bucket.url for bucket in buckets].index(claim.volume.attributes["dataset"])
        assert (target / "name").read_bytes() == b"%d" % number
    crowd.tear_down()
    crowded.await_tidiness()
    wait_until(lambda: held(crowded) == before)


def test_what_comes_while_others_leave_is_served_all_the_same(
    crowded: ClusterNode, buckets: list[Bucket]
) -> None:
    before = held(crowded)
    crowds = [
        Crowd(crowded.kubelet, pods_with_volumes(8, buckets, 1), at_once=4, seed=seed)
        for seed in range(4)
    ]

    def come_and_go(crowd: Crowd) -> None:
        for _ in range(3):
            crowd.publish()
            assert all((target / "name").read_bytes() for target in crowd.targets())
            crowd.tear_down()

    with ThreadPoolExecutor(len(crowds)) as threads:
        list(threads.map(come_and_go, crowds))
    crowded.await_tidiness()
    wait_until(lambda: held(crowded) == before)


def test_a_publish_lists_nothing_and_asks_no_api_server(
    crowded: ClusterNode, proxied: Bucket, s3_proxy: FaultProxy, api: FakeKubeApi
) -> None:
    s3_proxy.requests.clear()
    crowd = Crowd(crowded.kubelet, [Claim(Pod(), proxied.volume()) for _ in range(8)], 8)
    crowd.publish()
    assert 0 < s3_proxy.requests.total() <= MOST_REQUESTS
    assert s3_proxy.count("GET", "list-type") == 0
    assert api.requests == []
    crowd.tear_down()
    crowded.await_tidiness()


def test_a_publish_of_what_was_just_published_asks_the_store_nothing(
    crowded: ClusterNode, proxied: Bucket, s3_proxy: FaultProxy
) -> None:
    first = Crowd(crowded.kubelet, [Claim(Pod(), proxied.volume())], 1)
    first.publish()
    asked = s3_proxy.requests.total()
    others = Crowd(crowded.kubelet, [Claim(Pod(), proxied.volume()) for _ in range(8)], 8)
    others.publish()
    assert s3_proxy.requests.total() == asked
    others.tear_down()
    first.tear_down()
    crowded.await_tidiness()
