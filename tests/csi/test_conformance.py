"""The protocol, call by call: what the reference suite checks of such a driver, and what it leaves.

Each call has a connection of its own, as those of the kubelet have.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest

from csi.proto import csi_pb2 as pb
from csi.proto import csi_pb2_grpc as rpc
from tests.csi.bucket import Bucket
from tests.csi.cluster import ClusterNode
from tests.csi.kubelet import calling
from tests.csi.pods import Mode

Rpc = pb.NodeServiceCapability.RPC
CODES = grpc.StatusCode
SECONDS = 60.0
SHARED_MODES = (
    Mode.MULTI_NODE_READER_ONLY,
    Mode.MULTI_NODE_SINGLE_WRITER,
    Mode.MULTI_NODE_MULTI_WRITER,
    Mode.SINGLE_NODE_MULTI_WRITER,
)
SINGLE_MODES = (
    Mode.SINGLE_NODE_WRITER,
    Mode.SINGLE_NODE_READER_ONLY,
    Mode.SINGLE_NODE_SINGLE_WRITER,
)


class Caller:
    """Calls of one volume on one node; what it published it takes off at the end."""

    def __init__(self, node: ClusterNode, bucket: Bucket) -> None:
        self.node = node
        self.bucket = bucket
        self.volume_id = f"volume-{uuid4().hex[:12]}"
        self.targets = [node.kubelet.directory / f"t-{uuid4().hex[:8]}" / "mount" for _ in "12"]
        for target in self.targets:
            target.parent.mkdir()

    def call(self, service: str, method: str, request: Any) -> Any:  # noqa: ANN401
        with calling(self.node.endpoint) as channel:
            stub: Any = rpc.NodeStub(channel) if service == "Node" else rpc.IdentityStub(channel)
            return getattr(stub, method)(request, timeout=SECONDS)

    def request(
        self,
        target: int = 0,
        mode: int = Mode.MULTI_NODE_READER_ONLY,
        **changes: Any,  # noqa: ANN401
    ) -> pb.NodePublishVolumeRequest:
        attributes = {"dataset": self.bucket.url, **changes.pop("attributes", {})}
        mount = pb.VolumeCapability.MountVolume(**changes.pop("mount", {}))
        capability = pb.VolumeCapability(
            mount=mount, access_mode=pb.VolumeCapability.AccessMode(mode=Mode.Mode.Name(mode))
        )
        fields = {
            "volume_id": self.volume_id,
            "target_path": str(self.targets[target]),
            "readonly": True,
            "volume_capability": capability,
            "secrets": dict(self.bucket.secrets),
            "volume_context": attributes,
            **changes,
        }
        return pb.NodePublishVolumeRequest(**fields)

    def publish(self, request: pb.NodePublishVolumeRequest | None = None) -> CODES:
        return self.code("NodePublishVolume", request or self.request())

    def unpublish(self, target: int = 0, volume_id: str | None = None) -> CODES:
        request = pb.NodeUnpublishVolumeRequest(
            volume_id=self.volume_id if volume_id is None else volume_id,
            target_path=str(self.targets[target]),
        )
        return self.code("NodeUnpublishVolume", request)

    def unpublish_patiently(self) -> CODES:
        """Ask as often as the kubelet would: whatever was begun may still be under way."""
        deadline = time.monotonic() + SECONDS
        while (code := self.unpublish()) == CODES.ABORTED and time.monotonic() < deadline:
            time.sleep(0.02)
        return code

    def code(self, method: str, request: Any) -> CODES:  # noqa: ANN401
        """Return the code of a call; whatever is not OK must come with a message, no details."""
        error = self._error_of(method, request)
        if error is None:
            return CODES.OK
        assert error.details()
        assert "grpc-status-details-bin" not in {key for key, _ in error.trailing_metadata() or ()}
        code: grpc.StatusCode = error.code()
        return code

    def _error_of(self, method: str, request: Any) -> Any:  # noqa: ANN401
        try:
            self.call("Node", method, request)
        except grpc.RpcError as error:
            return error
        return None

    def close(self) -> None:
        for number, target in enumerate(self.targets):
            assert self.unpublish(number) == CODES.OK
            assert not target.exists()
            target.parent.rmdir()


@pytest.fixture
def caller(node: ClusterNode, bucket: Bucket) -> Iterator[Caller]:
    made = Caller(node, bucket)
    yield made
    made.close()


def test_the_plugin_says_who_it_is(caller: Caller) -> None:
    info = caller.call("Identity", "GetPluginInfo", pb.GetPluginInfoRequest())
    assert info.name == "csi.headrace.dev"
    assert info.vendor_version


def test_the_plugin_is_ready_when_it_serves(caller: Caller) -> None:
    assert caller.call("Identity", "Probe", pb.ProbeRequest()).ready.value


def test_the_plugin_names_no_service_that_this_installation_lacks(caller: Caller) -> None:
    answer = caller.call("Identity", "GetPluginCapabilities", pb.GetPluginCapabilitiesRequest())
    assert list(answer.capabilities) == []


def test_the_node_says_its_name_and_sets_no_limit(caller: Caller) -> None:
    info = caller.call("Node", "NodeGetInfo", pb.NodeGetInfoRequest())
    assert (info.node_id, info.max_volumes_per_node) == ("node-1", 0)
    assert not info.HasField("accessible_topology")


def test_the_nodes_capabilities_are_those_that_were_decided(caller: Caller) -> None:
    answer = caller.call("Node", "NodeGetCapabilities", pb.NodeGetCapabilitiesRequest())
    assert {capability.rpc.type for capability in answer.capabilities} == {
        Rpc.GET_VOLUME_STATS,
        Rpc.SINGLE_NODE_MULTI_WRITER,
        Rpc.VOLUME_MOUNT_GROUP,
    }


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("NodeStageVolume", pb.NodeStageVolumeRequest()),
        ("NodeUnstageVolume", pb.NodeUnstageVolumeRequest()),
        ("NodeExpandVolume", pb.NodeExpandVolumeRequest()),
        ("NodeGetVolumeHealth", pb.NodeGetVolumeHealthRequest()),
    ],
)
def test_what_is_not_served_is_unimplemented(caller: Caller, method: str, request_: Any) -> None:  # noqa: ANN401
    with calling(caller.node.endpoint) as channel:
        stub = channel.unary_unary(
            f"/csi.v1.Node/{method}",
            request_serializer=type(request_).SerializeToString,
            response_deserializer=pb.ProbeResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            stub(request_, timeout=SECONDS)
    assert caught.value.code() == CODES.UNIMPLEMENTED


@pytest.mark.parametrize("missing", ["volume_id", "target_path", "volume_capability"])
def test_publish_wants_every_field_that_the_specification_wants(
    caller: Caller, missing: str
) -> None:
    request = caller.request()
    request.ClearField(missing)
    assert caller.publish(request) == CODES.INVALID_ARGUMENT


def test_publish_wants_a_kind_of_access_and_a_mode(caller: Caller) -> None:
    request = caller.request()
    request.volume_capability.ClearField("mount")
    assert caller.publish(request) == CODES.INVALID_ARGUMENT
    assert caller.publish(caller.request(mode=Mode.UNKNOWN)) == CODES.INVALID_ARGUMENT


def test_publish_as_a_block_device_is_refused(caller: Caller) -> None:
    request = caller.request()
    request.volume_capability.block.CopyFrom(pb.VolumeCapability.BlockVolume())
    assert caller.publish(request) == CODES.INVALID_ARGUMENT


def test_ids_paths_and_maps_have_their_limits(caller: Caller) -> None:
    too_long = "v" * 129
    assert caller.publish(caller.request(volume_id=too_long)) == CODES.INVALID_ARGUMENT
    assert caller.publish(caller.request(target_path="/" + "t" * 4096)) == CODES.INVALID_ARGUMENT
    assert caller.publish(caller.request(target_path="relative")) == CODES.INVALID_ARGUMENT
    large = {"subPath": "x" * 4096}
    assert caller.publish(caller.request(attributes=large)) == CODES.INVALID_ARGUMENT
    flags = {"mount_flags": ["ro" * 1024] * 3}
    assert caller.publish(caller.request(mount=flags)) == CODES.INVALID_ARGUMENT
    assert caller.unpublish(volume_id=too_long) == CODES.INVALID_ARGUMENT


def test_tokens_of_the_kubelet_do_not_count_as_size(caller: Caller) -> None:
    tokens = {"csi.storage.k8s.io/serviceAccount.tokens": '{"a": "' + "x" * 6000 + '"}'}
    assert caller.publish(caller.request(attributes=tokens)) == CODES.OK


def test_unpublish_wants_an_id_and_a_target(caller: Caller) -> None:
    for request in (
        pb.NodeUnpublishVolumeRequest(target_path=str(caller.targets[0])),
        pb.NodeUnpublishVolumeRequest(volume_id=caller.volume_id),
    ):
        assert caller.code("NodeUnpublishVolume", request) == CODES.INVALID_ARGUMENT


def test_statistics_want_an_id_and_a_path_and_a_published_volume(caller: Caller) -> None:
    path = str(caller.targets[0])
    for fields, code in (
        ({"volume_path": path}, CODES.INVALID_ARGUMENT),
        ({"volume_id": caller.volume_id}, CODES.INVALID_ARGUMENT),
        ({"volume_id": caller.volume_id, "volume_path": path}, CODES.NOT_FOUND),
    ):
        request = pb.NodeGetVolumeStatsRequest(**fields)
        assert caller.code("NodeGetVolumeStats", request) == code
    assert caller.publish() == CODES.OK
    for fields, code in (
        ({"volume_id": caller.volume_id, "volume_path": path}, CODES.OK),
        ({"volume_id": "another", "volume_path": path}, CODES.NOT_FOUND),
        ({"volume_id": caller.volume_id, "volume_path": path + "x"}, CODES.NOT_FOUND),
    ):
        request = pb.NodeGetVolumeStatsRequest(**fields)
        assert caller.code("NodeGetVolumeStats", request) == code


@pytest.mark.parametrize("mode", SHARED_MODES + SINGLE_MODES)
def test_the_same_publish_again_is_fine_and_another_at_that_target_is_not(
    caller: Caller, mode: int
) -> None:
    assert caller.publish(caller.request(mode=mode)) == CODES.OK
    assert caller.publish(caller.request(mode=mode)) == CODES.OK
    other = caller.request(mode=mode, attributes={"subPath": "train"})
    assert caller.publish(other) == CODES.ALREADY_EXISTS
    assert (caller.targets[0] / "readme").read_bytes() == b"all of it\n"


@pytest.mark.parametrize("attributes", [{}, {"subPath": "train"}])
@pytest.mark.parametrize("mode", SHARED_MODES)
def test_a_second_target_is_fine_where_the_mode_shares(
    caller: Caller, mode: int, attributes: dict[str, str]
) -> None:
    assert caller.publish(caller.request(mode=mode)) == CODES.OK
    second = caller.request(target=1, mode=mode, attributes=attributes)
    assert caller.publish(second) == CODES.OK


@pytest.mark.parametrize("attributes", [{}, {"subPath": "train"}])
@pytest.mark.parametrize("mode", SINGLE_MODES)
def test_a_second_target_is_refused_where_the_mode_does_not_share(
    caller: Caller, mode: int, attributes: dict[str, str]
) -> None:
    assert caller.publish(caller.request(mode=mode)) == CODES.OK
    second = caller.request(target=1, mode=mode, attributes=attributes)
    assert caller.publish(second) == CODES.FAILED_PRECONDITION
    assert not caller.targets[1].exists()


def test_modes_that_the_kubelet_maps_to_one_another_are_the_same(caller: Caller) -> None:
    for mode in (
        Mode.SINGLE_NODE_WRITER,
        Mode.SINGLE_NODE_SINGLE_WRITER,
        Mode.SINGLE_NODE_MULTI_WRITER,
    ):
        assert caller.publish(caller.request(mode=mode)) == CODES.OK


@pytest.mark.parametrize(
    "changes",
    [
        {"readonly": False},
        {"mount": {"mount_flags": ["noatime"]}},
        {"attributes": {"uid": "7"}},
        {"attributes": {"exec": "true"}},
    ],
)
def test_whatever_changes_what_is_shown_is_another_volume(
    caller: Caller, changes: dict[str, Any]
) -> None:
    assert caller.publish() == CODES.OK
    assert caller.publish(caller.request(**changes)) == CODES.ALREADY_EXISTS


def test_secrets_contexts_and_pod_info_do_not_make_another_volume(caller: Caller) -> None:
    assert caller.publish() == CODES.OK
    info = {"csi.storage.k8s.io/pod.name": "other", "csi.storage.k8s.io/new.thing": "x"}
    assert caller.publish(caller.request(attributes=info)) == CODES.OK
    assert caller.publish(caller.request(publish_context={"a": "b"})) == CODES.OK


def test_what_was_never_published_is_unpublished_without_complaint(caller: Caller) -> None:
    assert caller.unpublish() == CODES.OK
    caller.targets[0].mkdir()
    assert caller.unpublish() == CODES.OK
    assert not caller.targets[0].exists()
    assert caller.unpublish(volume_id="nobody-knows-me") == CODES.OK


def test_unpublish_is_as_good_the_second_time(caller: Caller) -> None:
    assert caller.publish() == CODES.OK
    assert caller.unpublish() == CODES.OK
    assert not caller.targets[0].exists()
    assert caller.unpublish() == CODES.OK


def test_unpublish_never_deletes_what_it_did_not_make(caller: Caller) -> None:
    caller.targets[0].mkdir()
    treasure = caller.targets[0] / "treasure"
    treasure.write_text("dear")
    assert caller.unpublish() != CODES.OK
    assert treasure.read_text() == "dear"
    treasure.unlink()


def test_the_target_may_be_there_already(caller: Caller) -> None:
    caller.targets[0].mkdir()
    assert caller.publish() == CODES.OK
    assert (caller.targets[0] / "readme").exists()


def together(count: int, call: Callable[[int], CODES]) -> list[CODES]:
    start = threading.Barrier(count)

    def one(number: int) -> CODES:
        start.wait()
        return call(number)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_calls_for_one_volume_at_once_end_in_one_publication(caller: Caller) -> None:
    codes = together(8, lambda _: caller.publish())
    assert set(codes) <= {CODES.OK, CODES.ABORTED}
    assert CODES.OK in codes
    assert caller.publish() == CODES.OK
    assert sum(i.mountpoint == caller.targets[0] for i in caller.node.mounts()) == 1


def test_publish_and_unpublish_at_once_leave_one_of_both(caller: Caller) -> None:
    for _ in range(5):
        codes = together(4, lambda n: caller.publish() if n % 2 else caller.unpublish())
        # A publish that an unpublish called off is not final: the kubelet may ask again.
        assert set(codes) <= {CODES.OK, CODES.ABORTED, CODES.UNAVAILABLE}
    assert caller.unpublish_patiently() == CODES.OK
    assert not caller.targets[0].exists()


def test_a_target_with_odd_letters_is_mounted_and_unmounted(
    node: ClusterNode, bucket: Bucket
) -> None:
    odd = node.kubelet.directory / "a b\\c\td" / "mount"
    odd.parent.mkdir()
    caller = Caller(node, bucket)
    spare, caller.targets[0] = caller.targets[0], odd
    assert caller.publish() == CODES.OK
    assert (odd / "readme").exists()
    caller.close()
    spare.parent.rmdir()


def test_nothing_is_left_of_a_client_that_gives_up(caller: Caller) -> None:
    codes = set()
    for seconds in (0.001, 0.01, 0.05, 0.1, 0.2):
        with calling(caller.node.endpoint) as channel:
            try:
                rpc.NodeStub(channel).NodePublishVolume(caller.request(), timeout=seconds)
            except grpc.RpcError as error:
                codes.add(error.code())
    assert codes <= {CODES.DEADLINE_EXCEEDED, CODES.ABORTED}
    assert caller.unpublish_patiently() == CODES.OK
