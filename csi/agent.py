"""csi-node, put together: which parts there are, and who is given whom."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from csi.answers import Answers
from csi.budget import Budget
from csi.config import DriverConfig
from csi.credentials import identity_key
from csi.directories import prepare_directories
from csi.events import PodEvents
from csi.faultpoint import VARIABLE, FaultPoints
from csi.identity import IdentityService
from csi.kubeapi import KubeAccess, KubeApi, in_cluster
from csi.ledger import Ledger
from csi.monitoring import Pages, monitoring
from csi.mounter import Mounter
from csi.mountmetrics import MountMetrics
from csi.mounts import LinuxMounts
from csi.node import NodeService
from csi.process import (
    Watch,
    background,
    run,
    serve,
    server_of,
    stop_on_signals,
    watch_of,
)
from csi.proto import csi_pb2_grpc, registration_pb2_grpc
from csi.publisher import Publisher, Surroundings
from csi.registration import RegistrationService
from csi.server import SocketServer
from csi.sources import SourceMounts
from csi.specs import SpecFiles
from csi.state import RecordFiles
from csi.taint import remove_taint
from csi.targets import Targets
from csi.threads import Threads

COUNT_SECONDS = 2.0
FINISH_SECONDS = 10.0
"""For publications under way when the process is told to stop."""


def run_node(config: DriverConfig, log_level: str) -> None:
    """Be csi-node until told to stop."""
    run(_live(config), log_level)


async def _live(config: DriverConfig) -> None:
    stop = stop_on_signals()
    watch = watch_of(config)
    prepare_directories(config)
    node = NodeAgent(config, watch)
    servers = [node.server(), *node.registration_servers()]
    with monitoring(config.health_port, Pages(watch.health, watch.registry)):
        async with background(node.works()):
            try:
                await serve(servers, watch.health, stop.wait())
            finally:
                await node.finish()


class NodeAgent:
    """All that csi-node has, wired."""

    def __init__(self, config: DriverConfig, watch: Watch) -> None:
        """Make the parts; none of them does anything yet."""
        self._config = config
        self._watch = watch
        threads, mounts = Threads(), LinuxMounts()
        self._api = KubeApi(_access(config), threads) if _needs_api(config) else None
        self._events = PodEvents(config, watch.metrics, self._api if config.kube_api else None)
        self._registration = RegistrationService(config, watch.metrics)
        self._mounter = Mounter(config.supervisor_socket)
        self._sources = SourceMounts(
            config.source_dir,
            self._mounter,
            mounts,
            threads,
            specs=SpecFiles(config.spec_dir),
            budget=Budget(config.memory_budget_bytes, config.mount_bytes),
            grace_seconds=config.grace_seconds,
            rebound=self._tell_rebound,
        )
        self._ledger = Ledger(RecordFiles(config.record_dir), threads)
        self._publisher = Publisher(
            config,
            Surroundings(
                sources=self._sources,
                answers=Answers(self._mounter.resolve),
                targets=Targets(mounts, threads),
                ledger=self._ledger,
                identity_key=identity_key(config.run_dir),
                tell=self._events.tell_nowait,
                orphaned=lambda kind: watch.metrics.orphans.labels(kind).inc(),
                faults=FaultPoints.parse(os.environ.get(VARIABLE, "")),
            ),
        )

    def server(self) -> SocketServer:
        """Return what the kubelet publishes by."""
        identity = IdentityService(self._config, self._watch.health)
        node = NodeService(self._config, self._publisher)
        return server_of(
            self._config.endpoint,
            self._config.draft_dir,
            self._watch,
            [
                partial(csi_pb2_grpc.add_IdentityServicer_to_server, identity),
                partial(csi_pb2_grpc.add_NodeServicer_to_server, node),
            ],
        )

    def registration_servers(self) -> list[SocketServer]:
        """Return what the kubelet finds the driver by, unless a sidecar does that."""
        if not self._config.registration:
            return []
        path, service = self._config.registration_socket, self._registration
        add = partial(registration_pb2_grpc.add_RegistrationServicer_to_server, service)
        return [server_of(path, path.parent, self._watch, [add])]

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """Return what goes on in the background."""
        works = [self._mounter.run(self._sources), self._adopt(), self._events.run(), self._count()]
        if self._config.startup_taint is not None and self._api is not None:
            works.append(self._admit_pods(self._api, self._config.startup_taint))
        return works

    async def finish(self) -> None:
        """End what is under way, and hold the mounts no longer."""
        await self._publisher.finish(FINISH_SECONDS)
        await self._mounter.leave()

    def _tell_rebound(self, targets: Sequence[Path]) -> None:
        """Pass on what the publisher, which needs the mounts to be made, is to be told by them."""
        self._publisher.tell_rebound(targets)

    async def _adopt(self) -> None:
        """Take over what earlier lives left, and look after it."""
        await self._sources.run(await self._publisher.start())

    async def _admit_pods(self, api: KubeApi, taint: str) -> None:
        """Let pods come to this node once they could be served."""
        if self._config.registration:
            await self._registration.registered.wait()
        while not self._mounter.connected:  # noqa: ASYNC110  told by nobody, and asked once a life
            await asyncio.sleep(COUNT_SECONDS)
        await remove_taint(api, self._config.node_name, taint)

    async def _count(self) -> None:
        """Bring the metrics of mounts up to date, for ever."""
        metrics, mounts = self._watch.metrics, MountMetrics(self._watch.registry)
        while True:
            held = self._sources.held()
            metrics.mounts.set(len(held))
            metrics.references.set(len(self._ledger.records()))
            metrics.mounter_connected.set(self._mounter.connected)
            mounts.note(
                self._mounter.statuses,
                {mount.record.key: mount.record.spec.source.url for mount in held},
            )
            await asyncio.sleep(COUNT_SECONDS)


def _needs_api(config: DriverConfig) -> bool:
    return config.kube_api or config.startup_taint is not None


def _access(config: DriverConfig) -> KubeAccess:
    return KubeAccess(config.kube_url) if config.kube_url else in_cluster(os.environ)
