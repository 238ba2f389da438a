"""The doctor's judgements, without anything to look at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from vfs.doctor.child import Answer, Question, ask_children
from vfs.doctor.disks import filesystem_of, judged_cache, judged_runtime, judged_store
from vfs.doctor.examine import is_well
from vfs.doctor.finding import Finding, Severity, Unmount, ok, problem, warning
from vfs.doctor.kernel import KernelSettings, allows_others, kernel_findings, version_of
from vfs.doctor.leftovers import leftover_findings
from vfs.doctor.mounts import mount_findings
from vfs.doctor.processes import Process, Role, cache_in, key_in, process_of, role_of, runtime_in
from vfs.doctor.scene import DaemonSeen, MountSeen, Scene
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, MountInfo

RUNTIME = Path("/run/of-a-test")
MOUNT = MountInfo(51, 0, Path("/mnt/data"), FILESYSTEM_TYPE, "headrace:s3://b")
GOOD = KernelSettings("6.12.0-generic", "", False, "/usr/bin/fusermount3", True, 256)
WORKER = Process(
    pid=7,
    born=0,
    uid=1000,
    role=Role.WORKER,
    is_stopped=False,
    is_successor=False,
    runtime=RUNTIME,
    key="gone",
    cache=None,
)
SCENE = Scene(
    runtime=RUNTIME,
    uid=1000,
    mounts=(),
    states={},
    directories=frozenset(),
    processes=(),
    supervisor=DaemonSeen(None, answers=False),
    keeper=DaemonSeen(None, answers=False),
    held={},
    sockets=(),
    cache_directories=(),
)


def severities(findings: Iterable[Finding]) -> list[Severity]:
    return [finding.severity for finding in findings]


def test_a_finding_is_one_line() -> None:
    line = problem("/mnt", "it is dead", "mount it again").line()
    assert line == "problem  /mnt: it is dead; mount it again"


def test_only_problems_make_a_node_unwell() -> None:
    assert is_well([ok("a", "b"), warning("a", "b", "c")])
    assert not is_well([ok("a", "b"), problem("a", "b", "c")])


@pytest.mark.parametrize(
    ("command", "name", "role"),
    [
        ("python -P -m vfs.mounting.supervisor 5", "python", Role.SUPERVISOR),
        ("python -P -m vfs.mounting.keeper", "python", Role.KEEPER),
        ("python -P -m vfs.mounting.zygote", "python", Role.ZYGOTE),
        ("python -P -m vfs.mounting.zygote", "headrace-worker", Role.WORKER),
        ("python -P -m vfs.mounting.zygote", "headrace-fetch", None),
        ("python -P -m cachesvc {}", "python", Role.CACHE),
        ("python -m pytest vfs.mounting.keeper", "python", None),
        ("vi vfs/mounting/keeper.py", "vi", None),
        ("python -m", "python", None),
    ],
)
def test_processes_are_known_by_their_commands(command: str, name: str, role: Role | None) -> None:
    assert role_of(command.encode().split(b" "), name) is role


def test_this_process_is_none_of_headraces() -> None:
    assert process_of(os.getpid()) is None


def test_a_process_is_not_the_one_that_had_its_number_before() -> None:
    assert WORKER.is_same(replace(WORKER, is_stopped=True))
    assert not WORKER.is_same(replace(WORKER, born=1))
    assert not WORKER.is_same(None)


def test_a_workers_mount_is_read_from_its_log() -> None:
    assert key_in("/run/headrace/mounts/abc/log") == "abc"
    assert key_in("/run/headrace/mounts/abc/log (deleted)") == "abc"
    assert key_in("/dev/null") is None


def test_a_cache_services_directory_is_read_from_its_configuration() -> None:
    words = [b"python", b"-m", b"cachesvc", json.dumps({"directory": "/c"}).encode(), b"4"]
    assert cache_in(words) == Path("/c")
    assert cache_in(words[:3]) is None
    assert cache_in([*words[:3], b"what"]) is None


def test_the_runtime_directory_is_read_from_the_environment() -> None:
    assert runtime_in([b"A=1", b"HEADRACE_RUNTIME_DIR=/r"]) == Path("/r")
    assert runtime_in([b"A=1"]) is None


def test_a_good_kernel() -> None:
    assert set(severities(kernel_findings(GOOD))) == {Severity.OK}


@pytest.mark.parametrize(
    ("settings", "where", "severity"),
    [
        (replace(GOOD, release="6.8.12"), "kernel 6.8.12", Severity.WARNING),
        (replace(GOOD, device_error="no such file"), "/dev/fuse", Severity.PROBLEM),
        (replace(GOOD, fusermount=None), "fusermount3", Severity.PROBLEM),
    ],
)
def test_a_kernel_that_is_not_good(
    settings: KernelSettings, where: str, severity: Severity
) -> None:
    (bad,) = [each for each in kernel_findings(settings) if each.severity is not Severity.OK]
    assert (bad.where, bad.severity) == (where, severity)


def test_root_needs_no_helper() -> None:
    settings = replace(GOOD, is_root=True, fusermount=None)
    assert set(severities(kernel_findings(settings))) == {Severity.OK}


def test_kernel_versions_are_compared_as_numbers() -> None:
    assert version_of("6.18.44-x") > version_of("6.9.0") > version_of("5.15.0")
    assert version_of("odd") == (0, 0)


def test_only_a_line_of_its_own_allows_others() -> None:
    assert allows_others("# text\nuser_allow_other\n")
    assert not allows_others("# user_allow_other\n#user_allow_other")


@pytest.mark.parametrize("answer", [None, {"error": "EROFS"}, {"error": "", "free": 1000}])
def test_a_runtime_directory_that_takes_nothing(answer: Answer | None) -> None:
    assert judged_runtime(RUNTIME, answer).severity is Severity.PROBLEM


def test_a_cache_on_a_network_file_system() -> None:
    table = [
        MountInfo(1, 0, Path("/"), "ext4", "disk"),
        MountInfo(2, 0, Path("/home"), "nfs4", "server"),
    ]
    answer = {"error": "", "free": 1 << 40, "path": "/home/me/cache"}
    found = list(judged_cache(Path("/home/me/cache"), answer, table))
    assert severities(found) == [Severity.OK, Severity.WARNING]
    assert "nfs4" in found[1].what


def test_the_file_system_of_a_path_is_the_nearest_and_last_mounted() -> None:
    table = [
        MountInfo(1, 0, Path("/"), "ext4", "disk"),
        MountInfo(2, 0, Path("/data"), "xfs", "old"),
        MountInfo(3, 0, Path("/data"), "tmpfs", "new"),
    ]
    assert filesystem_of(Path("/data/cache"), table) == "tmpfs"
    assert filesystem_of(Path("/database"), table) == "ext4"


def test_a_cache_directory_with_too_little_room_is_a_problem() -> None:
    answer = {"error": "", "free": 5 << 20, "path": "/c"}
    table = [MountInfo(1, 0, Path("/"), "ext4", "disk")]
    assert severities(judged_cache(Path("/c"), answer, table)) == [Severity.PROBLEM]


def test_a_cache_that_was_never_made_is_no_problem() -> None:
    assert severities(judged_cache(Path("/c"), {"error": "ENOENT"}, [])) == [Severity.OK]


def test_a_damaged_store_is_found(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "index").write_bytes(b"rubbish" * 4096)
    (answer,) = ask_children([Question("store", tmp_path)], 30)
    assert judged_store(tmp_path, answer).severity is Severity.WARNING


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    here, gone = ask_children(
        [Question("directory", tmp_path), Question("directory", tmp_path / "no")], 30
    )
    assert here is not None
    assert (here["error"], here["path"]) == ("", str(tmp_path.resolve()))
    assert gone == {"error": "ENOENT"}


def test_a_child_that_does_not_answer_in_time_is_left(tmp_path: Path) -> None:
    assert ask_children([Question("directory", tmp_path)], 0) == [None]


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        ("", Severity.OK),
        (None, Severity.PROBLEM),
        ("ENOTCONN", Severity.PROBLEM),
        ("EACCES", Severity.WARNING),
    ],
)
def test_a_mount_is_judged_by_its_answer(error: str | None, severity: Severity) -> None:
    scene = replace(SCENE, mounts=(MountSeen(MOUNT, "key", error),))
    assert severities(mount_findings(scene)) == [severity]


def test_a_dead_mount_that_may_be_a_neighbours_is_left() -> None:
    neighbour = replace(WORKER, runtime=Path("/run/another"))
    alone = replace(SCENE, mounts=(MountSeen(MOUNT, None, "ENOTCONN"),))
    (finding,) = mount_findings(alone)
    assert finding.cure == Unmount(MOUNT.mountpoint, MOUNT.minor, None)
    (finding,) = mount_findings(replace(alone, processes=(neighbour,)))
    assert (finding.severity, finding.cure) == (Severity.WARNING, None)


def test_mounts_of_others_that_answer_are_not_mentioned() -> None:
    scene = replace(SCENE, mounts=(MountSeen(MOUNT, None, ""), MountSeen(MOUNT, None, None)))
    assert list(mount_findings(scene)) == []


def test_a_worker_is_an_orphan_only_when_the_keeper_says_so() -> None:
    scene = replace(SCENE, processes=(WORKER,))
    assert severities(leftover_findings(scene)) == [Severity.PROBLEM]
    assert list(leftover_findings(replace(scene, held=None))) == []


def test_workers_of_others_are_not_judged() -> None:
    others = (replace(WORKER, uid=1), replace(WORKER, runtime=Path("/run/another")))
    assert list(leftover_findings(replace(SCENE, processes=others))) == []
