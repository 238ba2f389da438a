"""The Node service: each call is parsed, handed to the publisher, and answered."""

from __future__ import annotations

from csi.condition import Finding
from csi.config import DriverConfig
from csi.proto import csi_pb2 as pb
from csi.proto.csi_pb2_grpc import NodeServicer
from csi.publisher import Publisher
from csi.status import Context
from csi.volume import checked_path, checked_volume_id, parse_publish

Capability = pb.NodeServiceCapability.RPC
CAPABILITIES = (
    Capability.GET_VOLUME_STATS,
    Capability.SINGLE_NODE_MULTI_WRITER,
    Capability.VOLUME_MOUNT_GROUP,
)
HEALTH_CAPABILITIES = (Capability.GET_VOLUME_HEALTH, Capability.GET_STORAGE_HEALTH)
"""Alpha in CSI 1.13: older callers take a capability that they do not know for a fault."""


class NodeService(NodeServicer):
    """Serves the kubelet. Staging and expanding are not served."""

    def __init__(self, config: DriverConfig, publisher: Publisher) -> None:
        """Answer for the node of *config*."""
        self._config = config
        self._publisher = publisher
        offered = (*CAPABILITIES, *(HEALTH_CAPABILITIES if config.health_rpcs else ()))
        self._capabilities = pb.NodeGetCapabilitiesResponse(
            capabilities=[
                pb.NodeServiceCapability(rpc=Capability(type=capability)) for capability in offered
            ]
        )

    async def NodePublishVolume(
        self, request: pb.NodePublishVolumeRequest, _context: Context
    ) -> pb.NodePublishVolumeResponse:
        """Show a dataset at a target."""
        call = parse_publish(request, trust_pod_info=self._config.trust_pod_info)
        await self._publisher.publish(call)
        return pb.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(
        self, request: pb.NodeUnpublishVolumeRequest, _context: Context
    ) -> pb.NodeUnpublishVolumeResponse:
        """Leave nothing at a target."""
        volume_id = checked_volume_id(request.volume_id)
        target = checked_path("target_path", request.target_path)
        await self._publisher.unpublish(volume_id, target)
        return pb.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(
        self, request: pb.NodeGetVolumeStatsRequest, _context: Context
    ) -> pb.NodeGetVolumeStatsResponse:
        """Say how large the dataset is, from the record of its publication."""
        volume_id = checked_volume_id(request.volume_id)
        path = checked_path("volume_path", request.volume_path)
        record = self._publisher.published_at(volume_id, path)
        return pb.NodeGetVolumeStatsResponse(
            usage=[
                _full(pb.VolumeUsage.BYTES, record.total_bytes),
                _full(pb.VolumeUsage.INODES, record.file_count),
            ]
        )

    async def NodeGetCapabilities(
        self, _request: pb.NodeGetCapabilitiesRequest, _context: Context
    ) -> pb.NodeGetCapabilitiesResponse:
        """Return what is served: always the same."""
        return self._capabilities

    async def NodeGetInfo(
        self, _request: pb.NodeGetInfoRequest, _context: Context
    ) -> pb.NodeGetInfoResponse:
        """Return the node's name. A failure would unregister the driver, so nothing is asked."""
        return pb.NodeGetInfoResponse(node_id=self._config.node_name)

    async def NodeGetVolumeHealth(
        self, request: pb.NodeGetVolumeHealthRequest, _context: Context
    ) -> pb.NodeGetVolumeHealthResponse:
        """Say what was last known of a volume, also of one that could not be published."""
        self._check_health_is_served()
        volume_id = checked_volume_id(request.volume_id)
        path = request.volume_publish_path
        target = checked_path("volume_publish_path", path) if path else None
        entries = [_entry(finding) for finding in self._publisher.findings(volume_id, target)]
        health = pb.VolumeHealth(volume_id=volume_id, health_statuses=entries)
        return pb.NodeGetVolumeHealthResponse(volume_health=health)

    async def NodeGetStorageHealth(
        self, _request: pb.NodeGetStorageHealthRequest, _context: Context
    ) -> pb.NodeGetStorageHealthResponse:
        """Say whether object storage answered the last time that it was asked."""
        self._check_health_is_served()
        finding = self._publisher.conditions.storage
        entries = [] if finding is None else [_storage_entry(finding)]
        return pb.NodeGetStorageHealthResponse(backend_health=entries)

    def _check_health_is_served(self) -> None:
        if not self._config.health_rpcs:
            raise NotImplementedError("the health calls are switched off in this installation")


def _full(unit: pb.VolumeUsage.Unit, total: int) -> pb.VolumeUsage:
    """Return the usage of what can only be read: nothing is left of it."""
    return pb.VolumeUsage(unit=unit, total=total, used=total, available=0)


def _entry(finding: Finding) -> pb.VolumeHealth.VolumeHealthEntry:
    return pb.VolumeHealth.VolumeHealthEntry(
        status=pb.INACCESSIBLE, reason=finding.reason, message=finding.message
    )


def _storage_entry(finding: Finding) -> pb.NodeGetStorageHealthResponse.StorageBackendHealth:
    return pb.NodeGetStorageHealthResponse.StorageBackendHealth(
        status=pb.STORAGE_UNREACHABLE, reason=finding.reason, message=finding.message
    )
