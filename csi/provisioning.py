"""The controller, put together: a server that needs no node, no mounter and no privilege."""

from __future__ import annotations

from functools import partial

from csi.config import DriverConfig
from csi.controller import ControllerService
from csi.identity import IdentityService
from csi.monitoring import Pages, monitoring
from csi.process import run, serve, server_of, stop_on_signals, watch_of
from csi.proto import csi_pb2_grpc


def run_controller(config: DriverConfig, log_level: str) -> None:
    """Be the controller until told to stop."""
    run(_live(config), log_level)


async def _live(config: DriverConfig) -> None:
    stop = stop_on_signals()
    watch = watch_of(config)
    identity = IdentityService(config, watch.health)
    # Drafts lie beside the socket: nobody watches this directory, and it is the only one.
    server = server_of(
        config.endpoint,
        config.endpoint.parent,
        watch,
        [
            partial(csi_pb2_grpc.add_IdentityServicer_to_server, identity),
            partial(csi_pb2_grpc.add_ControllerServicer_to_server, ControllerService()),
        ],
    )
    with monitoring(config.health_port, Pages(watch.health, watch.registry)):
        await serve([server], watch.health, stop.wait())
