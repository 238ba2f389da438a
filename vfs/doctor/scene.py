"""All that can be seen of this user's mounts at one moment. It judges nothing."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cachesvc.options import default_directory
from cachesvc.unixsocket import is_answered
from vfs.doctor.child import Question, ask_children
from vfs.doctor.processes import Process, Role, all_processes
from vfs.mounting import wire
from vfs.mounting.daemon import KEEPER, SUPERVISOR, Daemon, daemon_pid
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, MountInfo, mount_table
from vfs.mounting.record import MountRecord
from vfs.mounting.state import MountState, all_states, runtime_directory
from vfs.mounting.wire import Message, WireError

ANSWER_SECONDS = 5.0
NOT_CONNECTED = "ENOTCONN"
NO_MOUNT = ""
"""A key that no mount has."""
KUBELET_VOLUMES = "kubernetes.io~csi"
"""Below a directory of this name the kubelet has all volumes of CSI drivers."""
_SOURCE = re.compile(r"/.*/mounts/[0-9a-f]{32}(-[0-9a-f]+)?")
"""The beginning of the key that the mounter computed, and what tells one from an earlier one."""


@dataclass(frozen=True, slots=True)
class MountSeen:
    """A mount of headrace's. `key` is None where this runtime directory has no record of it.

    `error` is an errno's name, empty when the mount answers and None when it does not.
    """

    info: MountInfo
    key: str | None
    error: str | None

    @property
    def is_dead(self) -> bool:
        """Say whether its connection is lost for ever."""
        return self.error == NOT_CONNECTED


@dataclass(frozen=True, slots=True)
class DaemonSeen:
    """Who listens at a daemon's socket, None when nobody does, and whether they answer."""

    pid: int | None
    answers: bool


@dataclass(frozen=True, slots=True)
class StaleSocket:
    """A socket without a listener, and the lock that a listener would hold."""

    path: Path
    lock: Path


@dataclass(frozen=True, slots=True)
class Scene:
    """One look. `held` is what the keeper holds by key, None when it does not say."""

    runtime: Path
    uid: int
    mounts: tuple[MountSeen, ...]
    states: Mapping[str, MountState]
    directories: frozenset[str]
    processes: tuple[Process, ...]
    supervisor: DaemonSeen
    keeper: DaemonSeen
    held: Mapping[str, MountRecord] | None
    sockets: tuple[StaleSocket, ...]
    cache_directories: tuple[Path, ...]

    @property
    def live_mounts(self) -> list[MountSeen]:
        """The mounts on record here that are not dead."""
        return [seen for seen in self.mounts if seen.key is not None and not seen.is_dead]

    @property
    def mounted_keys(self) -> set[str]:
        """The mounts on record here that are in the mount table."""
        return {seen.key for seen in self.mounts if seen.key is not None}

    def is_ours(self, process: Process) -> bool:
        """Say whether a process works for this runtime directory, or on a cache of its mounts."""
        if process.uid != self.uid:
            return False
        return process.runtime == self.runtime or process.cache in self.cache_directories

    def has_neighbours(self) -> bool:
        """Say whether headrace runs from other runtime directories as well."""
        return any(each.runtime not in {None, self.runtime} for each in self.processes)

    def process(self, pid: int | None) -> Process | None:
        """Return one of the processes."""
        return next((process for process in self.processes if process.pid == pid), None)

    def of_role(self, *roles: Role) -> list[Process]:
        """Return our own processes of some roles."""
        return [each for each in self.processes if each.role in roles and self.is_ours(each)]


def look_around() -> Scene:
    """Look at everything once; takes some seconds where something does not answer.

    Raises MountError when the runtime directory cannot be used.
    """
    runtime = runtime_directory().absolute()
    states = {state.key: state for state in all_states()}
    keeper_pid = daemon_pid(KEEPER)
    held = held_at(KEEPER.socket) if keeper_pid is not None else {}
    caches = {Path(state.cache_directory) for state in states.values()}
    directories = tuple(sorted({*caches, default_directory().absolute()}))
    return Scene(
        runtime=runtime,
        uid=os.geteuid(),
        mounts=tuple(_mounts_seen(states)),
        states=states,
        directories=frozenset(path.name for path in (runtime / "mounts").glob("*")),
        processes=tuple(all_processes()),
        supervisor=_supervisor_seen(),
        keeper=DaemonSeen(keeper_pid, held is not None),
        held=held,
        sockets=tuple(_stale_sockets(runtime, directories)),
        cache_directories=directories,
    )


def _mounts_seen(states: Mapping[str, MountState]) -> Iterator[MountSeen]:
    table = [
        info
        for info in mount_table()
        if info.filesystem == FILESYSTEM_TYPE and not is_of_driver(info)
    ]
    answers = ask_children([Question("mount", info.mountpoint) for info in table])
    for info, answer in zip(table, answers, strict=True):
        yield MountSeen(info, _key_of(info, states), None if answer is None else answer["error"])


def is_of_driver(info: MountInfo) -> bool:
    """Say whether a mount is the Kubernetes driver's, source or target, by where it lies.

    Nobody but the driver, which has a doctor of its own, is to look at those or take them off.
    """
    is_source = _SOURCE.fullmatch(str(info.mountpoint)) is not None
    return is_source or KUBELET_VOLUMES in info.mountpoint.parts


def _key_of(info: MountInfo, states: Mapping[str, MountState]) -> str | None:
    for key, state in states.items():
        if (state.connection, state.mountpoint) == (info.minor, str(info.mountpoint)):
            return key
    return None


def _supervisor_seen() -> DaemonSeen:
    """Ask the supervisor something that every one can answer at once."""
    pid = daemon_pid(SUPERVISOR)
    if pid is None:
        return DaemonSeen(None, answers=False)
    try:
        with wire.connect(SUPERVISOR.socket) as sock:
            sock.settimeout(ANSWER_SECONDS)
            wire.send(sock, Message("await_end", {"key": NO_MOUNT}))
            return DaemonSeen(pid, wire.receive(sock) is not None)
    except (OSError, WireError):
        return DaemonSeen(pid, answers=False)


def held_at(path: Path) -> dict[str, MountRecord] | None:
    """Return what the keeper that listens at *path* holds, None when it does not answer."""
    try:
        with wire.connect(path) as sock:
            sock.settimeout(ANSWER_SECONDS)
            wire.send(sock, Message("list"))
            return dict(_listed(sock))
    except (OSError, WireError, ValueError, KeyError, TypeError):
        return None


def _listed(sock: socket.socket) -> Iterator[tuple[str, MountRecord]]:
    while (message := wire.receive(sock)) is not None:
        message.close()
        if message.kind == "end":
            return
        yield message.fields["key"], MountRecord.from_json(message.fields["record"])
    raise WireError("the keeper ended in mid-sentence")


def _stale_sockets(runtime: Path, caches: tuple[Path, ...]) -> Iterator[StaleSocket]:
    for daemon in (SUPERVISOR, KEEPER):
        for path in runtime.glob(f"{daemon.name}*"):
            if _is_socket(path) and not _is_listened_to(path, daemon):
                yield StaleSocket(path, daemon.lock)
    for directory in caches:
        path = directory / "socket"
        if _is_socket(path) and not is_answered(path):
            yield StaleSocket(path, directory / "lock")


def _is_listened_to(path: Path, daemon: Daemon) -> bool:
    if path == daemon.socket:
        return daemon_pid(daemon) is not None
    starter = path.name.removeprefix(f"{daemon.name}.")
    return not starter.isdigit() or Path("/proc", starter).exists()


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
