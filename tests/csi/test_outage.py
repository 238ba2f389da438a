"""The object store away, memory used up, workers that hang: pods wait, and are told why."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Thread

import grpc
import pytest

from csi.proto import csi_pb2 as pb
from csi.proto import csi_pb2_grpc as rpc
from tests.csi.bucket import FILES, Bucket
from tests.csi.cluster import ClusterNode, cluster_node
from tests.csi.crowd import Claim, Crowd
from tests.csi.kubelet import PublishError, calling
from tests.csi.pods import Pod
from tests.fakes.faultproxy import Fault, FaultProxy, HangBeforeHeaders, Reset
from tests.node import wait_until

DEADLINE_SECONDS = 3
HANG_BUDGET_SECONDS = 3
ROOM_BYTES = 40 << 20
"""What the driver reckons a worker to take."""


def take_away(store: FaultProxy, fault: Fault) -> None:
    for method in ("GET", "HEAD"):
        store.inject(fault, method=method)


def read_past_the_page_cache(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.read(descriptor, 1 << 20)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("fault", [HangBeforeHeaders(), Reset()])
def test_without_the_store_mounts_stay_and_what_is_cached_is_read(
    node: ClusterNode, proxied: Bucket, s3_proxy: FaultProxy, fault: Fault
) -> None:
    pod, volume = Pod(), proxied.volume(deadline=f"{DEADLINE_SECONDS}s")
    target = node.kubelet.publish(pod, volume)
    assert (target / "readme").read_bytes() == FILES["readme"]
    take_away(s3_proxy, fault)

    began = time.monotonic()
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_past_the_page_cache(target / "train/dog.txt")
    waited = time.monotonic() - began

    assert caught.value.errno == errno.EIO
    assert DEADLINE_SECONDS - 1 < waited < 2 * DEADLINE_SECONDS + 5  # the kernel asks twice
    assert read_past_the_page_cache(target / "readme") == FILES["readme"]
    node.kubelet.stat(target)
    s3_proxy.heal()
    wait_until(lambda: can_be_read(target / "train/dog.txt", FILES["train/dog.txt"]))
    node.kubelet.unpublish(pod, volume)


def can_be_read(path: Path, content: bytes) -> bool:
    try:
        return read_past_the_page_cache(path) == content
    except OSError:
        return False


def test_the_driver_is_ready_whether_or_not_the_store_is_there(
    node: ClusterNode, proxied: Bucket, s3_proxy: FaultProxy
) -> None:
    pod, volume = Pod(), proxied.volume(deadline=f"{DEADLINE_SECONDS}s")
    target = node.kubelet.publish(pod, volume)
    take_away(s3_proxy, HangBeforeHeaders())
    reading = Thread(target=can_be_read, args=(target / "readme", FILES["readme"]))
    reading.start()
    while reading.is_alive():
        with calling(node.endpoint) as channel:
            answer = rpc.IdentityStub(channel).Probe(pb.ProbeRequest(), timeout=1)
        assert answer.ready.value
        reading.join(0.2)
    node.kubelet.unpublish(pod, volume)


@pytest.mark.parametrize("fault", [HangBeforeHeaders(), Reset()])
def test_access_that_cannot_be_checked_is_not_given_yet(
    node: ClusterNode, proxied: Bucket, s3_proxy: FaultProxy, fault: Fault
) -> None:
    known, other = proxied.volume(), proxied.volume(uid="7")
    pod, late = Pod(), Pod()
    node.kubelet.publish(pod, known)
    take_away(s3_proxy, fault)
    with pytest.raises(PublishError) as caught:
        node.kubelet.publish(late, other)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert proxied.url in caught.value.text
    assert "access cannot be checked while the object store does not answer" in caught.value.text
    s3_proxy.heal()
    target = node.kubelet.publish_patiently(late, other)
    assert (target / "readme").read_bytes() == FILES["readme"]
    node.kubelet.unpublish(pod, known)
    node.kubelet.unpublish(late, other)


def test_over_the_memory_budget_a_pod_waits_until_another_has_left(bucket: Bucket) -> None:
    with cluster_node("--grace=0", f"--memory-budget={2 * ROOM_BYTES}") as small:
        pods = [Pod() for _ in range(3)]
        volumes = [bucket.volume(uid=str(number)) for number in range(3)]
        for pod, volume in zip(pods[:2], volumes, strict=False):
            small.kubelet.publish(pod, volume)
        with pytest.raises(PublishError, match="raise the memory budget") as caught:
            small.kubelet.publish(pods[2], volumes[2])
        assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        small.kubelet.unpublish(pods[0], volumes[0])
        target = small.kubelet.publish_patiently(pods[2], volumes[2])
        assert (target / "readme").read_bytes() == FILES["readme"]
        for pod, volume in zip(pods[1:], volumes[1:], strict=True):
            small.kubelet.unpublish(pod, volume)
        small.await_tidiness()


def code_of_publish(node: ClusterNode, claim: Claim) -> grpc.StatusCode | None:
    try:
        node.kubelet.publish(claim.pod, claim.volume)
    except PublishError as error:
        return error.code
    return None


def test_the_memory_budget_holds_also_when_all_come_at_once(bucket: Bucket) -> None:
    with cluster_node("--grace=0", f"--memory-budget={2 * ROOM_BYTES}") as small:
        claims = [Claim(Pod(), bucket.volume(uid=str(number))) for number in range(6)]

        with ThreadPoolExecutor(len(claims)) as threads:
            codes = list(threads.map(partial(code_of_publish, small), claims))
        assert Counter(codes) == {None: 2, grpc.StatusCode.RESOURCE_EXHAUSTED: 4}
        assert len(small.source_mounts()) == 2
        Crowd(small.kubelet, claims, 6).tear_down()
        small.await_tidiness()


def test_a_mount_that_nobody_uses_makes_room_for_one_that_somebody_wants(bucket: Bucket) -> None:
    with cluster_node("--grace=600", f"--memory-budget={ROOM_BYTES}") as small:
        for number in range(2):
            pod, volume = Pod(), bucket.volume(uid=str(number))
            target = small.kubelet.publish_patiently(pod, volume)
            assert (target / "readme").stat().st_uid == number
            small.kubelet.unpublish(pod, volume)
        assert len(small.source_mounts()) == 1


@pytest.fixture
def impatient() -> Iterator[ClusterNode]:
    """A node that waits for silent workers only briefly."""
    with cluster_node("--grace=0", f"--hang-budget={HANG_BUDGET_SECONDS}") as made:
        yield made


def test_workers_that_hang_block_the_kubelet_no_longer_than_the_budget(
    impatient: ClusterNode, bucket: Bucket
) -> None:
    pod, volume = Pod(), bucket.volume(workers="2")
    target = impatient.kubelet.publish(pod, volume)
    workers = impatient.roles()["worker"]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    impatient.kubelet.stat(target)
    os.statvfs(target)  # which the kernel does not answer by itself
    assert (target / "test/bird.txt").read_bytes() == FILES["test/bird.txt"]
    assert HANG_BUDGET_SECONDS / 2 < time.monotonic() - began < HANG_BUDGET_SECONDS + 5
    impatient.kubelet.unpublish(pod, volume)
    impatient.await_tidiness()
