from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest

from csi.errors import (
    InvalidArgumentError,
    MounterFailedError,
    NotFoundError,
    UnavailableError,
)
from csi.node import NodeService
from csi.proto import csi_pb2 as pb
from csi.status import Context
from tests.fakes.csi_node import DATASET, FakeNode, on_a_node

CONTEXT = cast("Context", None)
"""No call looks at it."""
SECRET = "canary-of-a-secret"
Mode = pb.VolumeCapability.AccessMode
Capability = pb.NodeServiceCapability.RPC


def play(
    scenario: Callable[[FakeNode, NodeService], Awaitable[None]], *, health: bool = False
) -> None:
    async def played(node: FakeNode) -> None:
        node.config = replace(node.config, health_rpcs=health)
        await scenario(node, NodeService(node.config, await node.driver()))

    on_a_node(played)


def publish_request(node: FakeNode) -> pb.NodePublishVolumeRequest:
    return pb.NodePublishVolumeRequest(
        volume_id="volume-1",
        target_path=str(node.target()),
        volume_capability=pb.VolumeCapability(
            mount=pb.VolumeCapability.MountVolume(),
            access_mode=Mode(mode=Mode.SINGLE_NODE_MULTI_WRITER),
        ),
        secrets={"accessKeyId": "AKIA1", "secretAccessKey": SECRET},
        volume_context={"dataset": DATASET},
    )


def test_a_volume_is_published_measured_and_unpublished() -> None:
    async def scenario(node: FakeNode, service: NodeService) -> None:
        target = str(node.target())
        assert await service.NodePublishVolume(publish_request(node), CONTEXT) == (
            pb.NodePublishVolumeResponse()
        )
        stats = await service.NodeGetVolumeStats(
            pb.NodeGetVolumeStatsRequest(volume_id="volume-1", volume_path=target), CONTEXT
        )
        assert [(use.unit, use.total, use.used, use.available) for use in stats.usage] == [
            (pb.VolumeUsage.BYTES, 1000, 1000, 0),
            (pb.VolumeUsage.INODES, 7, 7, 0),
        ]
        await service.NodeUnpublishVolume(
            pb.NodeUnpublishVolumeRequest(volume_id="volume-1", target_path=target), CONTEXT
        )
        assert node.leftovers() == []

    play(scenario)


@pytest.mark.parametrize(("volume_id", "path"), [("volume-2", "target"), ("volume-1", "/other")])
def test_what_is_not_published_there_cannot_be_measured(volume_id: str, path: str) -> None:
    async def scenario(node: FakeNode, service: NodeService) -> None:
        await service.NodePublishVolume(publish_request(node), CONTEXT)
        request = pb.NodeGetVolumeStatsRequest(
            volume_id=volume_id, volume_path=str(node.target()) if path == "target" else path
        )
        with pytest.raises(NotFoundError):
            await service.NodeGetVolumeStats(request, CONTEXT)

    play(scenario)


def test_a_missing_field_is_refused_before_anything_is_asked() -> None:
    async def scenario(node: FakeNode, service: NodeService) -> None:
        calls = [
            service.NodePublishVolume(pb.NodePublishVolumeRequest(), CONTEXT),
            service.NodeUnpublishVolume(pb.NodeUnpublishVolumeRequest(target_path="/a"), CONTEXT),
            service.NodeUnpublishVolume(pb.NodeUnpublishVolumeRequest(volume_id="v"), CONTEXT),
            service.NodeGetVolumeStats(pb.NodeGetVolumeStatsRequest(volume_path="/a"), CONTEXT),
            service.NodeGetVolumeStats(pb.NodeGetVolumeStatsRequest(volume_id="v"), CONTEXT),
        ]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in errors] == [InvalidArgumentError] * len(calls)
        assert node.resolver.questions == []

    play(scenario)


@pytest.mark.parametrize("health", [False, True])
def test_the_capabilities_are_those_that_are_served(*, health: bool) -> None:
    async def scenario(_: FakeNode, service: NodeService) -> None:
        answer = await service.NodeGetCapabilities(pb.NodeGetCapabilitiesRequest(), CONTEXT)
        served = {capability.rpc.type for capability in answer.capabilities}
        expected = {
            Capability.GET_VOLUME_STATS,
            Capability.SINGLE_NODE_MULTI_WRITER,
            Capability.VOLUME_MOUNT_GROUP,
        }
        alpha = {Capability.GET_VOLUME_HEALTH, Capability.GET_STORAGE_HEALTH}
        assert served == (expected | alpha if health else expected)

    play(scenario, health=health)


def test_the_node_is_known_by_its_name() -> None:
    async def scenario(_: FakeNode, service: NodeService) -> None:
        answer = await service.NodeGetInfo(pb.NodeGetInfoRequest(), CONTEXT)
        assert answer == pb.NodeGetInfoResponse(node_id="node-1")

    play(scenario)


def test_health_is_served_only_where_it_is_switched_on() -> None:
    async def scenario(_: FakeNode, service: NodeService) -> None:
        with pytest.raises(NotImplementedError):
            await service.NodeGetVolumeHealth(pb.NodeGetVolumeHealthRequest(), CONTEXT)
        with pytest.raises(NotImplementedError):
            await service.NodeGetStorageHealth(pb.NodeGetStorageHealthRequest(), CONTEXT)

    play(scenario)


def test_health_tells_why_a_volume_could_not_be_published() -> None:
    async def scenario(node: FakeNode, service: NodeService) -> None:
        node.resolver.fail = MounterFailedError("StoreUnavailableError", "no answer")
        with pytest.raises(UnavailableError, match="access cannot be checked"):
            await service.NodePublishVolume(publish_request(node), CONTEXT)
        request = pb.NodeGetVolumeHealthRequest(
            volume_id="volume-1", volume_publish_path=str(node.target())
        )
        volume = await service.NodeGetVolumeHealth(request, CONTEXT)
        (entry,) = volume.volume_health.health_statuses
        assert (entry.status, entry.reason) == (pb.INACCESSIBLE, "PublishFailed")
        assert DATASET in entry.message
        storage = await service.NodeGetStorageHealth(pb.NodeGetStorageHealthRequest(), CONTEXT)
        (backend,) = storage.backend_health
        assert (backend.status, backend.reason) == (
            pb.STORAGE_UNREACHABLE,
            "ObjectStoreUnreachable",
        )

    play(scenario, health=True)


def test_a_healthy_volume_has_no_entry() -> None:
    async def scenario(node: FakeNode, service: NodeService) -> None:
        await service.NodePublishVolume(publish_request(node), CONTEXT)
        request = pb.NodeGetVolumeHealthRequest(volume_id="volume-1")
        answer = await service.NodeGetVolumeHealth(request, CONTEXT)
        assert answer.volume_health.volume_id == "volume-1"
        assert not answer.volume_health.health_statuses
        storage = await service.NodeGetStorageHealth(pb.NodeGetStorageHealthRequest(), CONTEXT)
        assert not storage.backend_health

    play(scenario, health=True)


def test_no_secret_reaches_a_log_or_an_event(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(node: FakeNode, service: NodeService) -> None:
        request = publish_request(node)
        await service.NodePublishVolume(request, CONTEXT)
        request.secrets["secretAccessKey"] = f"{SECRET}-rotated"
        await service.NodePublishVolume(request, CONTEXT)
        request.secrets["secretAccessKey"] = f"{SECRET}-refused"
        node.resolver.fail = MounterFailedError("AccessDeniedError", "no")
        with pytest.raises(MounterFailedError) as caught:
            await service.NodePublishVolume(request, CONTEXT)
        assert len(node.sources.refreshed) == 1
        assert SECRET not in f"{caught.value!r} {node.told}"

    with caplog.at_level(logging.DEBUG):
        play(scenario)
    assert SECRET not in caplog.text
