"""Whatever dies, pods read on: a pause, never an error."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.csi.blows import PUBLISH_STEPS, UNPUBLISH_STEPS
from tests.csi.bucket import FILES, Bucket, new_bucket, write_files
from tests.csi.cluster import ClusterNode, cluster_node
from tests.csi.containers import Container, containers
from tests.csi.pods import Pod, Volume
from tests.node import wait_until
from tests.seaweed import SeaweedServer
from vfs.mounting.mountinfo import mounted_at

MANY: dict[str, bytes] = {
    f"part-{number // 50}/{number:04}": os.urandom(20_000 + 37 * number) for number in range(200)
}


@pytest.fixture(scope="module")
def many(s3_server: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """A published dataset of a few hundred files."""
    place = tmp_path_factory.mktemp("many")
    made = new_bucket(s3_server, place)
    made.snapshot(write_files(place / "files", MANY))
    return made


class Busy:
    """A node on which containers read without a pause."""

    def __init__(self, node: ClusterNode, bucket: Bucket, readers: list[Container]) -> None:
        self.node = node
        self.bucket = bucket
        self.readers = readers

    def read_on(self) -> None:
        """Return when a pod that comes now is served too, and every file was read once more."""
        pod, volume = Pod(), self.bucket.volume()
        target = self.node.kubelet.publish_patiently(pod, volume)
        for name, content in MANY.items():
            assert (target / name).read_bytes() == content
        self.node.kubelet.unpublish_patiently(pod, volume)

    def finish(self) -> None:
        """Check that nobody saw an error or a wrong byte."""
        for reader in self.readers:
            report = reader.finish()
            assert (report.errors, report.wrong) == (0, 0), f"{report}\n{self.node.log()}"
            assert report.read > 0


@pytest.fixture
def busy(own_node: ClusterNode, many: Bucket, tmp_path: Path) -> Iterator[Busy]:
    pods, volume = [Pod() for _ in range(4)], many.volume()
    targets = [own_node.kubelet.publish(pod, volume) for pod in pods]
    with containers(targets, tmp_path, MANY) as readers:
        yield Busy(own_node, many, readers)
    for pod in pods:
        own_node.kubelet.unpublish_patiently(pod, volume)
    own_node.await_tidiness()


@pytest.mark.parametrize("program", ["node", "mounter", "keeper"])
def test_no_pod_notices_that_one_of_them_was_killed(busy: Busy, program: str) -> None:
    for _ in range(2):
        busy.node.kill(program)
        busy.node.start(program)
        busy.read_on()
    busy.finish()


@pytest.mark.parametrize("pair", list(itertools.combinations(["node", "mounter", "keeper"], 2)))
def test_no_pod_notices_that_two_of_them_were_killed_at_once(
    busy: Busy, pair: tuple[str, str]
) -> None:
    for program in pair:
        busy.node.kill(program)
    for program in reversed(pair):
        busy.node.start(program)
    busy.read_on()
    busy.finish()


@pytest.mark.parametrize("words", ["vfs.mounting.mounter", "vfs.mounting.zygote", "cachesvc"])
def test_no_pod_notices_that_a_part_of_the_mounter_was_killed(busy: Busy, words: str) -> None:
    pids = busy.node.pids_of(words)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    busy.read_on()
    busy.finish()


@pytest.mark.parametrize("program", ["node", "mounter", "keeper"])
def test_an_orderly_end_of_each_is_not_noticed_either(busy: Busy, program: str) -> None:
    assert busy.node.terminate(program) == 0
    busy.node.start(program)
    busy.read_on()
    busy.finish()


def test_the_mounter_ends_only_when_a_driver_that_stays_holds_everything(busy: Busy) -> None:
    busy.node.kill("node")
    mounter = busy.node.pid("mounter")
    os.kill(mounter, signal.SIGTERM)
    with pytest.raises(Exception, match="timed out"):
        busy.node.terminate("mounter", 1.0)
    busy.node.start("node")
    assert busy.node.terminate("mounter") == 0
    busy.node.start("mounter")
    busy.read_on()
    busy.finish()


def test_when_all_holders_die_the_mount_is_made_anew_also_in_containers_that_propagate(
    own_node: ClusterNode, many: Bucket, tmp_path: Path
) -> None:
    pods, volume = [Pod(), Pod()], many.volume()
    targets = [own_node.kubelet.publish(pod, volume) for pod in pods]
    (before,) = own_node.source_mounts()
    with containers(targets, tmp_path, MANY, propagation="slave") as readers:
        for program in ("keeper", "node", "mounter"):
            own_node.kill(program)
        own_node.start()
        wait_until(lambda: _is_readable(targets[0]) and _is_readable(targets[1]), 60)
        Busy(own_node, many, readers).read_on()
        (after,) = own_node.source_mounts()
        assert after.minor != before.minor
        for reader in readers:
            report = reader.finish()
            assert report.wrong == 0
            assert "not connected" in report.last_error or report.errors == 0
    own_node.kubelet.unpublish_patiently(pods[0], volume)
    assert (targets[1] / "part-0/0000").read_bytes() == MANY["part-0/0000"]
    own_node.kubelet.unpublish_patiently(pods[1], volume)
    own_node.await_tidiness()


def _is_readable(target: Path) -> bool:
    try:
        return (target / "part-0/0000").read_bytes() == MANY["part-0/0000"]
    except OSError:
        return False


def test_a_kernel_that_repeats_nothing_costs_what_was_in_flight_and_no_more(
    many: Bucket,
) -> None:
    with cluster_node("--grace=0", environment={"HEADRACE_SIMULATE_NO_RESEND": "1"}) as node:
        pod, part = Pod(), Pod()
        whole, half = many.volume(), many.volume(subPath="part-1")
        targets = [node.kubelet.publish(pod, whole), node.kubelet.publish(part, half)]
        before = mounted_at(targets[0])
        for pid in node.pids_of("headrace-worker") or node.pids_of("vfs.mounting.zygote"):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _is_readable(targets[0]), 60)
        wait_until(lambda: (targets[1] / "0050").read_bytes() == MANY["part-1/0050"], 60)
        after = mounted_at(targets[0])
        assert before is not None
        assert after is not None
        assert before.minor != after.minor
        node.kubelet.unpublish(pod, whole)
        node.kubelet.unpublish(part, half)
        node.await_tidiness()


@pytest.fixture(scope="module")
def fragile() -> Iterator[ClusterNode]:
    """A node whose driver is killed again and again."""
    with cluster_node("--grace=0") as made:
        yield made


@pytest.mark.parametrize("step", PUBLISH_STEPS)
def test_a_driver_killed_in_a_publish_finishes_it_when_asked_again(
    fragile: ClusterNode, bucket: Bucket, step: str
) -> None:
    _restart_with_fault(fragile, f"publish.{step}=kill")
    pod, volume = Pod(), bucket.volume()
    with pytest.raises(Exception, match="UNAVAILABLE"):
        fragile.kubelet.publish(pod, volume)
    fragile.start("node")
    target = fragile.kubelet.publish_patiently(pod, volume)
    assert (target / "readme").read_bytes() == FILES["readme"]
    fragile.kubelet.unpublish(pod, volume)
    fragile.await_tidiness()


@pytest.mark.parametrize("step", PUBLISH_STEPS)
def test_a_pod_deleted_after_a_driver_was_killed_in_its_publish_leaves_nothing(
    fragile: ClusterNode, bucket: Bucket, step: str
) -> None:
    _restart_with_fault(fragile, f"publish.{step}=kill")
    pod, volume = Pod(), bucket.volume()
    with pytest.raises(Exception, match="UNAVAILABLE"):
        fragile.kubelet.publish(pod, volume)
    fragile.start("node")
    fragile.kubelet.unpublish_patiently(pod, volume)
    fragile.await_tidiness()


@pytest.mark.parametrize("step", PUBLISH_STEPS)
def test_a_bug_in_a_publish_leaves_nothing(fragile: ClusterNode, bucket: Bucket, step: str) -> None:
    _restart_with_fault(fragile, f"publish.{step}=fail")
    with pytest.raises(Exception, match="INTERNAL"):
        fragile.kubelet.publish(Pod(), bucket.volume())
    fragile.await_tidiness()


@pytest.mark.parametrize("step", UNPUBLISH_STEPS)
def test_a_driver_killed_in_an_unpublish_finishes_it_when_asked_again(
    fragile: ClusterNode, bucket: Bucket, step: str
) -> None:
    _restart_with_fault(fragile, f"unpublish.{step}=kill")
    pod, volume = Pod(), bucket.volume()
    fragile.kubelet.publish_patiently(pod, volume)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        fragile.kubelet.unpublish(pod, volume)
    fragile.start("node")
    fragile.kubelet.unpublish_patiently(pod, volume)
    fragile.await_tidiness()


def _restart_with_fault(node: ClusterNode, plan: str) -> None:
    if node.is_running("node"):
        node.kill("node")
    node.kubelet.registered.clear()
    node.start("node", HEADRACE_CSI_FAULT=plan)
    node.kubelet.restart()
    node.kubelet.await_driver()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_volume_is_unpublished_whatever_became_of_the_mounter(
    own_node: ClusterNode, bucket: Bucket, number: signal.Signals
) -> None:
    pod, volume = Pod(), bucket.volume()
    own_node.kubelet.publish(pod, volume)
    for pid in own_node.mounter_pids():
        os.kill(pid, number)
    own_node.kubelet.unpublish(pod, volume)


def test_a_restarted_kubelet_tears_down_what_it_finds_on_disk(
    own_node: ClusterNode, bucket: Bucket
) -> None:
    for name in ("a", "b"):
        own_node.kubelet.publish(Pod(), bucket.volume(name))
    own_node.kubelet.restart()
    own_node.kubelet.await_driver()
    own_node.kubelet.tear_down_all()
    own_node.await_tidiness()


def test_a_restarted_kubelet_publishes_again_where_pods_live(
    own_node: ClusterNode, bucket: Bucket
) -> None:
    pod, volume = Pod(), bucket.volume()
    target = own_node.kubelet.publish(pod, volume)
    own_node.kubelet.restart()
    own_node.kubelet.await_driver()
    with (target / "readme").open() as file:
        own_node.kubelet.publish(pod, volume)
        assert file.read() == FILES["readme"].decode()
    assert sum(info.mountpoint == target for info in own_node.mounts()) == 1
    own_node.kubelet.unpublish(pod, volume)
    own_node.await_tidiness()


def test_after_a_reboot_nothing_has_to_be_cleaned_by_hand(
    own_node: ClusterNode, bucket: Bucket
) -> None:
    pod, volume = Pod(), bucket.volume()
    own_node.kubelet.publish(pod, volume)
    own_node.kubelet.stop()
    own_node.reboot()
    own_node.kubelet.start()
    own_node.kubelet.await_driver()
    own_node.kubelet.tear_down_all()
    target = own_node.kubelet.publish_patiently(pod, volume)
    assert (target / "readme").read_bytes() == FILES["readme"]
    own_node.kubelet.unpublish(pod, volume)
    own_node.await_tidiness()


def test_a_volume_of_an_unknown_pod_is_torn_down_by_its_record(
    own_node: ClusterNode, bucket: Bucket
) -> None:
    pod, volume = Pod(), Volume("claim", {"dataset": bucket.url}, bucket.secrets, handle="x/y z")
    own_node.kubelet.publish(pod, volume)
    own_node.kill("node")
    own_node.start("node")
    own_node.kubelet.restart()
    own_node.kubelet.await_driver()
    own_node.kubelet.unpublish_patiently(pod, volume)
    own_node.await_tidiness()
