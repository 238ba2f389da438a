"""What operators see on /metrics while pods mount and read."""

from __future__ import annotations

from tests.csi.bucket import FILES, Bucket
from tests.csi.cluster import ClusterNode
from tests.csi.pods import Pod
from tests.node import wait_until


def sample(node: ClusterNode, series: str) -> float:
    """Return the value of one series, 0 when there is none."""
    for line in node.metrics().splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    return 0.0


def test_mounts_and_the_pods_that_share_them_are_counted(node: ClusterNode, bucket: Bucket) -> None:
    pods, volume = [Pod(), Pod()], bucket.volume()
    for pod in pods:
        node.kubelet.publish(pod, volume)
    wait_until(lambda: sample(node, "headrace_csi_references") == 2)
    assert sample(node, "headrace_csi_mounts") == 1
    for pod in pods:
        node.kubelet.unpublish(pod, volume)
    wait_until(lambda: sample(node, "headrace_csi_references") == 0)
    wait_until(lambda: sample(node, "headrace_csi_mounts") == 0)


def test_what_pods_read_is_counted_by_dataset_also_when_they_are_gone(
    node: ClusterNode, own_bucket: Bucket
) -> None:
    def read(result: str) -> float:
        labels = f'{{dataset="{own_bucket.url}",result="{result}"}}'
        return sample(node, f"headrace_csi_dataset_bytes_total{labels}")

    pod, volume = Pod(), own_bucket.volume()
    target = node.kubelet.publish(pod, volume)
    for name in FILES:
        (target / name).read_bytes()
    wait_until(lambda: read("miss") + read("hit") >= sum(map(len, FILES.values())))
    counted = read("miss") + read("hit")
    node.kubelet.unpublish(pod, volume)
    node.await_tidiness()
    assert read("miss") + read("hit") >= counted


def test_calls_are_counted_by_what_became_of_them(node: ClusterNode, bucket: Bucket) -> None:
    series = 'headrace_csi_rpc_seconds_count{code="OK",method="NodePublishVolume"}'
    before, pod, volume = sample(node, series), Pod(), bucket.volume()
    node.kubelet.publish(pod, volume)
    assert sample(node, series) == before + 1
    node.kubelet.unpublish(pod, volume)
