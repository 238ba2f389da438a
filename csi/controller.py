"""The Controller service: gives datasets volume ids. Keeps nothing, makes nothing, asks nobody."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from csi.attributes import is_foreign, parse_attributes
from csi.errors import InvalidArgumentError, NotFoundError
from csi.proto import csi_pb2 as pb
from csi.proto.csi_pb2_grpc import ControllerServicer
from csi.status import Context
from csi.volume import MOST_STRING_SIZE, AccessMode, check_map, checked_volume_id

PREFIX = "headrace-"
DIGEST_SIZE = 16
CHECK_SIZE = 4
CAPABILITIES = (
    pb.ControllerServiceCapability.RPC.CREATE_DELETE_VOLUME,
    pb.ControllerServiceCapability.RPC.SINGLE_NODE_MULTI_WRITER,
)


class ControllerService(ControllerServicer):
    """Any number of these may run; all give the same answers."""

    async def ControllerGetCapabilities(
        self, _request: pb.ControllerGetCapabilitiesRequest, _context: Context
    ) -> pb.ControllerGetCapabilitiesResponse:
        """Return what is served."""
        return pb.ControllerGetCapabilitiesResponse(
            capabilities=[
                pb.ControllerServiceCapability(rpc=pb.ControllerServiceCapability.RPC(type=kind))
                for kind in CAPABILITIES
            ]
        )

    async def CreateVolume(
        self, request: pb.CreateVolumeRequest, _context: Context
    ) -> pb.CreateVolumeResponse:
        """Return the volume of that name and dataset; the same each time it is asked for."""
        _check_new(request)
        attributes = attributes_in(request.parameters)
        volume = pb.Volume(
            volume_id=volume_id_of(request.name, attributes), volume_context=attributes
        )
        return pb.CreateVolumeResponse(volume=volume)

    async def DeleteVolume(
        self, request: pb.DeleteVolumeRequest, _context: Context
    ) -> pb.DeleteVolumeResponse:
        """Delete nothing: the dataset is not the volume's."""
        checked_volume_id(request.volume_id)
        return pb.DeleteVolumeResponse()

    async def ValidateVolumeCapabilities(
        self, request: pb.ValidateVolumeCapabilitiesRequest, _context: Context
    ) -> pb.ValidateVolumeCapabilitiesResponse:
        """Say whether a volume of ours can be used so."""
        _check_question(request)
        if not is_ours(request.volume_id):
            raise NotFoundError(f"{request.volume_id!r} is no volume that this driver made")
        if complaint := complaint_about(request.volume_capabilities):
            return pb.ValidateVolumeCapabilitiesResponse(message=complaint)
        return pb.ValidateVolumeCapabilitiesResponse(
            confirmed=pb.ValidateVolumeCapabilitiesResponse.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
                mutable_parameters=request.mutable_parameters,
            )
        )


def attributes_in(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the volume attributes among a StorageClass's parameters, once they are understood."""
    attributes = {key: word for key, word in parameters.items() if not is_foreign(key)}
    parse_attributes(attributes)
    return attributes


def volume_id_of(name: str, attributes: Mapping[str, str]) -> str:
    """Return a volume's id: a digest of what it is, and a check that the digest is ours."""
    content = json.dumps([name, sorted(attributes.items())]).encode()
    digest = blake2b(content, digest_size=DIGEST_SIZE).hexdigest()
    return f"{PREFIX}{digest}-{_check_of(digest)}"


def is_ours(volume_id: str) -> bool:
    """Say whether `volume_id_of` made this id."""
    digest, _, check = volume_id.removeprefix(PREFIX).partition("-")
    return volume_id.startswith(PREFIX) and check == _check_of(digest)


def complaint_about(capabilities: Iterable[pb.VolumeCapability]) -> str:
    """Return why a dataset cannot be used so; empty when it can."""
    modes = [mode.value for mode in AccessMode]
    for capability in capabilities:
        if capability.HasField("block"):
            return "a dataset is a directory; block access is not possible"
        if not capability.HasField("mount"):
            return "a volume capability lacks its access type"
        if capability.access_mode.mode not in modes:
            return "a volume capability lacks its access mode"
    return ""


def _check_new(request: pb.CreateVolumeRequest) -> None:
    """Refuse a volume that lacks something, or cannot be."""
    if not request.name:
        raise InvalidArgumentError("name is missing")
    if len(request.name.encode()) > MOST_STRING_SIZE:
        raise InvalidArgumentError(f"name is longer than {MOST_STRING_SIZE} bytes")
    check_map("parameters", request.parameters)
    _check_capabilities(request.volume_capabilities)
    if complaint := complaint_about(request.volume_capabilities):
        raise InvalidArgumentError(complaint)
    if request.HasField("volume_content_source"):
        raise InvalidArgumentError("a volume shows a dataset; it cannot be filled from another")


def _check_question(request: pb.ValidateVolumeCapabilitiesRequest) -> None:
    checked_volume_id(request.volume_id)
    check_map("volume_context", request.volume_context)
    check_map("parameters", request.parameters)
    _check_capabilities(request.volume_capabilities)


def _check_capabilities(capabilities: Iterable[pb.VolumeCapability]) -> None:
    if not list(capabilities):
        raise InvalidArgumentError("volume_capabilities are missing")


def _check_of(digest: str) -> str:
    return blake2b(digest.encode(), digest_size=CHECK_SIZE, person=b"headrace").hexdigest()
