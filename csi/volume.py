"""What the kubelet asks for, as frozen values: fields first, before anything is looked up.

An unset sub-message is truthy in Python, so `HasField` is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from csi import words
from csi.attributes import KUBELETS, Attributes, parse_attributes
from csi.errors import InvalidArgumentError
from csi.pod import PodInfo
from csi.proto import csi_pb2

MOST_STRING_SIZE = 128
MOST_PATH_SIZE = 4095
MOST_MAP_SIZE = 4096
NOBODY = PodInfo("", "", "", "")
HARMLESS_FLAGS = frozenset(
    {"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "defaults"}
)
"""Mount options that ask for what is the case anyway; `rw` because nobody can ask for more."""


class AccessMode(IntEnum):
    """Who may have the volume where; the numbers are those of the wire."""

    SINGLE_NODE_WRITER = 1
    SINGLE_NODE_READER_ONLY = 2
    MULTI_NODE_READER_ONLY = 3
    MULTI_NODE_SINGLE_WRITER = 4
    MULTI_NODE_MULTI_WRITER = 5
    SINGLE_NODE_SINGLE_WRITER = 6
    SINGLE_NODE_MULTI_WRITER = 7


@dataclass(frozen=True, slots=True)
class Arguments:
    """All that makes one publication differ from another: what is shown, and how."""

    attributes: Attributes
    mount_flags: tuple[str, ...] = ()
    mount_group: int | None = None
    readonly: bool = True


@dataclass(frozen=True, slots=True)
class Publication:
    """A volume at a target."""

    volume_id: str
    target: Path
    mode: AccessMode
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class PublishCall:
    """One NodePublishVolume: what is wanted, and who asks with which credentials."""

    wanted: Publication
    pod: PodInfo = NOBODY
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    context: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def attributes(self) -> Attributes:
        """What is to be shown."""
        return self.wanted.arguments.attributes


def parse_publish(
    request: csi_pb2.NodePublishVolumeRequest, *, trust_pod_info: bool
) -> PublishCall:
    """Return what a request means. Raises InvalidArgumentError.

    Names of pods are taken only where the kubelet is known to set them: else the user may have.
    """
    volume_id = checked_volume_id(request.volume_id)
    target = checked_path("target_path", request.target_path)
    check_map("volume_context", request.volume_context)
    check_map("secrets", request.secrets)
    check_map("publish_context", request.publish_context)
    mode, flags, group = _parse_capability(request)
    arguments = Arguments(parse_attributes(request.volume_context), flags, group, request.readonly)
    return PublishCall(
        Publication(volume_id, target, mode, arguments),
        pod_of(request.volume_context) if trust_pod_info else NOBODY,
        dict(request.secrets),
        dict(request.volume_context),
    )


def checked_volume_id(volume_id: str) -> str:
    """Return *volume_id* if it is one."""
    if not volume_id:
        raise InvalidArgumentError("volume_id is missing")
    if len(volume_id.encode()) > MOST_STRING_SIZE:
        raise InvalidArgumentError(f"volume_id is longer than {MOST_STRING_SIZE} bytes")
    return volume_id


def checked_path(name: str, text: str) -> Path:
    """Return the path in the field *name*: absolute, without detours, and not the root."""
    if not text:
        raise InvalidArgumentError(f"{name} is missing")
    if len(text.encode()) > MOST_PATH_SIZE:
        raise InvalidArgumentError(f"{name} is longer than {MOST_PATH_SIZE} bytes")
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts or "\0" in text or path == Path(path.anchor):
        raise InvalidArgumentError(f"{name} must be an absolute path without '..', not {text!r}")
    return Path("/", *path.parts[1:])


def pod_of(context: Mapping[str, str]) -> PodInfo:
    """Return the pod that the kubelet names in a volume's context."""
    return PodInfo(
        name=context.get(f"{KUBELETS}pod.name", ""),
        namespace=context.get(f"{KUBELETS}pod.namespace", ""),
        uid=context.get(f"{KUBELETS}pod.uid", ""),
        service_account=context.get(f"{KUBELETS}serviceAccount.name", ""),
    )


def check_map(name: str, content: Mapping[str, str]) -> None:
    """Refuse a map that is too large; tokens that the kubelet adds can be so by themselves."""
    own = (pair for pair in content.items() if not pair[0].startswith(KUBELETS))
    if sum(len(word.encode()) for pair in own for word in pair) > MOST_MAP_SIZE:
        raise InvalidArgumentError(f"{name} is larger than {MOST_MAP_SIZE} bytes")


def _parse_capability(
    request: csi_pb2.NodePublishVolumeRequest,
) -> tuple[AccessMode, tuple[str, ...], int | None]:
    if not request.HasField("volume_capability"):
        raise InvalidArgumentError("volume_capability is missing")
    capability = request.volume_capability
    if capability.HasField("block"):
        raise InvalidArgumentError("a dataset is a directory; block access is not possible")
    if not capability.HasField("mount"):
        raise InvalidArgumentError("volume_capability lacks its access type")
    mount = capability.mount
    return (
        _parse_mode(capability),
        _parse_flags(mount.mount_flags),
        _parse_group(mount.volume_mount_group),
    )


def _parse_mode(capability: csi_pb2.VolumeCapability) -> AccessMode:
    try:
        return AccessMode(capability.access_mode.mode)
    except ValueError:
        raise InvalidArgumentError("volume_capability lacks its access mode") from None


def _parse_flags(flags: Iterable[str]) -> tuple[str, ...]:
    """Return mount options in one order. They may be secret, so that none is repeated."""
    words = sorted({word for flag in flags for word in flag.split(",") if word})
    if not HARMLESS_FLAGS.issuperset(words):
        raise InvalidArgumentError(
            "a mount option is not supported; use volume attributes, and of mount options only "
            + ", ".join(sorted(HARMLESS_FLAGS))
        )
    return tuple(words)


def _parse_group(text: str) -> int | None:
    if not text:
        return None
    return words.IDENTIFIER.read("volume_mount_group", text)
