"""The kubelet knows the driver, whatever happens to either, and to what lies between them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from csi.proto import csi_pb2 as pb
from csi.proto import csi_pb2_grpc as rpc
from tests.csi.bucket import FILES, Bucket
from tests.csi.cluster import DRIVER_NAME, NODE_NAME, ClusterNode, cluster_node
from tests.csi.kubelet import calling
from tests.csi.pods import Pod
from tests.node import wait_until

CALL_SECONDS = 10


@pytest.fixture
def node() -> Iterator[ClusterNode]:
    with cluster_node("--grace=0") as made:
        yield made


def registration_socket(node: ClusterNode) -> Path:
    return node.kubelet.directory / "plugins_registry" / f"{DRIVER_NAME}-reg.sock"


def works(node: ClusterNode, bucket: Bucket) -> None:
    """Publish, read and unpublish."""
    pod, volume = Pod(), bucket.volume()
    target = node.kubelet.publish_patiently(pod, volume)
    assert (target / "readme").read_bytes() == FILES["readme"]
    node.kubelet.unpublish_patiently(pod, volume)


def unregister(node: ClusterNode) -> None:
    """Return when the kubelet has noticed that the driver went, or does so as it comes back."""
    wait_until(lambda: not node.kubelet.registered)


def test_a_kubelet_that_restarts_registers_it_again(node: ClusterNode, bucket: Bucket) -> None:
    for _ in range(2):
        node.kubelet.restart()
        assert node.kubelet.await_driver().node_id == NODE_NAME
    works(node, bucket)


@pytest.mark.parametrize("wiped", ["socket", "registry", "csi.sock"])
def test_what_was_deleted_comes_back(node: ClusterNode, bucket: Bucket, wiped: str) -> None:
    match wiped:
        case "socket":
            registration_socket(node).unlink()
            unregister(node)
        case "registry":
            shutil.rmtree(registration_socket(node).parent)
            registration_socket(node).parent.mkdir()
            unregister(node)
        case _:
            node.endpoint.unlink()
            wait_until(node.endpoint.exists)
    node.kubelet.await_driver()
    works(node, bucket)


def test_a_registry_that_was_away_is_served_again(node: ClusterNode, bucket: Bucket) -> None:
    """The kubelet makes it when it starts."""
    node.kubelet.stop()
    shutil.rmtree(registration_socket(node).parent)
    wait_until(lambda: "trying again" in node.log())
    registration_socket(node).parent.mkdir()
    node.kubelet.start()
    node.kubelet.await_driver()
    works(node, bucket)


def test_a_killed_driver_leaves_sockets_that_its_successor_replaces(
    node: ClusterNode, bucket: Bucket
) -> None:
    for _ in range(3):
        inode = registration_socket(node).stat().st_ino
        node.kill("node")
        assert node.endpoint.exists()
        node.start("node")
        wait_until(partial(_is_another, registration_socket(node), inode))
        node.await_service()
    left = [path.name for path in registration_socket(node).parent.iterdir()]
    assert left == [f"{DRIVER_NAME}-reg.sock"]
    works(node, bucket)


def _is_another(path: Path, inode: int) -> bool:
    return path.exists() and path.stat().st_ino != inode


def test_an_overlapping_restart_leaves_the_newer_one_registered(
    node: ClusterNode, bucket: Bucket
) -> None:
    """A rolling update with surge: the old one ends after the new one has begun."""
    inode = registration_socket(node).stat().st_ino
    older = node.pid("node")
    node.start_beside("node")
    wait_until(partial(_is_another, registration_socket(node), inode))
    node.await_service()
    os.kill(older, signal.SIGTERM)
    wait_until(lambda: older not in node.pids())
    node.kubelet.await_driver()
    assert registration_socket(node).exists()
    works(node, bucket)


def test_a_stopped_driver_unregisters_itself(node: ClusterNode) -> None:
    assert node.terminate("node") == 0
    unregister(node)
    assert not node.endpoint.exists()


def test_a_sidecar_may_register_it(bucket: Bucket) -> None:
    """It asks for the driver's name and node, and says to the kubelet where the driver is."""
    with cluster_node("--grace=0", "--no-registration", awaited=False) as node:
        wait_until(node.is_connected)
        assert not registration_socket(node).exists()
        with calling(node.endpoint) as channel:
            info = rpc.IdentityStub(channel).GetPluginInfo(
                pb.GetPluginInfoRequest(), timeout=CALL_SECONDS
            )
            about = rpc.NodeStub(channel).NodeGetInfo(pb.NodeGetInfoRequest(), timeout=CALL_SECONDS)
        assert (info.name, about.node_id) == (DRIVER_NAME, NODE_NAME)
        node.kubelet.know(info.name, node.endpoint, about.node_id)
        works(node, bucket)


def test_a_publish_between_two_lives_is_tried_again(node: ClusterNode, bucket: Bucket) -> None:
    node.kill("node")
    with pytest.raises(Exception, match=grpc.StatusCode.UNAVAILABLE.name):
        node.kubelet.publish(Pod(), bucket.volume())
    began = time.monotonic()
    node.start("node")
    works(node, bucket)
    assert time.monotonic() - began < 30
    node.kubelet.tear_down_all()
