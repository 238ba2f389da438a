"""No secret is seen by anybody whom it does not concern, whatever happens to a volume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.csi.cluster import ClusterNode, cluster_node, command_of, files_below
from tests.csi.kubelet import PublishError
from tests.csi.pods import CsiDriverObject, Pod, Volume
from tests.csi.tenants import COLD, COLLEAGUE, OWNER, Store, grant, tenants_store
from tests.csi.test_identity import tokens
from tests.fakes.faultproxy import Status
from tests.fakes.kube_api import FakeKubeApi, fake_kube_api
from tests.fakes.sts import FakeSts, fake_sts
from tests.node import wait_until

TOKENS = ("header.canary-of-a-token.one", "header.canary-of-a-token.two")
WRONG = "canary-of-a-wrong-secret"
SESSION = "canary-of-a-session"
CANARIES = (OWNER.secret, COLLEAGUE.secret, *TOKENS, WRONG, SESSION)
STEPS = ("check", "resolve", "acquire", "intent", "bind")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with tenants_store(tmp_path_factory.mktemp("secrecy")) as made:
        yield made


@pytest.fixture
def api() -> Iterator[FakeKubeApi]:
    with fake_kube_api(FakeKubeApi("node-1")) as made:
        yield made


@pytest.fixture
def sts() -> Iterator[FakeSts]:
    with fake_sts() as made:
        yield made


@pytest.fixture
def node(api: FakeKubeApi, sts: FakeSts) -> Iterator[ClusterNode]:
    options = ("--grace=0", "--log-level=debug", "--kube-api", f"--kube-url={api.url}")
    driver = CsiDriverObject(tokens_in_secrets=True)
    with cluster_node(*options, f"--sts-endpoint={sts.url}", driver=driver) as made:
        yield made


class Watcher:
    """Looks for canaries wherever a node could leave them."""

    def __init__(self, node: ClusterNode, api: FakeKubeApi) -> None:
        self.node = node
        self.api = api
        self.told: list[str] = []

    def look(self) -> None:
        """Fail where one is found outside of the specs, which are root's and in memory."""
        for path in self._files():
            with suppress(FileNotFoundError):  # taken down at this moment
                self._look_into(path)
        for pid in self.node.pids():
            for name in ("cmdline", "environ"):
                assert not found_in(read_proc(pid, name)), (command_of(pid), name)
        said = [*self.told, self.node.metrics(), json.dumps(list(self.api.events))]
        assert not found_in("\n".join(said).encode())

    def _look_into(self, path: Path) -> None:
        if path.is_relative_to(self.node.directory / "run" / "specs"):
            about = path.stat()
            assert (about.st_uid, about.st_mode & 0o777) == (0, 0o600)
        elif path.is_file():
            assert not found_in(path.read_bytes()), path

    def _files(self) -> Iterator[Path]:
        for place in ("logs", "state/volumes", "link", "cache", "run", "home"):
            yield from files_below(self.node.directory / place)

    def refused(self, pod: Pod, volume: Volume, words: str | None = None) -> None:
        """Publish what cannot be published, and keep what is said about it."""
        with pytest.raises(PublishError) as caught:
            self.node.kubelet.publish(pod, volume, words)
        self.told.append(str(caught.value))


def found_in(content: bytes) -> list[str]:
    return [canary for canary in CANARIES if canary.encode() in content]


def read_proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def test_a_whole_life_of_volumes_tells_no_secret(
    node: ClusterNode, store: Store, api: FakeKubeApi, sts: FakeSts
) -> None:
    watcher = Watcher(node, api)
    grant(sts, {TOKENS[0]: OWNER, TOKENS[1]: COLLEAGUE})
    dataset = store.fresh()
    keyed, keys = Pod(name="keyed"), store.volume(OWNER, dataset=dataset)
    named, role = Pod(name="named"), store.role_volume(dataset=dataset)
    targets = [
        node.kubelet.publish(keyed, keys),
        node.kubelet.publish(named, role, tokens(TOKENS[0])),
    ]
    store.proxy.inject(Status(403, "AccessDenied"), part="d1/file")
    assert [(target / "d0/file").read_bytes() for target in targets] == 2 * [COLD["d0/file"]]
    watcher.look()
    wrong = {**keys.secrets, "secretAccessKey": WRONG, "sessionToken": SESSION}
    watcher.refused(Pod(name="wrong"), replace(keys, secrets=wrong))
    watcher.refused(keyed, replace(keys, secrets=wrong))
    watcher.refused(Pod(service_account="other"), role, tokens(WRONG))
    watcher.refused(Pod(), replace(keys, secrets={**keys.secrets, "password": WRONG}))
    node.kubelet.publish(keyed, replace(keys, secrets=store.secrets(COLLEAGUE)))
    node.kubelet.publish(named, role, tokens(TOKENS[1]))
    for target in targets:
        with pytest.raises(PermissionError):
            (target / "d1/file").read_bytes()
    store.proxy.heal()
    watcher.look()
    for words in ("headrace-worker", "-m cachesvc", "vfs.mounting.mounter"):
        for pid in node.pids_of(words):
            os.kill(pid, 9)
        wait_until(lambda: all(read(target) for target in targets))
    for program in ("keeper", "node"):
        node.kill(program)
        node.start(program)
    node.kubelet.restart()
    node.await_service()
    watcher.look()
    wait_until(lambda: api.events)
    node.kubelet.unpublish_patiently(keyed, keys)
    node.kubelet.unpublish_patiently(named, role)
    node.await_tidiness()
    watcher.look()


def read(target: Path) -> bool:
    return (target / "d2/file").read_bytes() == COLD["d2/file"]


@pytest.mark.parametrize("step", STEPS)
def test_a_bug_in_a_publish_tells_no_secret(
    node: ClusterNode, store: Store, api: FakeKubeApi, step: str
) -> None:
    """Its traceback goes to the log."""
    node.kill("node")
    node.kubelet.registered.clear()
    node.start("node", HEADRACE_CSI_FAULT=f"publish.{step}=fail")
    node.kubelet.restart()
    node.await_service()
    watcher = Watcher(node, api)
    watcher.refused(Pod(), store.volume(OWNER))
    assert "Traceback" in node.log()
    watcher.look()


def test_what_holds_secrets_leaves_no_core(node: ClusterNode, store: Store) -> None:
    node.kubelet.publish(Pod(), store.volume(OWNER))
    for pid in node.pids():
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (line,) = [line for line in limits if line.startswith("Max core file size")]
        assert line.split()[4:6] == ["1", "1"], command_of(pid)
