"""Pods and volumes as the kubelet sees them, and the CSI requests it makes of them. Pure."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from csi.proto import csi_pb2 as pb

Mode = pb.VolumeCapability.AccessMode
INLINE_MODES = {True: Mode.SINGLE_NODE_MULTI_WRITER, False: Mode.SINGLE_NODE_WRITER}
"""What an inline volume has, by whether the driver knows SINGLE_NODE_MULTI_WRITER."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One entry of a pod's `volumes`; with *handle* it is a claim of a PersistentVolume."""

    name: str = "data"
    attributes: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = True
    handle: str | None = None
    access_mode: int = Mode.MULTI_NODE_READER_ONLY
    mount_flags: tuple[str, ...] = ()
    fs_type: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """Who uses volumes."""

    volumes: tuple[Volume, ...] = ()
    name: str = "trainer"
    namespace: str = "default"
    service_account: str = "default"
    fs_group: int | None = None
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def volume_id(self, volume: Volume) -> str:
        """Return the volume's id: made of pod and name for an inline one."""
        if volume.handle is not None:
            return volume.handle
        return "csi-" + hashlib.sha256((self.uid + volume.name).encode()).hexdigest()

    def directory(self, kubelet: Path, volume: Volume) -> Path:
        """Return the directory that the kubelet makes for the volume."""
        return kubelet / "pods" / self.uid / "volumes" / "kubernetes.io~csi" / volume.name

    def target(self, kubelet: Path, volume: Volume) -> Path:
        """Return where the volume is to be mounted."""
        return self.directory(kubelet, volume) / "mount"


@dataclass(frozen=True, slots=True)
class CsiDriverObject:
    """What of the cluster's CSIDriver object decides about requests."""

    pod_info_on_mount: bool = True
    tokens_in_secrets: bool = False


def publish_request(
    pod: Pod,
    volume: Volume,
    kubelet: Path,
    *,
    driver: CsiDriverObject,
    capabilities: frozenset[int],
    tokens: str | None = None,
) -> pb.NodePublishVolumeRequest:
    """Return the request that the kubelet sends for a volume of a pod."""
    secrets = dict(volume.secrets)
    context = {**volume.attributes, **(_pod_info(pod, volume) if driver.pod_info_on_mount else {})}
    if tokens is not None:
        place = secrets if driver.tokens_in_secrets else context
        place["csi.storage.k8s.io/serviceAccount.tokens"] = tokens
    return pb.NodePublishVolumeRequest(
        volume_id=pod.volume_id(volume),
        target_path=str(pod.target(kubelet, volume)),
        readonly=volume.read_only,
        secrets=secrets,
        volume_context=context,
        volume_capability=_capability(pod, volume, capabilities),
    )


def _capability(pod: Pod, volume: Volume, capabilities: frozenset[int]) -> pb.VolumeCapability:
    rpc = pb.NodeServiceCapability.RPC
    multi = rpc.SINGLE_NODE_MULTI_WRITER in capabilities
    mode = INLINE_MODES[multi] if volume.handle is None else volume.access_mode
    if mode == Mode.SINGLE_NODE_SINGLE_WRITER and not multi:
        mode = Mode.SINGLE_NODE_WRITER
    group = ""
    if pod.fs_group is not None and rpc.VOLUME_MOUNT_GROUP in capabilities:
        group = str(pod.fs_group)
    access_mode = pb.VolumeCapability.AccessMode(mode=Mode.Mode.Name(mode))
    if volume.fs_type == "block":
        block = pb.VolumeCapability.BlockVolume()
        return pb.VolumeCapability(block=block, access_mode=access_mode)
    return pb.VolumeCapability(
        mount=pb.VolumeCapability.MountVolume(
            fs_type=volume.fs_type, mount_flags=volume.mount_flags, volume_mount_group=group
        ),
        access_mode=access_mode,
    )


def _pod_info(pod: Pod, volume: Volume) -> dict[str, str]:
    return {
        "csi.storage.k8s.io/pod.name": pod.name,
        "csi.storage.k8s.io/pod.namespace": pod.namespace,
        "csi.storage.k8s.io/pod.uid": pod.uid,
        "csi.storage.k8s.io/serviceAccount.name": pod.service_account,
        "csi.storage.k8s.io/ephemeral": "true" if volume.handle is None else "false",
    }
