"""`headrace doctor` on a node of a cluster: what it says of the driver, what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.csi.bucket import FILES, Bucket
from tests.csi.cluster import HEADRACE, ClusterNode
from tests.csi.pods import Pod
from tests.node import wait_until
from vfs.mounting.mount import unmount

SECONDS = 30
CONTROL = "/sys/fs/fuse/connections"
WITH_CONTROL = (
    "unshare",
    "-m",
    "sh",
    "-ec",
    f'mountpoint -q {CONTROL} || mount -t fusectl none {CONTROL}; exec "$@"',
    "sh",
)
"""Not every machine on which tests run has it, and it is not for them to change that."""


def doctor(node: ClusterNode, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the doctor as root on the node."""
    environment = {**node.environment, "HEADRACE_RUNTIME_DIR": str(node.directory / "own")}
    return subprocess.run(
        [*WITH_CONTROL, HEADRACE, "doctor", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def driver_doctor(node: ClusterNode) -> subprocess.CompletedProcess[str]:
    """Have the doctor look at the node's driver."""
    return doctor(
        node,
        f"--state-dir={node.state}",
        f"--link-dir={node.link}",
        f"--endpoint=unix://{node.endpoint}",
    )


def complaints(node: ClusterNode) -> list[str]:
    """Return the lines of all that is not as it should be, without their advice."""
    done = driver_doctor(node)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("ok")]
    assert done.returncode == any(line.startswith("problem") for line in lines), done.stderr
    return [line.partition(";")[0] for line in lines]


def waiting_requests(connection: int) -> int:
    """Return what the kernel counts of a connection."""
    command = [*WITH_CONTROL, "cat", f"{CONTROL}/{connection}/waiting"]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout)


@pytest.fixture
def targets(own_node: ClusterNode, bucket: Bucket) -> Iterator[list[Path]]:
    """Three volumes that share one mount, on a node of this test's own."""
    pods, volume = [Pod() for _ in range(3)], bucket.volume()
    yield [own_node.kubelet.publish(pod, volume) for pod in pods]
    for pod in pods:
        own_node.kubelet.unpublish_patiently(pod, volume)
    own_node.await_tidiness()


def test_bind_mounts_of_one_connection_are_no_orphans(
    own_node: ClusterNode, targets: list[Path]
) -> None:
    done = driver_doctor(own_node)
    (source,) = own_node.source_mounts()
    assert done.returncode == 0
    assert f"{source.mountpoint}: {len(targets)} targets, 0 requests wait" in done.stdout
    assert complaints(own_node) == []


def test_one_s_own_mounts_are_looked_at_without_the_driver_s(
    own_node: ClusterNode, targets: list[Path]
) -> None:
    for name in ("node", "mounter", "keeper"):
        own_node.kill(name)
    before = own_node.mounts()
    done = doctor(own_node, "--repair")
    assert not any(str(info.mountpoint) in done.stdout for info in before)
    assert own_node.mounts() == before
    assert len(before) == 1 + len(targets)
    own_node.start()
    wait_until(lambda: complaints(own_node) == [])


@pytest.mark.parametrize(
    ("program", "socket"),
    [("mounter", "link/supervisor"), ("keeper", "link/keeper")],
)
def test_who_is_missing_is_named_with_the_stale_socket(
    own_node: ClusterNode, targets: list[Path], program: str, socket: str
) -> None:
    own_node.kill(program)
    path = own_node.directory / socket
    assert path.is_socket()
    assert complaints(own_node) == [
        f"problem  {program}: nobody answers at {path}, which is left of one that ended"
    ]
    own_node.start(program)
    wait_until(lambda: complaints(own_node) == [])
    assert (targets[0] / "readme").read_bytes() == FILES["readme"]


def test_a_driver_that_is_missing_is_named(own_node: ClusterNode, targets: list[Path]) -> None:
    own_node.terminate("node")
    assert complaints(own_node) == [f"problem  driver: there is none at {own_node.endpoint}"]
    own_node.start("node")
    own_node.kubelet.await_driver()
    assert complaints(own_node) == []
    assert len(own_node.mounts()) == 1 + len(targets)


def test_mounts_that_nobody_holds_are_found_until_the_driver_has_made_them_anew(
    own_node: ClusterNode, targets: list[Path]
) -> None:
    for name in ("node", "mounter", "keeper"):
        own_node.kill(name)
    own_node.start("keeper")
    (source,) = own_node.source_mounts()
    wait_until(lambda: not any("keeper:" in line for line in complaints(own_node)))
    found = complaints(own_node)
    assert f"problem  {source.mountpoint}: neither mounter nor keeper holds it" in found
    for target in targets:
        assert f"problem  {target}: it shows a mount that is dead" in found
    own_node.start("node", "mounter")
    wait_until(lambda: complaints(own_node) == [])


def test_a_record_of_what_is_not_mounted_is_found(
    own_node: ClusterNode, targets: list[Path]
) -> None:
    unmount(targets[0], lazy=True)
    assert complaints(own_node) == [
        f"warning  {targets[0]}: it is on record as published, and nothing is mounted there"
    ]


def test_a_mount_that_hangs_is_not_asked(own_node: ClusterNode, targets: list[Path]) -> None:
    (source,) = own_node.source_mounts()
    pids = own_node.mounter_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    reader = subprocess.Popen(["cat", targets[0] / "train/dog.txt"], stdout=subprocess.PIPE)
    wait_until(lambda: waiting_requests(source.minor) > 0)
    before = waiting_requests(source.minor)
    done = driver_doctor(own_node)
    assert f"{source.mountpoint}: {len(targets)} targets, {before} requests wait" in done.stdout
    assert waiting_requests(source.minor) == before
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert reader.communicate(timeout=SECONDS)[0] == FILES["train/dog.txt"]
