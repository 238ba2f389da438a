"""A kubelet for tests: it does to a driver what a real one does, in the same order.

It registers plugins that it finds, makes a new connection for each call, asks for capabilities
first, keeps `vol_data.json` and directories by the rule of final and other codes, and looks at its
volumes by `stat`. It has no cluster, no clock of its own and no containers.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from csi.proto import csi_pb2 as pb
from csi.proto import csi_pb2_grpc as rpc
from csi.proto import registration_pb2 as reg
from csi.proto import registration_pb2_grpc as reg_rpc
from tests.csi.pods import CsiDriverObject, Pod, Volume, publish_request
from vfs.mounting.mountinfo import mounted_at

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 120.0
DIAL_SECONDS = 10.0
GET_INFO_SECONDS = 1.0
NOTIFY_SECONDS = 5.0
LOOK_SECONDS = 0.02
NOT_FINAL = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)
"""Codes after which the kubelet takes a publish as perhaps still running."""


class PublishError(Exception):
    """The driver refused; the words are those of `kubectl describe pod`."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text


@dataclass(slots=True)
class Registered:
    """One driver as the kubelet knows it."""

    endpoint: Path
    node_id: str
    socket_inode: int


@contextmanager
def calling(socket: Path) -> Iterator[grpc.Channel]:
    """Give a new connection, as each call of the kubelet has one."""
    channel = grpc.insecure_channel(
        f"unix:{socket}",
        options=[
            ("grpc.default_authority", "localhost"),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ],
    )
    try:
        yield channel
    finally:
        channel.close()


class Kubelet:
    """One node's kubelet. `start` runs the plugin watcher; everything else is called by tests."""

    def __init__(self, directory: Path, driver: CsiDriverObject | None = None) -> None:
        """Keep everything below *directory*, its --root-dir."""
        self.directory = directory
        self.driver = driver or CsiDriverObject()
        self.registered: dict[str, Registered] = {}
        self.registration_errors: list[str] = []
        self.csinode_updates = 0
        self.longest_stat_seconds = 0.0
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        (directory / "plugins_registry").mkdir(parents=True, exist_ok=True)
        (directory / "plugins").mkdir(parents=True, exist_ok=True)
        (directory / "pods").mkdir(parents=True, exist_ok=True)

    # Plugins

    def start(self) -> None:
        """Begin to watch for plugins; those that are there already are met first."""
        self._stopping.clear()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End, and forget all that was only in memory."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(DIAL_SECONDS)
        self.registered.clear()

    def restart(self) -> None:
        """End and begin again, as an upgrade of the kubelet does."""
        self.stop()
        self.start()

    def know(self, name: str, endpoint: Path, node_id: str) -> None:
        """Have a driver registered by somebody else, as a sidecar does."""
        self.registered[name] = Registered(endpoint, node_id, socket_inode=0)

    def await_driver(self, name: str = "csi.headrace.dev", seconds: float = 30) -> Registered:
        """Return the driver when it is registered."""
        deadline = time.monotonic() + seconds
        while name not in self.registered:
            assert time.monotonic() < deadline, f"not registered: {self.registration_errors}"
            time.sleep(LOOK_SECONDS)
        return self.registered[name]

    def _watch(self) -> None:
        seen: dict[str, int] = {}
        while not self._stopping.wait(LOOK_SECONDS):
            there = self._plugin_sockets()
            for name in [name for name, inode in seen.items() if there.get(name) != inode]:
                self._unregister(seen.pop(name))
            for name in there.keys() - seen.keys():
                if self._register(self.directory / "plugins_registry" / name, there[name]):
                    seen[name] = there[name]

    def _plugin_sockets(self) -> dict[str, int]:
        found = {}
        for path in (self.directory / "plugins_registry").iterdir():
            if path.name.startswith("."):
                continue
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISSOCK(about.st_mode):
                found[path.name] = about.st_ino
        return found

    def _unregister(self, inode: int) -> None:
        for name, known in list(self.registered.items()):
            if known.socket_inode == inode:
                del self.registered[name]
                self.csinode_updates += 1

    def _register(self, socket: Path, inode: int) -> bool:
        try:
            with calling(socket) as channel:
                plugin = reg_rpc.RegistrationStub(channel)
                info = plugin.GetInfo(reg.InfoRequest(), timeout=GET_INFO_SECONDS)
                error = self._complaint(info)
                if error is None:
                    self._introduce(info, inode)
                status = reg.RegistrationStatus(plugin_registered=error is None, error=error or "")
                plugin.NotifyRegistrationStatus(status, timeout=NOTIFY_SECONDS)
        except grpc.RpcError as failure:
            self.registration_errors.append(f"{failure.code()}: {failure.details()}")
            return False
        if error is not None:
            self.registration_errors.append(error)
        return error is None

    def _complaint(self, info: reg.PluginInfo) -> str | None:
        if info.type != "CSIPlugin":
            return f"unknown plugin type {info.type!r}"
        if not any(version.startswith("1.") for version in info.supported_versions):
            return f"no supported version in {list(info.supported_versions)}"
        if not info.endpoint.startswith("/"):
            return f"the endpoint {info.endpoint!r} is no absolute path"
        if info.name in self.registered:
            return f"{info.name} is registered already"
        return None

    def _introduce(self, info: reg.PluginInfo, inode: int) -> None:
        endpoint = Path(info.endpoint)
        with calling(endpoint) as channel:
            about = rpc.NodeStub(channel).NodeGetInfo(
                pb.NodeGetInfoRequest(), timeout=PUBLISH_SECONDS
            )
        self.registered[info.name] = Registered(endpoint, about.node_id, inode)
        self.csinode_updates += 1

    # Volumes

    def publish(self, pod: Pod, volume: Volume, tokens: str | None = None) -> Path:
        """Have a volume published and return its target. Raises PublishError."""
        endpoint = self._endpoint()
        target = pod.target(self.directory, volume)
        request = publish_request(
            pod,
            volume,
            self.directory,
            driver=self.driver,
            capabilities=self._capabilities(endpoint, 2 if volume.handle is None else 4),
            tokens=tokens,
        )
        directory = pod.directory(self.directory, volume)
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._write_record(pod, volume)
        try:
            with calling(endpoint) as channel:
                rpc.NodeStub(channel).NodePublishVolume(request, timeout=PUBLISH_SECONDS)
        except grpc.RpcError as failure:
            if failure.code() not in NOT_FINAL:
                self._clean_after_final_error(directory, target)
            raise PublishError(failure.code(), failure.details() or "") from None
        self.stat(target)
        return target

    def publish_patiently(
        self, pod: Pod, volume: Volume, seconds: float = 60, tokens: str | None = None
    ) -> Path:
        """Publish, again and again as long as the code says that it may help."""
        deadline, backoff = time.monotonic() + seconds, 0.05
        while True:
            try:
                return self.publish(pod, volume, tokens)
            except PublishError as error:
                if error.code not in NOT_FINAL or time.monotonic() > deadline:
                    raise
            time.sleep(backoff)
            backoff = min(2 * backoff, 1.0)

    def unpublish(self, pod: Pod, volume: Volume) -> None:
        """Tear a volume down by what its record says. Raises PublishError."""
        self.tear_down(pod.directory(self.directory, volume))

    def unpublish_patiently(self, pod: Pod, volume: Volume, seconds: float = 60) -> None:
        """Tear down, again and again until it works: the kubelet never gives up."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.unpublish(pod, volume)
            except PublishError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def tear_down(self, directory: Path) -> None:
        """Unpublish what lies in a volume's directory, going by its record alone, and remove it."""
        record = json.loads((directory / "vol_data.json").read_text())
        request = pb.NodeUnpublishVolumeRequest(
            volume_id=record["volumeHandle"], target_path=str(directory / "mount")
        )
        try:
            with calling(self._endpoint()) as channel:
                rpc.NodeStub(channel).NodeUnpublishVolume(request, timeout=PUBLISH_SECONDS)
        except grpc.RpcError as failure:
            raise PublishError(failure.code(), failure.details() or "") from None
        assert mounted_at(directory / "mount") is None
        assert not (directory / "mount").exists()
        (directory / "vol_data.json").unlink()
        directory.rmdir()

    def tear_down_all(self) -> None:
        """Tear down every volume of which there is a record, as after a restart without pods."""
        for path in sorted((self.directory / "pods").glob("*/volumes/*/*/vol_data.json")):
            self.tear_down(path.parent)

    def stats(self, pod: Pod, volume: Volume) -> dict[str, tuple[int, int, int]]:
        """Return (total, used, available) by unit."""
        request = pb.NodeGetVolumeStatsRequest(
            volume_id=pod.volume_id(volume), volume_path=str(pod.target(self.directory, volume))
        )
        with calling(self._endpoint()) as channel:
            answer = rpc.NodeStub(channel).NodeGetVolumeStats(request, timeout=PUBLISH_SECONDS)
        names = pb.VolumeUsage.Unit
        return {
            names.Name(usage.unit): (usage.total, usage.used, usage.available)
            for usage in answer.usage
        }

    def stat(self, target: Path) -> None:
        """Look at a volume's path, as the kubelet does all the time, and note how long it took."""
        began = time.monotonic()
        target.stat()
        self.longest_stat_seconds = max(self.longest_stat_seconds, time.monotonic() - began)

    def _endpoint(self) -> Path:
        for known in self.registered.values():
            return known.endpoint
        raise PublishError(grpc.StatusCode.UNAVAILABLE, "the driver is not registered")

    def _capabilities(self, endpoint: Path, times: int) -> frozenset[int]:
        for _ in range(times):
            try:
                with calling(endpoint) as channel:
                    answer = rpc.NodeStub(channel).NodeGetCapabilities(
                        pb.NodeGetCapabilitiesRequest(), timeout=PUBLISH_SECONDS
                    )
            except grpc.RpcError as failure:
                raise PublishError(failure.code(), failure.details() or "") from None
        return frozenset(capability.rpc.type for capability in answer.capabilities)

    def _write_record(self, pod: Pod, volume: Volume) -> None:
        record = {
            "specVolID": volume.name,
            "volumeHandle": pod.volume_id(volume),
            "driverName": "csi.headrace.dev",
            "nodeName": "node-1",
            "volumeLifecycleMode": "Ephemeral" if volume.handle is None else "Persistent",
            "attachmentID": "",
        }
        path = pod.directory(self.directory, volume) / "vol_data.json"
        path.write_text(json.dumps(record))

    @staticmethod
    def _clean_after_final_error(directory: Path, target: Path) -> None:
        if mounted_at(target) is not None:
            return
        if target.exists():
            os.rmdir(target)
        shutil.rmtree(directory)
