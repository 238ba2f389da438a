"""Tenants of one node: each reads with its own credentials what it may, whatever the cache has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.upload import upload
from tests.fakes.faultproxy import FaultProxy, fault_proxy
from tests.fuse.fleet import kill
from tests.fuse.pod import Plugin, Pod, new_pod
from tests.node import new_node, wait_until
from tests.seaweed import SECRET_KEY, SeaweedServer, Tenant, seaweed
from vfs.mounting.spec import MountSpec

if os.geteuid() != 0:
    pytest.skip("only root mounts for others", allow_module_level=True)

BUCKET = "tenants"
DATASET = f"s3://{BUCKET}/a"
OWNER = Tenant("tenant-a", (f"Read:{BUCKET}/a*",))
REFS_ONLY = Tenant("tenant-refs", (f"Read:{BUCKET}/a/.headrace*",))
STRANGER = Tenant("tenant-b", (f"Read:{BUCKET}/b*",))
CONTENT = {f"d/f{number}": os.urandom(50_000) for number in range(60)}
MOST_REQUESTS = 4
WRONG = {"AWS_ACCESS_KEY_ID": OWNER.name, "AWS_SECRET_ACCESS_KEY": "a-guess"}


@pytest.fixture(scope="module")
def server() -> Iterator[SeaweedServer]:
    with seaweed(BUCKET, [OWNER, REFS_ONLY, STRANGER]) as running:
        yield running


@pytest.fixture(scope="module")
def store(server: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """The way to the server that everybody takes, where the dataset is published."""
    directory = tmp_path_factory.mktemp("content")
    (directory / "d").mkdir()
    for name, content in CONTENT.items():
        (directory / name).write_bytes(content)
    with fault_proxy(server.endpoint) as proxy:
        upload(directory, CONTENT, DATASET, server.environ)
        with new_node({**server.environ, "AWS_ENDPOINT_URL": proxy.endpoint}) as publisher:
            publisher.snapshot(DATASET)
        yield proxy


@pytest.fixture
def pod(store: FaultProxy, server: SeaweedServer) -> Iterator[Pod]:
    """A pod whose node may read everything."""
    with new_pod({**server.environ, "AWS_ENDPOINT_URL": store.endpoint}) as made:
        yield made
        assert "Traceback" not in made.log()


@pytest.fixture
def plugin(pod: Pod) -> Iterator[Plugin]:
    made = Plugin(pod)
    pod.start_keeper()
    pod.start_mounter()
    yield made
    made.close()


def asked(plugin: Plugin, store: FaultProxy, who: Mapping[str, str] | None) -> dict[str, object]:
    """Return a question for the dataset with somebody's credentials, None for the node's own."""
    options = {"endpoint_url": store.endpoint, "region": "us-east-1"}
    return plugin.request(DATASET, options=options, environment=who)


def resolved(plugin: Plugin, store: FaultProxy, who: Mapping[str, str] | None) -> MountSpec:
    answer = plugin.ask("resolve", request=asked(plugin, store, who))
    assert answer.kind == "resolved", answer.fields
    return MountSpec.from_json(answer.fields["spec"])


def read(mount: Path, name: str) -> bytes:
    return (mount / name).read_bytes()


def test_who_may_not_read_is_refused_though_the_node_has_every_byte(
    plugin: Plugin, store: FaultProxy
) -> None:
    """A tenant without access to the ref or to the source is refused, and so is a wrong secret and
    nobody at all, while the owner has read everything; the node's own credentials help none.
    """
    mount = plugin.mount(resolved(plugin, store, OWNER.environ))
    assert {name: read(mount, name) for name in CONTENT} == CONTENT
    for who in (REFS_ONLY.environ, STRANGER.environ, WRONG, {}):
        answer = plugin.ask("resolve", request=asked(plugin, store, who))
        assert answer.fields["name"] == "AccessDeniedError", who


def test_the_nodes_own_identity_reads_when_it_is_asked_for(
    plugin: Plugin, store: FaultProxy
) -> None:
    """A question without an identity is asked with what the mounter was started with."""
    mount = plugin.mount(resolved(plugin, store, None))
    assert read(mount, "d/f1") == CONTENT["d/f1"]


def test_a_question_costs_a_few_requests_and_no_listing(plugin: Plugin, store: FaultProxy) -> None:
    """Ref, manifest and one byte of the source: nothing is listed."""
    before = store.count("GET") + store.count("HEAD"), store.count("GET", "list-type")
    resolved(plugin, store, OWNER.environ)
    assert store.count("GET") + store.count("HEAD") - before[0] <= MOST_REQUESTS
    assert store.count("GET", "list-type") == before[1]


def test_credentials_are_replaced_under_a_live_mount(plugin: Plugin, store: FaultProxy) -> None:
    """After a refresh, and after the death of whoever was told, reads are made with the new ones;
    the mount stays.
    """
    spec = resolved(plugin, store, OWNER.environ)
    mount = plugin.mount(spec)
    wrong = replace(
        spec,
        source=replace(spec.source, options={**spec.source.options, "secret": "a-guess"}),
        environment=WRONG,
    )
    uncached = list(CONTENT)
    assert plugin.ask("refresh", key=spec.key, spec=wrong.to_json()).kind == "refreshed"
    wait_until(lambda: is_refused(mount, uncached.pop()))
    assert plugin.ask("refresh", key=spec.key, spec=spec.to_json()).kind == "refreshed"
    wait_until(lambda: not is_refused(mount, uncached.pop()))
    plugin.ask("refresh", key=spec.key, spec=wrong.to_json())
    wait_until(lambda: is_refused(mount, uncached.pop()))
    kill(*plugin.pod.workers())
    assert is_refused(mount, uncached.pop())
    supervisor = plugin.pod.pid_of("supervisor")
    assert supervisor is not None
    kill(supervisor, *plugin.pod.workers())
    with plugin.attending():
        assert is_refused(mount, uncached.pop())


def is_refused(mount: Path, name: str) -> bool:
    """Say whether reading a file that is not cached is not allowed."""
    try:
        assert read(mount, name) == CONTENT[name]
    except PermissionError:
        return True
    return False


def test_a_refresh_of_another_mount_is_refused(plugin: Plugin, store: FaultProxy) -> None:
    """Credentials of another snapshot, or for a mount that is not there, are not taken."""
    spec = resolved(plugin, store, OWNER.environ)
    answer = plugin.ask("refresh", key=spec.key, spec=spec.to_json())
    assert "is not served here" in answer.fields["error"]
    plugin.mount(spec)
    other = replace(spec, snapshot_id="0" * 40)
    answer = plugin.ask("refresh", key=spec.key, spec=other.to_json())
    assert "shows something else" in answer.fields["error"]


def test_no_secret_is_written_down_or_shown(plugin: Plugin, store: FaultProxy) -> None:
    """A tenant's secret is in no log, no argument, no environment and no file of the mounter."""
    spec = resolved(plugin, store, OWNER.environ)
    mount = plugin.mount(spec)
    read(mount, "d/f1")
    plugin.ask("resolve", request=asked(plugin, store, WRONG))
    plugin.ask("refresh", key=spec.key, spec=spec.to_json())
    secret = OWNER.secret.encode()
    assert secret != SECRET_KEY.encode()
    for pid in plugin.pod.pids():
        for name in ("cmdline", "environ"):
            assert secret not in Path(f"/proc/{pid}/{name}").read_bytes()
    for path in plugin.pod.directory.rglob("*"):
        if path.is_file() and not path.is_relative_to(plugin.pod.mounts):
            assert secret not in path.read_bytes(), path
    assert b"a-guess" not in (plugin.pod.directory / "log").read_bytes()
