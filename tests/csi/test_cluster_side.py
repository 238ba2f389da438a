"""What the cluster sees of a node's driver: a taint that goes, events that are few, no calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.csi.bucket import Bucket
from tests.csi.cluster import NODE_NAME, ClusterNode, cluster_node
from tests.csi.kubelet import PublishError
from tests.csi.pods import Pod, Volume
from tests.fakes.kube_api import FakeKubeApi, fake_kube_api
from tests.node import wait_until

TAINT = "csi.headrace.dev/agent-not-ready"
ATTEMPTS = 5


@pytest.fixture
def api() -> Iterator[FakeKubeApi]:
    with fake_kube_api(FakeKubeApi(NODE_NAME, [{"key": TAINT, "effect": "NoExecute"}])) as made:
        yield made


@pytest.fixture
def node(api: FakeKubeApi) -> Iterator[ClusterNode]:
    options = ("--grace=0", "--kube-api", f"--kube-url={api.url}", f"--startup-taint={TAINT}")
    with cluster_node(*options) as made:
        wait_until(lambda: not api.taints)
        yield made


def test_pods_come_and_go_without_a_call_to_the_api_server(
    node: ClusterNode, bucket: Bucket, api: FakeKubeApi
) -> None:
    api.requests.clear()
    pods, volume = [Pod() for _ in range(5)], bucket.volume()
    for pod in pods:
        node.kubelet.publish(pod, volume)
        node.kubelet.publish(pod, volume)
    for pod in pods:
        node.kubelet.unpublish(pod, volume)
    node.await_tidiness()
    assert api.requests == []


def test_a_failure_is_told_once_with_dataset_and_what_to_do(
    node: ClusterNode, bucket: Bucket, api: FakeKubeApi
) -> None:
    pod, volume = Pod(name="trainer-7"), bucket.volume(ref="nothing")
    for _ in range(ATTEMPTS):
        with pytest.raises(PublishError):
            node.kubelet.publish(pod, volume)
    with pytest.raises(PublishError):
        node.kubelet.publish(Pod(name="last"), Volume("data", {"dataset": bucket.url}))
    wait_until(lambda: any(told["involvedObject"]["name"] == "last" for told in api.events))
    first, last = api.events
    assert (first["reason"], first["type"]) == ("DatasetNotMounted", "Warning")
    assert first["involvedObject"]["uid"] == pod.uid
    assert bucket.url in first["message"]
    assert "headrace snapshot" in first["message"]
    assert "nodePublishSecretRef" in last["message"]


def test_an_api_server_that_fails_delays_no_publish(
    node: ClusterNode, bucket: Bucket, api: FakeKubeApi
) -> None:
    api.refusals = 1000
    with pytest.raises(PublishError):
        node.kubelet.publish(Pod(), bucket.volume(ref="nothing"))
    pod, volume = Pod(), bucket.volume()
    node.kubelet.publish(pod, volume)
    node.kubelet.unpublish(pod, volume)
    wait_until(lambda: "headrace_csi_events_dropped_total 1.0" in node.metrics())


def test_the_taint_is_not_put_back_and_not_looked_at_again(
    node: ClusterNode, api: FakeKubeApi
) -> None:
    asked = len(api.requests)
    node.kill("mounter")
    node.kubelet.restart()
    node.kubelet.await_driver()
    node.start("mounter")
    node.await_service()
    assert api.taints == []
    assert len(api.requests) == asked


def test_a_node_that_was_never_served_keeps_its_taint(api: FakeKubeApi) -> None:
    options = ("--kube-api", f"--kube-url={api.url}", f"--startup-taint={TAINT}")
    with cluster_node(*options, programs=("node",), awaited=False) as node:
        node.kubelet.await_driver()
        assert not node.is_connected()
        assert api.requests == []
        node.start("mounter", "keeper")
        wait_until(lambda: not api.taints)
