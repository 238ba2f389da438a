"""A mounter as it runs in its pod, and somebody with privileges who makes its mounts.

    python -m tests.fuse.unprivileged_mounter COMMAND...

runs a command as the pod's user, without any capability, where that user can read this project.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.fuse.unprivileged import CLONE_NEWNS, PROJECT, open_up
from tests.node import HEADRACE, wait_until
from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.connection import make_mount
from vfs.mounting.mount import unmount
from vfs.mounting.mountinfo import mount_table
from vfs.mounting.process import is_alive, wait_for_end
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec
from vfs.mounting.wire import Message

USER = 65532
ANSWER_SECONDS = 60.0
END_SECONDS = 30.0


def main() -> None:
    """Become the pod's user, and then the command."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a mount namespace")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    open_up([Path(sys.base_prefix), Path(sys.prefix), PROJECT])
    ids = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    os.execvp("setpriv", ["setpriv", *ids, *rights, "--", *sys.argv[1:]])


class Pod:
    """The directories that a mounter shares with its attendant, and its containers' processes."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        """Use *directory*, which must exist."""
        self.directory = directory
        self.link = directory / "link"
        self.cache = directory / "cache"
        self.mounts = directory / "mounts"
        self._containers: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **environment,
            "HEADRACE_RUNTIME_DIR": str(self.link),
            "HEADRACE_CACHE_DIR": str(self.cache),
            "HOME": "/nonexistent",
        }
        directory.chmod(0o755)
        self.mounts.mkdir()
        for own in (self.link, self.cache):
            own.mkdir(mode=0o700)
            os.chown(own, USER, USER)

    def start_mounter(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the mounter's container; return when its supervisor answers."""
        mounter = self._start("mounter", "--link", str(self.link), "--cache-size", "256M", *words)
        wait_until(lambda: self.pid_of("supervisor") is not None)
        return mounter

    def start_keeper(self) -> subprocess.Popen[bytes]:
        """Start the keeper's container; return when it answers."""
        keeper = self._start("keeper", "--hold-only")
        wait_until(lambda: self.pid_of("keeper") is not None)
        return keeper

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.fuse.unprivileged_mounter", str(HEADRACE), *words]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self._environment, cwd=PROJECT, stdout=log, stderr=log
            )
        self._containers.append(process)
        return process

    def log(self) -> str:
        """Return what all processes have said."""
        return (self.directory / "log").read_text(errors="replace")

    def pid_of(self, role: str) -> int | None:
        """Return the process that answers as the supervisor or the keeper."""
        try:
            with wire.connect(self.link / role) as sock:
                return wire.peer_pid(sock)
        except OSError:
            return None

    def workers(self) -> list[int]:
        """Return the processes that serve."""
        return [pid for pid in self.pids() if comm_of(pid) == "headrace-worker"]

    def pids(self) -> list[int]:
        """Return everything that runs in this pod."""
        mark = f"HEADRACE_RUNTIME_DIR={self.link}".encode()
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [pid for pid in pids if is_alive(pid) and mark in environment_of(pid)]

    def mountpoints(self) -> list[Path]:
        """Return what is mounted below this pod's directory."""
        return [
            info.mountpoint
            for info in reversed(mount_table())
            if info.mountpoint.is_relative_to(self.directory)
        ]

    def close(self) -> None:
        """Take everything down, in whatever state it is."""
        for mountpoint in self.mountpoints():
            unmount(mountpoint, lazy=True)
        while pids := self.pids():
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                wait_for_end(pid, 5)
        for container in self._containers:
            container.wait(END_SECONDS)
        shutil.rmtree(self.directory)


class Plugin:
    """Makes a mounter's mounts and holds a copy of each connection, as the driver does."""

    def __init__(self, pod: Pod) -> None:
        """Hold nothing yet."""
        self.pod = pod
        self.held: dict[str, tuple[MountRecord, int]] = {}

    def ask(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> Message:
        """Return the answer to one question."""
        with wire.connect(self.pod.link / "supervisor") as sock:
            sock.settimeout(ANSWER_SECONDS)
            wire.send(sock, Message(kind, fields, tuple(descriptors)))
            answer = wire.receive(sock)
        assert answer is not None, "the mounter went away"
        return answer

    def request(self, source: str | Path, **fields: object) -> dict[str, object]:
        """Return a question for *source*."""
        return {"source": str(source), "mounts": str(self.pod.mounts), "options": {}, **fields}

    def resolve(self, source: str | Path, **fields: object) -> MountSpec:
        """Return what *source* means now."""
        answer = self.ask("resolve", request=self.request(source, **fields))
        assert answer.kind == "resolved", answer.fields
        return MountSpec.from_json(answer.fields["spec"])

    def mount(self, spec: MountSpec) -> Path:
        """Mount *spec*, hold it and have it served."""
        spec.mountpoint.mkdir(exist_ok=True)
        record, connection = make_mount(spec)
        self.held[spec.key] = (record, connection)
        answer = self.ask("mount", (connection,), record=record.to_json())
        if answer.kind != "mounted":
            raise MountError(answer.fields["error"])
        return spec.mountpoint

    def close(self) -> None:
        """Let go of everything."""
        for _, connection in self.held.values():
            os.close(connection)
        self.held.clear()


def comm_of(pid: int) -> str:
    """Return the name that a process has given itself."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def environment_of(pid: int) -> list[bytes]:
    """Return the environment that a process was started with."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


@contextmanager
def new_pod(environment: Mapping[str, str] | None = None) -> Iterator[Pod]:
    """Give a pod without processes for the length of a block."""
    pod = Pod(Path(tempfile.mkdtemp(prefix="headrace-pod-")), environment or {})
    try:
        yield pod
    finally:
        pod.close()


if __name__ == "__main__":
    main()
