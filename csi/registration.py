"""The Registration service: the kubelet asks what the driver is, and says if it took it."""

from __future__ import annotations

import asyncio
import logging

from csi.config import DriverConfig
from csi.metrics import DriverMetrics
from csi.proto import registration_pb2 as pb
from csi.proto.registration_pb2_grpc import RegistrationServicer
from csi.status import Context

log = logging.getLogger(__name__)

PLUGIN_TYPE = "CSIPlugin"
SUPPORTED_VERSIONS = ("1.0.0",)
"""The kubelet compares the first number with those of CSI it knows."""


class RegistrationService(RegistrationServicer):
    """Answers the kubelet; `registered` is set for as long as it has said yes last."""

    def __init__(self, config: DriverConfig, metrics: DriverMetrics) -> None:
        """Offer the driver of *config*."""
        self._config = config
        self._metrics = metrics
        self.registered = asyncio.Event()

    async def GetInfo(self, _request: pb.InfoRequest, _context: Context) -> pb.PluginInfo:
        """Return where the driver is served, by the path that it has on the host."""
        return pb.PluginInfo(
            type=PLUGIN_TYPE,
            name=self._config.driver_name,
            endpoint=str(self._config.endpoint),
            supported_versions=SUPPORTED_VERSIONS,
        )

    async def NotifyRegistrationStatus(
        self, request: pb.RegistrationStatus, _context: Context
    ) -> pb.RegistrationStatusResponse:
        """Take note of the kubelet's answer; after a no it asks again by itself."""
        self._metrics.registered.set(request.plugin_registered)
        if request.plugin_registered:
            log.info("the kubelet has registered %s", self._config.driver_name)
            self.registered.set()
        else:
            log.error("the kubelet does not register the driver: %s", request.error or "no reason")
            self.registered.clear()
        return pb.RegistrationStatusResponse()
