from __future__ import annotations

from pathlib import Path

import pytest

from csi.errors import InvalidArgumentError
from csi.pod import PodInfo
from csi.proto import csi_pb2 as pb
from csi.volume import NOBODY, AccessMode, PublishCall, parse_publish

SECRET = "canary-of-a-secret"
Mode = pb.VolumeCapability.AccessMode
TARGET = "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/data/mount"


def request_of() -> pb.NodePublishVolumeRequest:
    return pb.NodePublishVolumeRequest(
        volume_id="csi-1",
        target_path=TARGET,
        volume_capability=pb.VolumeCapability(
            mount=pb.VolumeCapability.MountVolume(),
            access_mode=Mode(mode=Mode.SINGLE_NODE_WRITER),
        ),
        secrets={"accessKeyId": "id", "secretAccessKey": SECRET},
        volume_context={
            "dataset": "s3://bucket/data@v1",
            "csi.storage.k8s.io/pod.name": "trainer-0",
            "csi.storage.k8s.io/pod.namespace": "research",
            "csi.storage.k8s.io/pod.uid": "u",
            "csi.storage.k8s.io/serviceAccount.name": "default",
            "csi.storage.k8s.io/serviceAccount.tokens": SECRET,
        },
    )


def parse(request: pb.NodePublishVolumeRequest, *, trust: bool = True) -> PublishCall:
    return parse_publish(request, trust_pod_info=trust)


def test_a_request_becomes_a_call() -> None:
    call = parse(request_of())
    assert call.wanted.volume_id == "csi-1"
    assert call.wanted.target == Path(TARGET)
    assert call.wanted.mode is AccessMode.SINGLE_NODE_WRITER
    assert call.attributes.dataset == "s3://bucket/data"
    assert call.pod == PodInfo("trainer-0", "research", "u", "default")


def test_a_call_never_shows_a_secret() -> None:
    call = parse(request_of())
    assert call.secrets["secretAccessKey"] == SECRET
    assert SECRET not in f"{call!r} {call} {call.wanted}"


def test_names_of_pods_are_not_taken_from_users() -> None:
    assert parse(request_of(), trust=False).pod == NOBODY


def test_a_volume_id_of_128_bytes_is_taken() -> None:
    request = request_of()
    request.volume_id = "x" * 128
    assert parse(request).wanted.volume_id == "x" * 128


def test_tokens_do_not_count_towards_the_size_of_the_context() -> None:
    request = request_of()
    request.volume_context["csi.storage.k8s.io/serviceAccount.tokens"] = "t" * 5000
    assert parse(request).attributes.dataset == "s3://bucket/data"


@pytest.mark.parametrize("field", ["volume_id", "target_path", "volume_capability"])
def test_a_missing_field_is_named(field: str) -> None:
    request = request_of()
    request.ClearField(field)
    with pytest.raises(InvalidArgumentError, match=field):
        parse(request)


def test_a_long_volume_id_is_refused() -> None:
    request = request_of()
    request.volume_id = "é" * 65
    with pytest.raises(InvalidArgumentError, match="volume_id"):
        parse(request)


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/", "/" + "x" * 4095, "/a\0b"])
def test_a_strange_target_is_refused(path: str) -> None:
    request = request_of()
    request.target_path = path
    with pytest.raises(InvalidArgumentError, match="target_path"):
        parse(request)


@pytest.mark.parametrize("field", ["volume_context", "secrets", "publish_context"])
def test_a_large_map_is_refused_and_not_repeated(field: str) -> None:
    request = request_of()
    getattr(request, field)["large"] = SECRET * 250
    with pytest.raises(InvalidArgumentError, match=field) as caught:
        parse(request)
    assert SECRET not in str(caught.value)


def test_block_access_is_refused() -> None:
    request = request_of()
    request.volume_capability.block.SetInParent()
    with pytest.raises(InvalidArgumentError, match="block"):
        parse(request)


def test_a_capability_without_access_type_is_refused() -> None:
    request = request_of()
    request.volume_capability.ClearField("mount")
    with pytest.raises(InvalidArgumentError, match="access type"):
        parse(request)


@pytest.mark.parametrize("mode", [0, 99])
def test_an_unknown_access_mode_is_refused(mode: int) -> None:
    request = request_of()
    request.volume_capability.access_mode.mode = mode  # type: ignore[assignment]  # any number
    with pytest.raises(InvalidArgumentError, match="access mode"):
        parse(request)


def test_harmless_mount_options_are_taken_in_any_order() -> None:
    one, two = request_of(), request_of()
    one.volume_capability.mount.mount_flags.extend(["noatime", "ro"])
    two.volume_capability.mount.mount_flags.extend(["ro,noatime"])
    assert parse(one).wanted == parse(two).wanted


def test_an_unknown_mount_option_is_refused_and_not_repeated() -> None:
    request = request_of()
    request.volume_capability.mount.mount_flags.append(f"password={SECRET}")
    with pytest.raises(InvalidArgumentError, match="mount option") as caught:
        parse(request)
    assert SECRET not in str(caught.value)


def test_the_mount_group_is_a_number() -> None:
    request = request_of()
    request.volume_capability.mount.volume_mount_group = "2000"
    assert parse(request).wanted.arguments.mount_group == 2000
    request.volume_capability.mount.volume_mount_group = "staff"
    with pytest.raises(InvalidArgumentError, match="volume_mount_group"):
        parse(request)


def test_what_only_proves_who_asks_is_not_compared() -> None:
    other = request_of()
    other.secrets["secretAccessKey"] = "rotated"
    other.publish_context["x"] = "y"
    other.volume_context["csi.storage.k8s.io/pod.name"] = "trainer-1"
    other.volume_context["csi.storage.k8s.io/serviceAccount.tokens"] = "fresh"
    assert parse(other).wanted == parse(request_of()).wanted
