"""Who may read what: each pod as itself, whatever the node's cache has."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from tests.csi.cluster import ClusterNode, cluster_node
from tests.csi.kubelet import PublishError
from tests.csi.pods import CsiDriverObject, Pod, Volume
from tests.csi.tenants import (
    COLD,
    COLLEAGUE,
    CONTENT,
    DATASET,
    OWNER,
    REFS_ONLY,
    STRANGER,
    Store,
    grant,
    tenants_store,
)
from tests.fakes.faultproxy import Status
from tests.fakes.sts import FakeSts, fake_sts
from tests.node import wait_until
from tests.seaweed import ACCESS_KEY, SECRET_KEY, Tenant
from vfs.mounting.mountinfo import mounted_at

DENIED, UNAUTHENTICATED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
REPUBLICATIONS = 20
NAMES = sorted(CONTENT)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with tenants_store(tmp_path_factory.mktemp("tenants")) as made:
        yield made


@pytest.fixture(scope="module")
def sts() -> Iterator[FakeSts]:
    with fake_sts() as made:
        yield made


@pytest.fixture(scope="module")
def tenants_node(sts: FakeSts) -> Iterator[ClusterNode]:
    """A node whose kubelet puts tokens among the secrets, and where nobody reads as the node."""
    environment = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    with cluster_node(
        "--grace=0",
        f"--sts-endpoint={sts.url}",
        driver=CsiDriverObject(tokens_in_secrets=True),
        environment=environment,
    ) as made:
        yield made


@pytest.fixture
def node(tenants_node: ClusterNode, store: Store, sts: FakeSts) -> Iterator[ClusterNode]:
    """That node and the whole server at their best; nothing is left on it afterwards."""
    yield tenants_node
    tenants_node.kubelet.tear_down_all()
    store.proxy.heal()
    sts.grants.clear()
    sts.expired.clear()
    tenants_node.await_tidiness()


def tokens(token: str, lifetime: timedelta = timedelta(hours=1)) -> str:
    """Return tokens as the kubelet passes them on."""
    end = (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"sts.amazonaws.com": {"token": token, "expirationTimestamp": end}})


def refusal(node: ClusterNode, volume: Volume, tokens: str | None = None) -> PublishError:
    """Return why a volume is not published for a new pod."""
    stranger = Pod(service_account=uuid4().hex)  # who gets no answer that another was given
    with pytest.raises(PublishError) as caught:
        node.kubelet.publish(stranger, volume, tokens)
    return caught.value


def with_secret(volume: Volume, **secrets: str) -> Volume:
    return replace(volume, secrets={**volume.secrets, **secrets})


def minor_at(target: Path) -> int:
    info = mounted_at(target)
    assert info is not None
    return info.minor


def signed_by(store: Store, who: Tenant) -> int:
    return store.proxy.signers[who.name]


# Two tenants on one node


def test_who_may_not_read_is_refused_though_the_node_has_every_byte(
    node: ClusterNode, store: Store
) -> None:
    pod, volume = Pod(), store.volume(OWNER)
    target = node.kubelet.publish(pod, volume)
    assert {name: (target / name).read_bytes() for name in NAMES} == CONTENT
    for who in (STRANGER, REFS_ONLY):
        error = refusal(node, store.volume(who))
        assert error.code == DENIED
        assert DATASET in error.text
        assert "access" in error.text.lower()
    node.kubelet.unpublish(pod, volume)


def test_snapshots_that_somebody_else_made_of_a_dataset_are_not_believed(
    node: ClusterNode, store: Store
) -> None:
    """One who may list a dataset, but not read it, could have the cache show it by a snapshot."""
    error = refusal(node, store.volume(STRANGER, repository="s3://tenants/b/repo"))
    assert error.code == DENIED
    assert "allow-list" in error.text


def test_two_who_may_read_share_chunks_and_no_mount(node: ClusterNode, store: Store) -> None:
    pods = {who.name: (Pod(namespace=who.name), store.volume(who)) for who in (OWNER, COLLEAGUE)}
    targets = {who: node.kubelet.publish(*pair) for who, pair in pods.items()}
    assert len(node.source_mounts()) == 2
    (targets[OWNER.name] / NAMES[0]).read_bytes()
    before = store.data_requests()
    assert (targets[COLLEAGUE.name] / NAMES[0]).read_bytes() == CONTENT[NAMES[0]]
    assert store.data_requests() == before
    for pair in pods.values():
        node.kubelet.unpublish(*pair)


def test_who_has_lost_the_right_gets_no_new_volume_and_keeps_what_is_cached(
    node: ClusterNode, store: Store
) -> None:
    pod, volume = Pod(), store.volume(OWNER)
    target = node.kubelet.publish(pod, volume)
    (target / NAMES[1]).read_bytes()
    store.proxy.inject(Status(403, "AccessDenied"), signer=OWNER.name)
    store.proxy.inject(Status(403, "AccessDenied"), method="HEAD", signer=OWNER.name)
    assert refusal(node, store.volume(OWNER, uid="7")).code == DENIED
    os.posix_fadvise(fd := os.open(target / NAMES[1], os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    assert (target / NAMES[1]).read_bytes() == CONTENT[NAMES[1]]
    node.kubelet.unpublish(pod, volume)


def test_a_tenants_bad_secret_is_not_replaced_by_the_nodes_own(
    node: ClusterNode, store: Store
) -> None:
    error = refusal(node, with_secret(store.volume(OWNER), secretAccessKey="wrong"))
    assert error.code in {DENIED, UNAUTHENTICATED}
    assert refusal(node, replace(store.volume(OWNER), secrets={})).code == UNAUTHENTICATED


def test_the_node_reads_for_pods_where_that_is_allowed(store: Store) -> None:
    environment = {
        **OWNER.environ,
        "AWS_ENDPOINT_URL": store.proxy.endpoint,
        "AWS_REGION": "us-east-1",
    }
    volume = Volume("data", {"dataset": DATASET})
    with cluster_node("--grace=0", "--node-identity-allowed", environment=environment) as node:
        pod = Pod()
        target = node.kubelet.publish(pod, volume)
        assert (target / NAMES[2]).read_bytes() == CONTENT[NAMES[2]]
        error = refusal(node, with_secret(store.volume(OWNER), secretAccessKey="wrong"))
        assert error.code in {DENIED, UNAUTHENTICATED}
        assert refusal(node, store.volume(STRANGER)).code == DENIED
        node.kubelet.unpublish(pod, volume)
        node.await_tidiness()


# New credentials under a live mount


def test_a_rotated_secret_takes_over_under_the_pods_open_files(
    node: ClusterNode, store: Store
) -> None:
    pod, volume = Pod(), store.volume(OWNER, dataset=store.fresh())
    target = node.kubelet.publish(pod, volume)
    mount = minor_at(target)
    with (target / "d0/file").open("rb") as file:
        node.kubelet.publish(pod, replace(volume, secrets=store.secrets(COLLEAGUE)))
        store.proxy.inject(Status(403, "AccessDenied"), signer=OWNER.name)
        assert file.read() == COLD["d0/file"]
        assert (target / "d1/file").read_bytes() == COLD["d1/file"]
    assert minor_at(target) == mount
    node.kubelet.unpublish(pod, volume)


def test_a_bad_new_secret_is_told_and_takes_nothing_away(node: ClusterNode, store: Store) -> None:
    pod, volume = Pod(), store.volume(OWNER)
    target = node.kubelet.publish(pod, volume)
    mount = minor_at(target)
    for bad in (store.volume(STRANGER), with_secret(volume, secretAccessKey="wrong")):
        with pytest.raises(PublishError) as caught:
            node.kubelet.publish(pod, bad)
        assert caught.value.code in {DENIED, UNAUTHENTICATED}
    assert (target / NAMES[5]).read_bytes() == CONTENT[NAMES[5]]
    assert minor_at(target) == mount
    node.kubelet.unpublish(pod, volume)


def test_who_still_has_the_old_secret_does_not_join_a_mount_that_has_the_new_one(
    node: ClusterNode, store: Store
) -> None:
    pod, volume, other = Pod(), store.volume(OWNER, dataset=store.fresh()), Pod()
    node.kubelet.publish(pod, volume)
    node.kubelet.publish(pod, replace(volume, secrets=store.secrets(COLLEAGUE)))
    target = node.kubelet.publish(other, volume)
    assert len(node.source_mounts()) == 2
    before = signed_by(store, COLLEAGUE)
    assert (target / "d0/file").read_bytes() == COLD["d0/file"]
    assert signed_by(store, COLLEAGUE) == before
    for each in (pod, other):
        node.kubelet.unpublish(each, volume)


def test_republishing_again_and_again_costs_nothing(node: ClusterNode, store: Store) -> None:
    pod, volume = Pod(), store.volume(OWNER)
    target = node.kubelet.publish(pod, volume)
    (target / NAMES[0]).read_bytes()
    node.kubelet.publish(pod, volume)
    wait_until(lambda: not node.pids_of("headrace-asker"))
    resources = _resources(node)
    before = minor_at(target), sum(store.proxy.requests.values())
    for _ in range(REPUBLICATIONS):
        node.kubelet.publish(pod, volume)
    assert (minor_at(target), sum(store.proxy.requests.values())) == before
    wait_until(lambda: _has_not_grown(resources, _resources(node)))  # connections close later
    node.kubelet.unpublish(pod, volume)


def _has_not_grown(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return all(now <= then for now, then in zip(after, before, strict=True))


def _resources(node: ClusterNode) -> tuple[int, int, int, int]:
    descriptors = len(os.listdir(f"/proc/{node.pid('node')}/fd"))
    records = len(list((node.state / "volumes").iterdir()))
    return records, len(node.mounts()), descriptors, len(node.pids())


# Tokens of service accounts


def test_a_token_buys_the_credentials_of_its_role(
    node: ClusterNode, store: Store, sts: FakeSts
) -> None:
    grant(sts, {"token-1": OWNER})
    pod, volume = Pod(), store.role_volume()
    target = node.kubelet.publish(pod, volume, tokens("token-1"))
    assert (target / NAMES[7]).read_bytes() == CONTENT[NAMES[7]]
    node.kubelet.unpublish(pod, volume)


@pytest.mark.parametrize(
    ("brought", "code"),
    [
        ("unknown", DENIED),
        ("stale", UNAUTHENTICATED),
        ("unlucky", grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_a_token_that_buys_nothing_is_refused(
    node: ClusterNode, store: Store, sts: FakeSts, brought: str, code: grpc.StatusCode
) -> None:
    sts.expired.add("stale")
    sts.unlucky.add("unlucky")
    error = refusal(node, store.role_volume(), tokens(brought))
    assert error.code == code
    assert DATASET in error.text
    assert brought not in error.text


def test_without_a_token_or_with_one_that_is_over_nobody_is_asked(
    node: ClusterNode, store: Store, sts: FakeSts
) -> None:
    before = len(sts.asked)
    assert refusal(node, store.role_volume()).code == UNAUTHENTICATED
    over = tokens("token-1", timedelta(seconds=-1))
    assert refusal(node, store.role_volume(), over).code == UNAUTHENTICATED
    assert len(sts.asked) == before


def test_a_token_of_one_who_may_not_read_is_refused(
    node: ClusterNode, store: Store, sts: FakeSts
) -> None:
    grant(sts, {"token-b": STRANGER})
    assert refusal(node, store.role_volume(), tokens("token-b")).code == DENIED


def test_a_fresh_token_takes_over_without_a_new_mount(
    node: ClusterNode, store: Store, sts: FakeSts
) -> None:
    grant(sts, {"token-1": OWNER, "token-2": COLLEAGUE})
    pod, volume = Pod(), store.role_volume(dataset=store.fresh())
    target = node.kubelet.publish(pod, volume, tokens("token-1"))
    mount = minor_at(target)
    with (target / "d0/file").open("rb") as file:
        node.kubelet.publish(pod, volume, tokens("token-2"))
        before = signed_by(store, OWNER), signed_by(store, COLLEAGUE)
        assert file.read() == COLD["d0/file"]
        assert (target / "d1/file").read_bytes() == COLD["d1/file"]
    assert signed_by(store, OWNER) == before[0]
    assert signed_by(store, COLLEAGUE) > before[1]
    assert minor_at(target) == mount
    node.kubelet.unpublish(pod, volume)


def test_credentials_that_expire_are_bought_again_with_the_newest_token(
    node: ClusterNode, store: Store, sts: FakeSts
) -> None:
    grant(sts, {"token-1": OWNER, "token-2": OWNER})
    pod, volume = Pod(), store.role_volume(dataset=store.fresh())
    target = node.kubelet.publish(pod, volume, tokens("token-1"))
    node.kubelet.publish(pod, volume, tokens("token-2"))
    sts.expired.add("token-1")
    grant(sts, {"token-2": COLLEAGUE})
    store.proxy.inject(Status(400, "ExpiredToken"), signer=OWNER.name)
    before = len(sts.asked), signed_by(store, COLLEAGUE)
    assert (target / "d0/file").read_bytes() == COLD["d0/file"]
    assert set(sts.asked[before[0] :]) == {"token-2"}
    assert signed_by(store, COLLEAGUE) > before[1]
    node.kubelet.unpublish(pod, volume)


def test_a_pod_that_joins_a_mount_brings_it_its_fresher_token(
    node: ClusterNode, store: Store, sts: FakeSts
) -> None:
    """Else the mount would outlive the token of the pod that came first, and read no more."""
    grant(sts, {"token-1": OWNER, "token-2": OWNER})
    first, second, volume = Pod(), Pod(), store.role_volume(dataset=store.fresh())
    node.kubelet.publish(first, volume, tokens("token-1"))
    node.kubelet.publish(first, volume, tokens("token-2"))
    grant(sts, {"token-3": COLLEAGUE})
    target = node.kubelet.publish(second, volume, tokens("token-3"))
    assert len(node.source_mounts()) == 1
    node.kubelet.unpublish(first, volume)
    before = signed_by(store, COLLEAGUE)
    assert (target / "d0/file").read_bytes() == COLD["d0/file"]
    assert signed_by(store, COLLEAGUE) > before
    node.kubelet.unpublish(second, volume)


def test_a_pod_that_forges_a_token_in_its_attributes_gets_nothing(
    node: ClusterNode, store: Store, sts: FakeSts
) -> None:
    grant(sts, {"stolen": OWNER})
    forged = {"csi.storage.k8s.io/serviceAccount.tokens": tokens("stolen")}
    volume = store.role_volume(**forged)
    assert refusal(node, volume).code == UNAUTHENTICATED
    assert "stolen" not in sts.asked


def test_an_older_kubelet_puts_tokens_in_the_context(store: Store, sts: FakeSts) -> None:
    grant(sts, {"token-1": OWNER})
    options = ("--grace=0", f"--sts-endpoint={sts.url}", "--tokens-from-context")
    with cluster_node(*options) as node:
        pod, volume = Pod(), store.role_volume()
        target = node.kubelet.publish(pod, volume, tokens("token-1"))
        assert (target / NAMES[0]).read_bytes() == CONTENT[NAMES[0]]
        node.kubelet.unpublish(pod, volume)
        node.await_tidiness()


# Which namespace may mount what


def test_a_namespace_mounts_what_the_list_names_and_asks_where_it_says(
    store: Store, tmp_path: Path
) -> None:
    rules = {"vision": [DATASET, store.proxy.endpoint], "blind": [DATASET]}
    listed = tmp_path / "datasets.json"
    listed.write_text(json.dumps(rules))
    with cluster_node("--grace=0", f"--datasets={listed}") as node:
        volume = store.volume(OWNER)
        pod = Pod(namespace="vision")
        node.kubelet.publish(pod, volume)
        for namespace, words in (("default", DATASET), ("blind", store.proxy.endpoint)):
            with pytest.raises(PublishError, match=re.escape(words)) as caught:
                node.kubelet.publish(Pod(namespace=namespace), volume)
            assert caught.value.code == DENIED
            assert "allow-list" in caught.value.text
        node.kubelet.unpublish(pod, volume)
        node.await_tidiness()


def test_a_forged_namespace_changes_nothing(store: Store, tmp_path: Path) -> None:
    listed = tmp_path / "datasets.json"
    listed.write_text(json.dumps({"vision": ["*"]}))
    untrusting = CsiDriverObject(pod_info_on_mount=False)
    options = ("--grace=0", f"--datasets={listed}", "--no-trust-pod-info")
    with cluster_node(*options, driver=untrusting) as node:
        forged = {"csi.storage.k8s.io/pod.namespace": "vision"}
        assert refusal(node, store.volume(OWNER, **forged)).code == DENIED
    with cluster_node("--grace=0", f"--datasets={listed}") as node:
        assert refusal(node, store.volume(OWNER, **forged)).code == DENIED
