"""The Identity service: who the driver is and whether it serves, from memory alone."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BoolValue

from csi.config import DriverConfig
from csi.health import Health
from csi.proto import csi_pb2 as pb
from csi.proto.csi_pb2_grpc import IdentityServicer
from csi.status import Context


class IdentityService(IdentityServicer):
    """Answers at once, whatever the mounter, the object store or the API server do."""

    def __init__(self, config: DriverConfig, health: Health) -> None:
        """Answer for the driver of *config*, whose state is *health*."""
        self._config = config
        self._health = health

    async def GetPluginInfo(
        self, _request: pb.GetPluginInfoRequest, _context: Context
    ) -> pb.GetPluginInfoResponse:
        """Return name and version."""
        return pb.GetPluginInfoResponse(
            name=self._config.driver_name, vendor_version=self._config.version
        )

    async def GetPluginCapabilities(
        self, _request: pb.GetPluginCapabilitiesRequest, _context: Context
    ) -> pb.GetPluginCapabilitiesResponse:
        """Say whether the installation has a controller: the same from each of its processes."""
        service = pb.PluginCapability.Service(type=pb.PluginCapability.Service.CONTROLLER_SERVICE)
        capabilities = [pb.PluginCapability(service=service)] if self._config.controller else []
        return pb.GetPluginCapabilitiesResponse(capabilities=capabilities)

    async def Probe(self, _request: pb.ProbeRequest, _context: Context) -> pb.ProbeResponse:
        """Say whether the driver serves, as opposed to still starting. Raises BrokenError."""
        return pb.ProbeResponse(ready=BoolValue(value=self._health.is_ready()))
