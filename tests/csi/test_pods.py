"""What a pod sees of its volumes, from its YAML to its bytes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import grpc
import pytest

from tests.csi.bucket import FILES, Bucket, write_files
from tests.csi.cluster import ClusterNode
from tests.csi.kubelet import PublishError
from tests.csi.pods import Mode, Pod, Volume
from tests.node import wait_until


def content_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_three_lines_of_yaml_show_a_dataset(node: ClusterNode, bucket: Bucket) -> None:
    pod, volume = Pod(), bucket.volume()
    target = node.kubelet.publish(pod, volume)
    assert content_below(target) == FILES
    node.kubelet.unpublish(pod, volume)


def test_a_ref_is_named_in_the_dataset_or_beside_it(node: ClusterNode, bucket: Bucket) -> None:
    for volume in (
        bucket.volume(ref="main"),
        Volume("data", {"dataset": f"{bucket.url}@main"}, bucket.secrets),
    ):
        pod = Pod()
        assert content_below(node.kubelet.publish(pod, volume)) == FILES
        node.kubelet.unpublish(pod, volume)


def test_a_snapshot_stays_what_it_is_when_the_ref_moves(
    node: ClusterNode, own_bucket: Bucket, tmp_path: Path
) -> None:
    first = own_bucket.snapshot(tmp_path / "files")
    (tmp_path / "files/new").write_bytes(b"new")
    own_bucket.snapshot(tmp_path / "files")
    pinned, latest, pod = own_bucket.volume(snapshot=first), own_bucket.volume("latest"), Pod()
    assert content_below(node.kubelet.publish(pod, pinned)) == FILES
    assert content_below(node.kubelet.publish(pod, latest)) == {**FILES, "new": b"new"}
    node.kubelet.unpublish(pod, pinned)
    node.kubelet.unpublish(pod, latest)


def test_a_part_of_a_dataset_can_be_shown(node: ClusterNode, bucket: Bucket) -> None:
    pod, volume = Pod(), bucket.volume(subPath="train")
    target = node.kubelet.publish(pod, volume)
    assert sorted(path.name for path in target.iterdir()) == ["cat.txt", "dog.txt"]
    node.kubelet.unpublish(pod, volume)


@pytest.mark.parametrize("sub_path", ["../etc", "train/../../x", "/etc", "readme", "missing"])
def test_a_bad_sub_path_is_refused_and_nothing_stays(
    node: ClusterNode, bucket: Bucket, sub_path: str
) -> None:
    with pytest.raises(PublishError) as caught:
        node.kubelet.publish(Pod(), bucket.volume(subPath=sub_path))
    assert caught.value.code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert "subPath" in caught.value.text


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "mode",
    [
        Mode.SINGLE_NODE_WRITER,
        Mode.SINGLE_NODE_READER_ONLY,
        Mode.MULTI_NODE_READER_ONLY,
        Mode.MULTI_NODE_SINGLE_WRITER,
        Mode.MULTI_NODE_MULTI_WRITER,
        Mode.SINGLE_NODE_SINGLE_WRITER,
        Mode.SINGLE_NODE_MULTI_WRITER,
    ],
)
def test_every_access_mode_is_taken_and_none_lets_anybody_write(
    node: ClusterNode, bucket: Bucket, mode: int, *, read_only: bool
) -> None:
    volume = Volume(
        "data",
        {"dataset": bucket.url},
        bucket.secrets,
        read_only=read_only,
        handle=f"handle-{mode}-{read_only}",
        access_mode=mode,
    )
    pod = Pod()
    target = node.kubelet.publish(pod, volume)
    with pytest.raises(OSError, match="Read-only") as caught:
        (target / "written").write_bytes(b"x")
    assert caught.value.errno == errno.EROFS
    node.kubelet.unpublish(pod, volume)


def test_pods_that_show_the_same_share_one_mount(node: ClusterNode, bucket: Bucket) -> None:
    pods, volume = [Pod() for _ in range(4)], bucket.volume()
    for pod in pods:
        node.kubelet.publish(pod, volume)
    assert len(node.source_mounts()) == 1
    for pod in pods:
        node.kubelet.unpublish(pod, volume)


def test_one_pod_may_have_two_volumes_of_one_dataset(node: ClusterNode, bucket: Bucket) -> None:
    pod = Pod()
    first, second = bucket.volume("first"), bucket.volume("second", subPath="test")
    for volume in (first, second):
        node.kubelet.publish(pod, volume)
    assert len(node.source_mounts()) == 1
    node.kubelet.unpublish(pod, first)
    assert (pod.target(node.kubelet.directory, second) / "bird.txt").read_bytes() == b"bird\n"
    node.kubelet.unpublish(pod, second)


def test_two_persistent_volumes_with_one_handle_come_and_go_in_any_order(
    node: ClusterNode, bucket: Bucket
) -> None:
    volume = Volume("claim", {"dataset": bucket.url}, bucket.secrets, handle="imagenet")
    pods = [Pod(), Pod()]
    targets = [node.kubelet.publish(pod, volume) for pod in pods]
    node.kubelet.unpublish(pods[0], volume)
    assert content_below(targets[1]) == FILES
    node.kubelet.publish(pods[0], volume)
    node.kubelet.unpublish(pods[1], volume)
    assert content_below(targets[0]) == FILES
    node.kubelet.unpublish(pods[0], volume)


def test_owner_and_mode_are_those_that_were_asked_for(node: ClusterNode, bucket: Bucket) -> None:
    pod, volume = Pod(), bucket.volume(uid="1234", gid="5678", mode="0440")
    target = node.kubelet.publish(pod, volume)
    file, directory = (target / "readme").stat(), (target / "train").stat()
    assert (file.st_uid, file.st_gid, file.st_mode & 0o7777) == (1234, 5678, 0o440)
    assert directory.st_mode & 0o7777 == 0o550
    node.kubelet.unpublish(pod, volume)


def test_a_pods_group_can_read_what_only_a_group_may(node: ClusterNode, bucket: Bucket) -> None:
    pod, volume = Pod(fs_group=4321), bucket.volume(mode="0440")
    target = node.kubelet.publish(pod, volume)
    assert (target / "readme").stat().st_gid == 4321
    node.kubelet.unpublish(pod, volume)


def test_nothing_is_run_from_a_volume_unless_it_was_asked_for(
    node: ClusterNode, bucket: Bucket
) -> None:
    pod, plain, tools = Pod(), bucket.volume("plain"), bucket.volume("tools", exec="true")
    options = {}
    for volume in (plain, tools):
        target = node.kubelet.publish(pod, volume)
        options[volume.name] = next(i.options for i in node.mounts() if i.mountpoint == target)
    assert {"ro", "nosuid", "nodev", "noexec"} <= options["plain"]
    assert {"ro", "nosuid", "nodev"} <= options["tools"]
    assert "noexec" not in options["tools"]
    for volume in (plain, tools):
        node.kubelet.unpublish(pod, volume)


def test_statistics_come_from_the_snapshot(node: ClusterNode, bucket: Bucket) -> None:
    pod, volume = Pod(), bucket.volume()
    node.kubelet.publish(pod, volume)
    size = sum(map(len, FILES.values()))
    stats = node.kubelet.stats(pod, volume)
    assert stats["BYTES"] == (size, size, 0)
    total, used, available = stats["INODES"]
    assert (total, available) == (used, 0)
    assert total >= len(FILES)
    node.kubelet.unpublish(pod, volume)


@pytest.mark.parametrize(
    ("attributes", "code", "words"),
    [
        ({"datset": "s3://b/x"}, grpc.StatusCode.INVALID_ARGUMENT, "datset"),
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "dataset"),
        ({"dataset": "s3://headrace-tests/nowhere"}, grpc.StatusCode.NOT_FOUND, "snapshot"),
        ({"dataset": "DATASET@nothing"}, grpc.StatusCode.NOT_FOUND, "nothing"),
    ],
)
def test_an_error_names_what_is_wrong(
    node: ClusterNode,
    bucket: Bucket,
    attributes: dict[str, str],
    code: grpc.StatusCode,
    words: str,
) -> None:
    named = {key: text.replace("DATASET", bucket.url) for key, text in attributes.items()}
    with pytest.raises(PublishError, match=words) as caught:
        node.kubelet.publish(Pod(), Volume("data", named, bucket.secrets))
    assert caught.value.code == code
    assert "\n" not in caught.value.text


def test_a_wrong_key_is_refused_without_being_told_to_anybody(
    node: ClusterNode, bucket: Bucket
) -> None:
    secrets = {**bucket.secrets, "secretAccessKey": "canary-that-nobody-may-see"}
    with pytest.raises(PublishError) as caught:
        node.kubelet.publish(Pod(), Volume("data", {"dataset": bucket.url}, secrets))
    assert caught.value.code in {
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
    assert bucket.url in caught.value.text or "access" in caught.value.text
    assert "canary" not in caught.value.text + node.log()


def test_a_pod_without_credentials_is_told_what_to_do(node: ClusterNode, bucket: Bucket) -> None:
    with pytest.raises(PublishError, match="nodePublishSecretRef") as caught:
        node.kubelet.publish(Pod(), Volume("data", {"dataset": bucket.url}))
    assert caught.value.code == grpc.StatusCode.UNAUTHENTICATED


def test_a_dataset_of_one_megafile_is_read_through_two_mounts_by_one_cache(
    node: ClusterNode, own_bucket: Bucket, tmp_path: Path
) -> None:
    content = os.urandom(3 << 20)
    own_bucket.snapshot(write_files(tmp_path / "files", {"big": content}))
    pod, one, two = Pod(), own_bucket.volume("one"), own_bucket.volume("two", uid="7")
    for volume in (one, two):
        assert (node.kubelet.publish(pod, volume) / "big").read_bytes() == content
    assert len(node.source_mounts()) == 2
    for volume in (one, two):
        node.kubelet.unpublish(pod, volume)


def test_what_is_to_be_fetched_ahead_is_there_before_it_is_read(
    node: ClusterNode, own_bucket: Bucket
) -> None:
    pod, volume = Pod(), own_bucket.volume(prefetch="train/*")
    target = node.kubelet.publish(pod, volume)

    def cached(name: str) -> int:
        return int(os.getxattr(target / name, "user.headrace.cached_bytes"))

    wait_until(lambda: cached("train/dog.txt") == len(FILES["train/dog.txt"]))
    assert cached("test/bird.txt") == 0
    node.kubelet.unpublish(pod, volume)
