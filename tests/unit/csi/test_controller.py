from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

import pytest

from csi.controller import ControllerService, is_ours, volume_id_of
from csi.errors import InvalidArgumentError, NotFoundError
from csi.proto import csi_pb2 as pb
from csi.status import Context

DATASET = {"dataset": "s3://bucket/imagenet", "ref": "v3"}
NO_CONTEXT = cast("Context", None)
SERVICE = ControllerService()
Mode = pb.VolumeCapability.AccessMode


def capability(mode: Mode.Mode | str = Mode.MULTI_NODE_READER_ONLY) -> pb.VolumeCapability:
    return pb.VolumeCapability(mount=pb.VolumeCapability.MountVolume(), access_mode=Mode(mode=mode))


BLOCK = pb.VolumeCapability(
    block=pb.VolumeCapability.BlockVolume(), access_mode=Mode(mode=Mode.SINGLE_NODE_WRITER)
)


def create(
    name: str = "pvc-1",
    parameters: Mapping[str, str] = DATASET,
    change: Callable[[pb.CreateVolumeRequest], object] = lambda _: None,
) -> pb.Volume:
    """Create a volume by a good request that *change* was let at."""
    request = pb.CreateVolumeRequest(
        name=name, parameters=parameters, volume_capabilities=[capability()]
    )
    change(request)
    return asyncio.run(SERVICE.CreateVolume(request, NO_CONTEXT)).volume


def validate(
    volume_id: str, *capabilities: pb.VolumeCapability
) -> pb.ValidateVolumeCapabilitiesResponse:
    request = pb.ValidateVolumeCapabilitiesRequest(
        volume_id=volume_id,
        volume_context=DATASET,
        parameters=DATASET,
        volume_capabilities=capabilities,
    )
    return asyncio.run(SERVICE.ValidateVolumeCapabilities(request, NO_CONTEXT))


def test_a_volume_carries_what_its_pods_need_to_mount_it() -> None:
    volume = create()
    assert dict(volume.volume_context) == DATASET
    assert volume.capacity_bytes == 0


def test_the_same_name_and_dataset_give_the_same_volume() -> None:
    assert create() == create()


def test_another_name_or_dataset_gives_another_volume() -> None:
    ids = {
        create().volume_id,
        create(name="pvc-2").volume_id,
        create(parameters={**DATASET, "ref": "v4"}).volume_id,
    }
    assert len(ids) == 3


def test_what_the_provisioner_adds_makes_no_other_volume() -> None:
    added = {**DATASET, "csi.storage.k8s.io/pv/name": "pvc-1"}
    assert create(parameters=added) == create()


def test_the_longest_name_gives_an_id_that_is_not_too_long() -> None:
    assert len(create(name="n" * 128).volume_id.encode()) <= 128


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: r.ClearField("name"), "name is missing"),
        (lambda r: setattr(r, "name", "n" * 129), "128 bytes"),
        (lambda r: r.ClearField("volume_capabilities"), "volume_capabilities are missing"),
        (lambda r: r.volume_capabilities.append(BLOCK), "block access"),
        (lambda r: r.volume_capabilities.append(capability(Mode.UNKNOWN)), "access mode"),
        (
            lambda r: r.volume_capabilities.add().access_mode.CopyFrom(
                Mode(mode="SINGLE_NODE_WRITER")
            ),
            "access type",
        ),
        (lambda r: r.parameters.clear(), "'dataset' is missing"),
        (lambda r: r.parameters.update(flavour="sweet"), "'flavour' is not known"),
        (lambda r: r.parameters.update(subPath="d" * 5000), "4096 bytes"),
        (lambda r: r.volume_content_source.volume.SetInParent(), "cannot be filled"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(
    change: Callable[[pb.CreateVolumeRequest], object], complaint: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        create(change=change)


@pytest.mark.parametrize("mode", Mode.Mode.keys()[1:])
def test_every_access_mode_is_confirmed_with_all_that_was_asked(mode: str) -> None:
    answer = validate(create().volume_id, capability(mode))
    assert answer.message == ""
    assert list(answer.confirmed.volume_capabilities) == [capability(mode)]
    assert dict(answer.confirmed.volume_context) == DATASET
    assert dict(answer.confirmed.parameters) == DATASET


def test_what_is_not_supported_is_not_confirmed_and_said_why() -> None:
    answer = validate(create().volume_id, capability(), BLOCK)
    assert not answer.HasField("confirmed")
    assert "block access" in answer.message


@pytest.mark.parametrize(
    "volume_id",
    ["some-volume", "headrace-", "headrace-0123-4567", create().volume_id[:-1] + "x"],
)
def test_a_volume_that_was_never_created_here_is_not_found(volume_id: str) -> None:
    assert not is_ours(volume_id)
    with pytest.raises(NotFoundError):
        validate(volume_id, capability())


def test_an_id_is_recognised_without_having_been_kept() -> None:
    assert is_ours(volume_id_of("pvc", DATASET))


def test_deleting_deletes_nothing_and_works_for_any_id() -> None:
    for volume_id in (create().volume_id, "some-volume"):
        request = pb.DeleteVolumeRequest(volume_id=volume_id)
        assert asyncio.run(SERVICE.DeleteVolume(request, NO_CONTEXT)) == pb.DeleteVolumeResponse()


def test_an_id_must_be_given() -> None:
    with pytest.raises(InvalidArgumentError, match="volume_id"):
        asyncio.run(SERVICE.DeleteVolume(pb.DeleteVolumeRequest(), NO_CONTEXT))
    with pytest.raises(InvalidArgumentError, match="volume_id"):
        validate("", capability())
    with pytest.raises(InvalidArgumentError, match="volume_capabilities"):
        validate(create().volume_id)
