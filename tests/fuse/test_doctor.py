"""`headrace doctor` on mounts that were harmed for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.upload import upload
from tests.fakes.faultproxy import FaultProxy, HangBeforeHeaders
from tests.fuse.fleet import Fleet, kill, launched_fleet
from tests.node import Node, new_node, wait_until
from tests.seaweed import SECRET_KEY, SeaweedServer


@pytest.fixture
def fleet(node: Node, source: Path) -> Fleet:
    """A mount to be harmed; its own watchdog is in no hurry."""
    return launched_fleet(node, source, "--hang-budget", "300")


def problems(node: Node, *words: str, code: int) -> list[str]:
    """Run the doctor and return what it says is wrong."""
    lines = node.run("doctor", *words, code=code).stdout.splitlines()
    return [line for line in lines if line.startswith("problem")]


def kill_mounting(node: Node) -> None:
    """Kill at once whoever could keep a mount alive."""
    with stopped(node.pids_of("vfs.mounting")):  # so that none starts another
        kill(*node.pids_of("vfs.mounting"))
    assert not node.pids_of("vfs.mounting")


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Let processes do nothing for the length of a block, unless somebody continues them."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield


def test_a_node_that_is_well(fleet: Fleet) -> None:
    """The doctor finds no problem where there is none, and repairs nothing."""
    answer: dict[str, Any] = json.loads(fleet.node.run("doctor", "--repair", "--json").stdout)
    assert answer["repairs"] == []
    assert "problem" not in {finding["severity"] for finding in answer["findings"]}
    wheres = " ".join(finding["where"] for finding in answer["findings"])
    for part in (str(fleet.mount), "/dev/fuse", "kernel", "supervisor", "keeper", "cache store"):
        assert part in wheres


def test_a_node_without_mounts(node: Node) -> None:
    """Where nothing was ever mounted there is no problem."""
    assert problems(node, code=0) == []


def test_a_dead_mount(fleet: Fleet) -> None:
    """A mount all of whose processes were killed is found, and taken off with all it has left."""
    node = fleet.node
    kill_mounting(node)
    found = problems(node, code=1)
    assert any(f"{fleet.mount}: it is dead" in line for line in found)
    done = node.run("doctor", "--repair").stdout
    assert f"unmounted {fleet.mount}" in done
    assert node.mountpoints() == []
    runtime = node.directory / "run"
    assert list(runtime.glob("mounts/*")) == []
    assert not any(path.is_socket() for path in runtime.iterdir())


def test_workers_that_are_stopped(fleet: Fleet) -> None:
    """A mount that does not answer is found within seconds; its stopped workers are continued."""
    node = fleet.node
    workers = node.processes()["worker"]
    with stopped(workers):
        found = problems(node, code=1)
        assert any(f"{fleet.mount}: it did not answer" in line for line in found)
        assert problems(node, "--repair", code=0) == []
    assert fleet.read(1) == (fleet.source / "f1").read_bytes()
    assert node.processes()["worker"] == workers


@pytest.mark.parametrize("role", ["supervisor", "keeper", "cachesvc"])
def test_a_stopped_process(fleet: Fleet, role: str) -> None:
    """A supervisor, keeper or cache service that is stopped is found and continued."""
    (pid,) = fleet.node.processes()[role]
    with stopped([pid]):
        found = problems(fleet.node, code=1)
        assert any(f"{pid}: it is stopped" in line for line in found)
        done = fleet.node.run("doctor", "--repair").stdout
    assert f"continued {role.replace('cachesvc', 'cache service')} {pid}" in done
    assert fleet.node.processes()[role] == [pid]


def test_mounts_without_a_supervisor(fleet: Fleet) -> None:
    """After a repair a supervisor is there, and the workers are the same."""
    node = fleet.node
    before = node.processes()
    kill(*before["supervisor"], *before["keeper"])
    assert problems(node, "--repair", code=0) == []
    after = node.processes()
    assert len(after["supervisor"]) == 1
    assert after["worker"] == before["worker"]


def test_processes_of_a_mount_that_is_gone(fleet: Fleet) -> None:
    """Workers that were stopped when their mount was taken off end, and their state goes too."""
    node = fleet.node
    found = node.processes()
    workers = set(found["worker"])
    with stopped(found["worker"]):
        kill(*set(node.pids_of("vfs.mounting")) - workers)
        node.run("umount", "--lazy", fleet.mount)
        node.run("doctor", "--repair")
    wait_until(lambda: not node.pids_of("vfs.mounting.zygote"))
    assert problems(node, "--repair", code=0) == []
    assert list((node.directory / "run").glob("mounts/*")) == []


def test_what_is_left_without_processes(node: Node) -> None:
    """Directories and sockets of nobody's are harmless, and removed when asked."""
    runtime = node.directory / "run"
    (runtime / "mounts" / "of-nobody").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(str(runtime / "supervisor"))
    told = node.run("doctor").stdout
    assert "of-nobody: it is left of a mount" in told
    assert f"{runtime / 'supervisor'}: nobody listens there" in told
    node.run("doctor", "--repair")
    assert list((runtime / "mounts").iterdir()) == []
    assert not (runtime / "supervisor").exists()


def test_what_belongs_to_others_is_left_alone(node: Node, source: Path) -> None:
    """A dead mount of a runtime directory whose processes run is reported and not touched."""
    with new_node() as neighbour:
        fleet = launched_fleet(neighbour, source)
        kill_mounting(neighbour)
        told = node.run("doctor", "--repair").stdout
        assert f"{fleet.mount}: it is dead, and unknown in this runtime directory" in told
        assert neighbour.mountpoints() == [fleet.mount]
        neighbour.run("doctor", "--repair")
        assert neighbour.mountpoints() == []


def test_a_repository_that_is_gone(fleet: Fleet) -> None:
    """A store that does not answer is a warning with the reason."""
    shutil.rmtree(fleet.source / ".headrace")
    told = fleet.node.run("doctor").stdout
    assert "cannot be reached: ENOENT" in told


def test_an_object_store_that_hangs(
    node: Node, s3_server: SeaweedServer, s3_proxy: FaultProxy, s3_url: str, tmp_path: Path
) -> None:
    """An object store is asked with the mount's own settings, for seconds only; none is shown."""
    (tmp_path / "a").write_bytes(b"a")
    upload(tmp_path, ["a"], s3_url, s3_server.environ)
    node.environment.update(s3_server.environ)
    through_proxy = ("--storage-option", f"endpoint_url={s3_proxy.endpoint}")
    node.snapshot(s3_url, *through_proxy)
    node.mount(s3_url, *through_proxy)
    for name in [name for name in node.environment if name.startswith("AWS_")]:
        del node.environment[name]
    assert "cannot be reached" not in node.run("doctor").stdout
    s3_proxy.inject(HangBeforeHeaders(), method="HEAD")
    s3_proxy.inject(HangBeforeHeaders(), method="GET")
    told = node.run("doctor").stdout
    s3_proxy.heal()
    assert "cannot be reached: no answer within 5 s" in told
    assert SECRET_KEY not in told
