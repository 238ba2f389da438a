"""`headrace mounter`: a process without privileges serves mounts that another one makes."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from bench.chaos import Readers
from cachesvc.spawn import service_pid
from tests.fuse.fleet import hashes, kill
from tests.fuse.pod import END_SECONDS, Plugin, Pod, new_pod
from tests.node import Node, wait_until
from tests.unprivileged import UID
from vfs.mounting import wire
from vfs.mounting.mount import unmount
from vfs.mounting.mountinfo import mounted_at
from vfs.mounting.process import is_alive
from vfs.mounting.wire import Message

if os.geteuid() != 0:
    pytest.skip("only root mounts for others", allow_module_level=True)

FILES = 20
FILE_SIZE = 300_000


@pytest.fixture
def pod() -> Iterator[Pod]:
    with new_pod() as made:
        yield made
        assert "Traceback" not in made.log()


@pytest.fixture
def plugin(pod: Pod) -> Iterator[Plugin]:
    """Somebody who mounts for *pod*, whose containers run."""
    made = Plugin(pod)
    pod.start_keeper()
    pod.start_mounter()
    yield made
    made.close()


@pytest.fixture
def published(node: Node, pod: Pod) -> Path:
    """A dataset on a disk, where the pod's user may read it."""
    source = pod.directory / "source"
    source.mkdir()
    for number in range(FILES):
        (source / f"f{number}").write_bytes(os.urandom(FILE_SIZE))
    node.snapshot(source)
    return source


def test_it_serves_what_another_mounts_without_any_right(plugin: Plugin, published: Path) -> None:
    """Every process of the mounter runs as its user and has no capability at all."""
    mount = plugin.mount(plugin.resolve(published))
    assert (mount / "f3").read_bytes() == (published / "f3").read_bytes()
    pids = plugin.pod.pids()
    assert len(pids) >= 6  # keeper, nanny, supervisor, zygote, worker, cachesvc
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
        assert "CapEff:\t0000000000000000" in status


def test_a_mount_lets_nobody_run_what_lies_in_it(plugin: Plugin, published: Path) -> None:
    """Source mounts are read-only, nosuid, nodev and, unless asked otherwise, noexec."""
    info = mounted_at(plugin.mount(plugin.resolve(published)))
    assert info is not None
    assert {"ro", "nosuid", "nodev", "noexec"} <= info.options


def test_every_user_may_read_what_was_published_for_one(
    plugin: Plugin, node: Node, published: Path
) -> None:
    """Files and directories that their owner alone could read are open to a pod's user."""
    (published / "closed").mkdir(mode=0o700)
    node.snapshot(published)
    mount = plugin.mount(plugin.resolve(published))
    assert stat.S_IMODE((mount / "closed").stat().st_mode) == 0o755
    chosen = plugin.mount(plugin.resolve(published, mode=0o440, uid=7, gid=8))
    found = (chosen / "closed").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o550, 7, 8)
    assert stat.S_IMODE((chosen / "f1").stat().st_mode) == 0o440


def test_who_asks_for_the_same_shares_a_mount(plugin: Plugin, published: Path) -> None:
    """Equal snapshot, options and identity make an equal key; another identity another one."""
    keys = [
        plugin.resolve(published).key,
        plugin.resolve(f"{published}@main").key,
        plugin.resolve(published, identity="b").key,
        plugin.resolve(published, uid=7).key,
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_pinned_snapshot_stays_whatever_becomes_of_the_ref(
    plugin: Plugin, node: Node, published: Path
) -> None:
    """A question that names a snapshot is answered with that one after the ref has moved."""
    first = plugin.resolve(published)
    (published / "more").write_text("more")
    node.snapshot(published)
    assert plugin.resolve(published).snapshot_id != first.snapshot_id
    assert plugin.resolve(published, snapshot_id=first.snapshot_id).key == first.key


def test_a_dataset_that_was_never_published(plugin: Plugin) -> None:
    """The answer says how to publish it; nothing is scanned."""
    answer = plugin.ask("resolve", request=plugin.request(plugin.pod.directory))
    assert answer.fields["name"] == "SnapshotMissingError"
    assert "headrace snapshot" in answer.fields["error"]


def test_a_mount_that_cannot_be_served_says_whose_error_it_is(
    plugin: Plugin, published: Path
) -> None:
    """The answer to a failed mount names what the worker met, and the mounter goes on."""
    spec = plugin.resolve(published)
    answer = plugin.try_to_mount(replace(spec, snapshot_id="0" * 40))
    assert answer.fields["name"] == "ObjectMissingError"
    mount = plugin.mount(spec)
    assert (mount / "f1").read_bytes() == (published / "f1").read_bytes()


def test_status_tells_hits_and_misses_across_the_death_of_a_worker(
    plugin: Plugin, published: Path
) -> None:
    """What readers got is counted, and what a dead worker counted is kept."""
    spec = plugin.resolve(published)
    mount = plugin.mount(spec)
    with plugin.attending() as attendant:
        (mount / "f1").read_bytes()
        wait_until(lambda: attendant.status.get(spec.key, {}).get("miss_bytes") == FILE_SIZE)
        kill(*plugin.pod.workers())
        wait_until(lambda: attendant.status[spec.key]["takeovers"] == 1)
        drop_pages(mount / "f1")
        (mount / "f1").read_bytes()
        wait_until(lambda: attendant.status[spec.key]["hit_bytes"] == FILE_SIZE)
        status = attendant.status[spec.key]
    assert (status["alive"], status["workers"], status["miss_bytes"]) == (True, 1, FILE_SIZE)
    assert 0 < status["stall_seconds"] < 10
    assert status["renewals"] == 0


def drop_pages(path: Path) -> None:
    """Have the kernel forget what it knows of a file's bytes."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


ROLES = ("keeper", "supervisor", "worker", "cachesvc")


def pids_of(plugin: Plugin, role: str) -> list[int]:
    """Return the processes of a role."""
    pod = plugin.pod
    if role == "worker":
        return pod.workers()
    found = service_pid(pod.cache) if role == "cachesvc" else pod.pid_of(role)
    return [] if found is None else [found]


@pytest.mark.parametrize("roles", [*combinations(ROLES, 2)], ids="-".join)
def test_any_two_processes_are_killed_at_once(
    plugin: Plugin, published: Path, roles: tuple[str, ...]
) -> None:
    """Whichever two of the mounter's pod die together: no reader sees an error or a wrong byte."""
    mount = plugin.mount(plugin.resolve(published))
    with plugin.attending() as attendant, Readers(mount, hashes(published), 3) as readers:
        readers.wait_for_rounds(1)
        kill(*[pid for role in roles for pid in pids_of(plugin, role)])
        if "keeper" in roles:
            plugin.pod.start_keeper()
        readers.wait_for_rounds(2)
    assert readers.errors == []
    assert attendant.renewals == attendant.gone == []
    assert plugin.pod.workers()


@pytest.mark.parametrize("with_keeper", [True, False], ids=["alone", "with the keeper"])
def test_the_whole_mounter_is_killed(plugin: Plugin, published: Path, *, with_keeper: bool) -> None:
    """A container that is killed, alone or with the keeper's, is followed by another: its readers
    wait, whoever of keeper and attendant has kept the connection.
    """
    mount = plugin.mount(plugin.resolve(published))
    with plugin.attending() as attendant, Readers(mount, hashes(published), 3) as readers:
        readers.wait_for_rounds(1)
        kill_pod(plugin.pod, without=() if with_keeper else pids_of(plugin, "keeper"))
        if with_keeper:
            plugin.pod.start_keeper()
        plugin.pod.start_mounter()
        readers.wait_for_rounds(2)
        wait_until(lambda: attendant.greetings >= 2)
    assert readers.errors == []


def kill_pod(pod: Pod, without: Iterable[int] = ()) -> None:
    """SIGKILL everything at once, as the end of a container does."""
    while pids := set(pod.pids()) - set(without):
        kill(*pids)


def test_mounter_and_attendant_are_killed_together(plugin: Plugin, published: Path) -> None:
    """What the keeper alone has left is told to a new attendant by a new mounter."""
    spec = plugin.resolve(published)
    mount = plugin.mount(spec)
    keeper = pids_of(plugin, "keeper")
    with Readers(mount, hashes(published), 3) as readers:
        readers.wait_for_rounds(1)
        kill_pod(plugin.pod, without=keeper)
        plugin.close()
        plugin.pod.start_mounter()
        with plugin.attending():
            assert spec.key in plugin.held
            readers.wait_for_rounds(2)
    assert readers.errors == []


def test_a_mounter_leaves_when_an_attendant_holds_its_mounts(
    plugin: Plugin, published: Path
) -> None:
    """SIGTERM with an attendant: all ends in order and nothing is unmounted; readers wait for the
    next mounter.
    """
    mount = plugin.mount(plugin.resolve(published))
    keeper = pids_of(plugin, "keeper")
    with plugin.attending(), Readers(mount, hashes(published), 3) as readers:
        readers.wait_for_rounds(1)
        assert plugin.pod.end_mounter() == 0
        assert plugin.pod.pids() == keeper
        plugin.pod.start_mounter()
        readers.wait_for_rounds(2)
    assert readers.errors == []


def test_a_mounter_waits_for_an_attendant_that_stays(plugin: Plugin, published: Path) -> None:
    """SIGTERM while there is no attendant, or only one that leaves: the mounter serves on until
    one comes that stays.
    """
    mount = plugin.mount(plugin.resolve(published))
    with plugin.attending() as leaving:
        leaving.leave()
        mounter = plugin.pod.tell_mounter_to_end()
        wait_until(lambda: "waiting for somebody to hold 1 mounts" in plugin.pod.log())
        assert (mount / "f1").read_bytes() == (published / "f1").read_bytes()
        assert mounter.poll() is None
    with plugin.attending():
        assert mounter.wait(END_SECONDS) == 0


def test_a_mounter_waits_for_nobody_when_nothing_is_mounted(plugin: Plugin) -> None:
    """SIGTERM ends an idle mounter at once."""
    assert plugin.pod.end_mounter() == 0


def test_a_mounter_to_whom_nobody_comes_leaves_in_the_end(plugin: Plugin, published: Path) -> None:
    """When the grace is over the mounter goes; the mount stays and waits for another."""
    assert plugin.pod.end_mounter() == 0
    plugin.pod.start_mounter("--grace", "1")
    mount = plugin.mount(plugin.resolve(published))
    assert plugin.pod.end_mounter() == 0
    assert "nobody came in 1 s" in plugin.pod.log()
    plugin.pod.start_mounter()
    assert (mount / "f1").read_bytes() == (published / "f1").read_bytes()


def test_a_mount_that_hangs_for_good_is_renewed_by_the_attendant(
    plugin: Plugin, published: Path
) -> None:
    """When the workers that replace hanging ones hang as well the attendant is asked for another
    connection, and readers of the new mount are served.
    """
    spec = plugin.resolve(published, hang_budget_seconds=1)
    mount = plugin.mount(spec)
    with plugin.attending() as attendant:

        def is_renewed() -> bool:
            for pid in filter(is_alive, plugin.pod.serving()):
                os.kill(pid, signal.SIGSTOP)
            return bool(attendant.renewals)

        wait_until(is_renewed, seconds=60)
        wait_until(lambda: attendant.status[spec.key]["renewals"] == 1)
        assert (mount / "f1").read_bytes() == (published / "f1").read_bytes()
    assert attendant.gone == []


def test_a_renewal_waits_for_an_attendant(plugin: Plugin, published: Path) -> None:
    """Where nobody is there to make a mount anew the mounter waits until somebody comes."""
    spec = plugin.resolve(published)
    plugin.pod.end_mounter()
    plugin.pod.environment["HEADRACE_SIMULATE_NO_RESEND"] = "1"
    plugin.pod.start_mounter()
    mount = plugin.mount(spec)
    kill(*plugin.pod.workers())
    wait_until(lambda: "what waits fails" in plugin.pod.log())
    with plugin.attending() as attendant:
        wait_until(lambda: attendant.renewals)
        assert (mount / "f1").read_bytes() == (published / "f1").read_bytes()


def test_an_unmounted_mount_is_told_gone_and_leaves_nothing(
    plugin: Plugin, published: Path
) -> None:
    """When the last mount is taken off its workers end, and the mounter stays."""
    spec = plugin.resolve(published)
    plugin.mount(spec)
    with plugin.attending() as attendant:
        plugin.unmount(spec)
        wait_until(lambda: attendant.gone == [spec.key])
    assert plugin.ask("await_end", key=spec.key).kind == "ended"
    assert plugin.pod.workers() == []
    assert list((plugin.pod.link / "mounts").iterdir()) == []
    assert plugin.mount(spec).is_mount()


def test_what_is_left_of_a_mount_that_ended_without_a_mounter_is_removed(
    plugin: Plugin, published: Path
) -> None:
    """A mount that was taken off while no mounter ran leaves no record for long."""
    spec, other = plugin.resolve(published), plugin.resolve(published, uid=7)
    plugin.mount(spec)
    plugin.mount(other)
    kill_pod(plugin.pod)
    plugin.unmount(spec)
    plugin.pod.start_mounter()
    with plugin.attending():
        records = plugin.pod.link / "mounts"
        wait_until(lambda: [path.name for path in records.iterdir()] == [other.key])
        assert (other.mountpoint / "f1").read_bytes() == (published / "f1").read_bytes()


def test_a_mount_is_made_again_under_its_name(plugin: Plugin, published: Path) -> None:
    """A mount that its attendant had to make anew is served in the place of the one it was."""
    spec = plugin.resolve(published)
    plugin.mount(spec)
    unmount(spec.mountpoint, lazy=True)
    mount = plugin.mount(spec)
    assert (mount / "f2").read_bytes() == (published / "f2").read_bytes()


def test_who_talks_nonsense_harms_nobody(plugin: Plugin) -> None:
    """Messages that lack what they should have end their own connection and nothing else."""
    supervisor = plugin.pod.pid_of("supervisor")
    for kind in ("mount", "offer", "register", "resolve", "refresh", "await_end", "nonsense"):
        with wire.connect(plugin.pod.link / "supervisor") as sock:
            sock.settimeout(END_SECONDS)
            wire.send(sock, Message(kind))
            answer = wire.receive(sock)
            assert answer is None or answer.kind == "failed", kind
    with wire.connect(plugin.pod.link / "supervisor") as sock:
        sock.settimeout(END_SECONDS)
        wire.send(sock, Message("attend"))
        wire.send(sock, Message("offer"))
        while wire.receive(sock) is not None:
            pass
    assert plugin.pod.pid_of("supervisor") == supervisor
    assert plugin.pod.log().count("a caller was not understood") == 6
    plugin.pod.forget_log()


def test_a_second_mounter_waits_until_the_first_is_gone(plugin: Plugin) -> None:
    """Two on one link directory: the second tries again and again, and follows the first."""
    before = plugin.pod.pid_of("supervisor")
    plugin.pod.start_mounter()
    wait_until(lambda: "another mounter serves" in plugin.pod.log())
    assert plugin.pod.pid_of("supervisor") == before
    plugin.pod.tell_mounter_to_end()
    wait_until(lambda: plugin.pod.pid_of("supervisor") not in {before, None})
