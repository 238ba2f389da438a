"""`headrace csi` as processes without a mounter: they start, answer, register, restart, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import grpc
import pytest
from grpc import StatusCode

from csi.config import DRIVER_NAME, DriverConfig
from csi.proto import csi_pb2 as pb
from csi.proto import csi_pb2_grpc as rpc
from csi.server import is_answered
from tests.csi.kubelet import Kubelet, calling
from tests.fakes.kube_api import FakeKubeApi, fake_kube_api
from tests.node import HEADRACE, wait_until
from tests.seaweed import free_ports
from vfs.mounting import wire
from vfs.mounting.wire import Message

NODE = "node-1"
MOUNTER_UID = DriverConfig(Path("/csi/csi.sock"), NODE).mounter_uid
CALL_SECONDS = 10
END_SECONDS = 30
MOST_RSS_KIB = 64 * 1024
"""47 MiB were measured; the limit of the container is set with this in mind."""
CANARY = "canary-7f3a"


class Driver:
    """A kubelet's directory and the processes of the driver in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kubelet = Kubelet(root / "kubelet")
        self.socket = root / "kubelet" / "plugins" / DRIVER_NAME / "csi.sock"
        self.registration = root / "kubelet" / "plugins_registry" / f"{DRIVER_NAME}-reg.sock"
        self.health_port = free_ports(1)[0]
        self.log = root / "log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str, command: str = "node") -> subprocess.Popen[bytes]:
        """Start a process and return it once it serves."""
        words = [f"--health-port={self.health_port}", *options]
        if command == "node":
            words += [
                f"--node-name={NODE}",
                f"--kubelet-dir={self.kubelet.directory}",
                f"--state-dir={self.root / 'state'}",
                f"--run-dir={self.root / 'run'}",
                f"--link-dir={self.root / 'link'}",
            ]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [HEADRACE, "csi", command, *words],
                env={**os.environ, "CSI_ENDPOINT": f"unix://{self.socket}"},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        wait_until(lambda: self.is_healthy() or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()
        return process

    def get(self, path: str) -> str:
        """Return a page of the HTTP server."""
        url = f"http://127.0.0.1:{self.health_port}{path}"
        with urllib.request.urlopen(url, timeout=CALL_SECONDS) as answer:
            text: bytes = answer.read()
        return text.decode()

    def is_healthy(self) -> bool:
        """Say whether the process that was started last serves."""
        try:
            return self.get("/healthz") == "ok\n"
        except OSError:
            return False

    def close(self) -> None:
        """End whatever runs."""
        self.kubelet.stop()
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def driver(short_path: Path) -> Iterator[Driver]:
    """A driver in a directory of its own."""
    made = Driver(short_path)
    try:
        yield made
    finally:
        made.close()


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end and return its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(END_SECONDS)


@contextmanager
def node_stub(driver: Driver) -> Iterator[rpc.NodeStub]:
    with calling(driver.socket) as channel:
        yield rpc.NodeStub(channel)


def rss_kib(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmRSS:")]
    return int(line.split()[1])


def test_identity_and_node_answer_without_a_mounter(driver: Driver) -> None:
    driver.start("--controller")
    with calling(driver.socket) as channel:
        identity, node = rpc.IdentityStub(channel), rpc.NodeStub(channel)
        info = identity.GetPluginInfo(pb.GetPluginInfoRequest(), timeout=CALL_SECONDS)
        assert (info.name, bool(info.vendor_version)) == (DRIVER_NAME, True)
        request = pb.GetPluginCapabilitiesRequest()
        capabilities = identity.GetPluginCapabilities(request, timeout=CALL_SECONDS).capabilities
        service = pb.PluginCapability.Service
        assert [each.service.type for each in capabilities] == [service.CONTROLLER_SERVICE]
        wait_until(lambda: identity.Probe(pb.ProbeRequest(), timeout=CALL_SECONDS).ready.value)
        answer = node.NodeGetInfo(pb.NodeGetInfoRequest(), timeout=CALL_SECONDS)
        assert (answer.node_id, answer.max_volumes_per_node) == (NODE, 0)


def test_without_a_controller_none_is_advertised(driver: Driver) -> None:
    driver.start()
    with calling(driver.socket) as channel:
        request = pb.GetPluginCapabilitiesRequest()
        answer = rpc.IdentityStub(channel).GetPluginCapabilities(request, timeout=CALL_SECONDS)
    assert list(answer.capabilities) == []


def test_a_kubelet_registers_the_driver_and_does_so_again_after_a_restart(driver: Driver) -> None:
    driver.start()
    for _ in range(2):
        driver.kubelet.start()
        registered = driver.kubelet.await_driver()
        assert (registered.endpoint, registered.node_id) == (driver.socket, NODE)
        driver.kubelet.stop()
    assert "headrace_csi_registered 1.0" in driver.get("/metrics")


def test_a_sidecar_may_register_it_instead(driver: Driver) -> None:
    driver.start("--no-registration")
    assert not driver.registration.exists()


def test_a_lost_registration_socket_comes_back_and_the_kubelet_with_it(driver: Driver) -> None:
    driver.start()
    driver.kubelet.start()
    driver.kubelet.await_driver()
    driver.registration.unlink()
    wait_until(lambda: not driver.kubelet.registered)
    driver.kubelet.await_driver()


def test_a_process_that_was_killed_leaves_nothing_that_its_successor_minds(driver: Driver) -> None:
    killed = driver.start()
    killed.kill()
    killed.wait()
    assert driver.socket.exists()
    driver.start()
    driver.kubelet.start()
    driver.kubelet.await_driver()
    assert is_answered(driver.socket)


def test_an_older_process_that_ends_leaves_the_newer_one_reachable(driver: Driver) -> None:
    older = driver.start()
    driver.health_port = free_ports(1)[0]
    newer = driver.start()
    driver.kubelet.start()
    driver.kubelet.await_driver()
    assert stop(older) == 0
    with node_stub(driver) as node:
        assert node.NodeGetInfo(pb.NodeGetInfoRequest(), timeout=CALL_SECONDS).node_id == NODE
    assert driver.registration.exists()
    assert newer.poll() is None


def test_it_stops_cleanly_and_takes_its_sockets_along(driver: Driver) -> None:
    process = driver.start()
    began = time.monotonic()
    assert stop(process) == 0
    assert time.monotonic() - began < END_SECONDS / 3
    assert not driver.socket.exists()
    assert not driver.registration.exists()
    assert "Traceback" not in driver.log.read_text()


def test_its_directories_belong_to_those_who_use_them(driver: Driver) -> None:
    cache = driver.root / "cache"
    driver.start(f"--cache-dir={cache}")
    for directory, owner in (
        (driver.root / "link", MOUNTER_UID),
        (cache, MOUNTER_UID),
        (driver.root / "run", 0),
        (driver.root / "run" / "specs", 0),
        (driver.root / "state" / "volumes", 0),
    ):
        found = directory.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (owner, 0o700), directory


def test_it_tells_how_it_is_over_http(driver: Driver) -> None:
    driver.start()
    with node_stub(driver) as node:
        node.NodeGetInfo(pb.NodeGetInfoRequest(), timeout=CALL_SECONDS)
    assert driver.get("/healthz") == "ok\n"
    metrics = driver.get("/metrics")
    assert 'headrace_csi_rpc_seconds_count{code="OK",method="NodeGetInfo"} 1.0' in metrics
    assert "headrace_csi_mounter_connected 0.0" in metrics


def test_a_publish_without_a_mounter_is_to_be_tried_again_and_its_secret_stays_secret(
    driver: Driver,
) -> None:
    driver.start("--log-level=debug")
    target = driver.kubelet.directory / "pods" / "target"
    request = pb.NodePublishVolumeRequest(
        volume_id="volume-1",
        target_path=str(target),
        volume_capability=pb.VolumeCapability(
            mount=pb.VolumeCapability.MountVolume(),
            access_mode=pb.VolumeCapability.AccessMode(
                mode=pb.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
            ),
        ),
        secrets={"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": CANARY},
        volume_context={"dataset": "s3://bucket/data"},
    )
    with node_stub(driver) as node, pytest.raises(grpc.RpcError) as raised:
        node.NodePublishVolume(request, timeout=60)
    assert raised.value.code() is StatusCode.UNAVAILABLE
    log = driver.log.read_text()
    assert "volume-1" in log
    for secret in (CANARY, "AKIAIOSFODNN7EXAMPLE"):
        assert secret not in log + driver.get("/metrics") + str(raised.value.details())
    assert not target.exists()


@contextmanager
def idle_mounter(driver: Driver) -> Iterator[None]:
    """Answer the driver as a mounter does that serves nothing."""
    with wire.listen(driver.root / "link" / "supervisor") as listener:

        def attend() -> None:
            caller, _ = listener.accept()
            with caller:
                assert wire.receive(caller) == Message("attend")
                wire.send(caller, Message("welcome", {"version": "1"}))
                wire.send(caller, Message("end"))
                leave.wait(END_SECONDS)

        leave = Event()
        thread = Thread(target=attend)
        thread.start()
        try:
            yield
        finally:
            leave.set()
            thread.join()


def test_the_startup_taint_goes_once_pods_could_be_served_and_not_before(driver: Driver) -> None:
    taint = {"key": "csi.headrace.dev/agent-not-ready", "effect": "NoExecute"}
    with fake_kube_api(FakeKubeApi(NODE, [taint])) as kube:
        driver.start(f"--startup-taint={taint['key']}", f"--kube-url={kube.url}")
        driver.kubelet.start()
        driver.kubelet.await_driver()
        assert kube.requests == []
        with idle_mounter(driver):
            wait_until(lambda: kube.taints == [])
            assert "headrace_csi_mounter_connected 1.0" in driver.get("/metrics")
        assert len(kube.requests) == 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--node-name="], "the node's name is missing"),
        (["--driver-name=9"], "no driver's name"),
        (["--endpoint=tcp://0:1"], "no unix socket"),
        (["--datasets=/nonexistent"], "cannot read the allow-list"),
        (["--kube-api"], "no Kubernetes API server"),
        (["--workers=0"], "workers must be at least 1"),
        (["--state-dir=/dev/null/x"], "cannot prepare /dev/null/x/mounts: Not a directory"),
        (["--health-port=99999"], "health_port must be"),
    ],
)
def test_bad_settings_end_it_at_once_with_one_line(
    short_path: Path, options: list[str], complaint: str
) -> None:
    words = [
        "--endpoint=unix:///nonexistent/plugins/x/csi.sock",
        f"--node-name={NODE}",
        f"--kubelet-dir={short_path}",
        f"--state-dir={short_path}",
        f"--run-dir={short_path}",
        f"--link-dir={short_path}",
        *options,
    ]
    done = subprocess.run(
        [HEADRACE, "csi", "node", *words],
        env={key: value for key, value in os.environ.items() if not key.startswith("KUBERNETES_")},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_controller_serves_identity_and_controller_and_no_node(driver: Driver) -> None:
    process = driver.start(command="controller")
    with calling(driver.socket) as channel:
        controller = rpc.ControllerStub(channel)
        request = pb.ControllerGetCapabilitiesRequest()
        answer = controller.ControllerGetCapabilities(request, timeout=CALL_SECONDS)
        kinds = pb.ControllerServiceCapability.RPC
        assert {each.rpc.type for each in answer.capabilities} == {
            kinds.CREATE_DELETE_VOLUME,
            kinds.SINGLE_NODE_MULTI_WRITER,
        }
        with pytest.raises(grpc.RpcError) as raised:
            rpc.NodeStub(channel).NodeGetInfo(pb.NodeGetInfoRequest(), timeout=CALL_SECONDS)
        assert raised.value.code() is StatusCode.UNIMPLEMENTED
    assert stop(process) == 0


def test_a_driver_without_work_is_small(driver: Driver) -> None:
    process = driver.start()
    for _ in range(50):
        with node_stub(driver) as node:
            node.NodeGetCapabilities(pb.NodeGetCapabilitiesRequest(), timeout=CALL_SECONDS)
    assert rss_kib(process) < MOST_RSS_KIB
