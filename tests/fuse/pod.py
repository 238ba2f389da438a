"""A mounter as it runs in its pod, and somebody with privileges who makes its mounts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.node import HEADRACE, comm_of, wait_until
from tests.unprivileged import UID, unprivileged
from vfs.mounting import wire
from vfs.mounting.connection import make_mount, make_mount_anew
from vfs.mounting.mount import unmount
from vfs.mounting.mountinfo import mount_table
from vfs.mounting.process import is_alive, wait_for_end
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec
from vfs.mounting.wire import Message

ANSWER_SECONDS = 60.0
END_SECONDS = 30.0
LOOK_SECONDS = 0.2


class Pod:
    """The directories that a mounter shares with its attendant, and its containers' processes."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        """Use *directory*, which must exist."""
        self.directory = directory
        self.link = directory / "link"
        self.cache = directory / "cache"
        self.mounts = directory / "mounts"
        self._containers: list[subprocess.Popen[bytes]] = []
        self._mounters: list[subprocess.Popen[bytes]] = []
        self.environment = {
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
            os.chown(own, UID, UID)

    def start_mounter(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the mounter's container; return when its supervisor answers."""
        mounter = self._start("mounter", "--link", str(self.link), "--cache-size", "256M", *words)
        self._mounters.append(mounter)
        wait_until(lambda: self.pid_of("supervisor") is not None)
        return mounter

    def tell_mounter_to_end(self) -> subprocess.Popen[bytes]:
        """Send SIGTERM to the mounter that was started first of those that run."""
        mounter = self._mounters.pop(0)
        mounter.terminate()
        return mounter

    def end_mounter(self) -> int:
        """Have the mounter end and return its exit code."""
        return self.tell_mounter_to_end().wait(END_SECONDS)

    def start_keeper(self) -> subprocess.Popen[bytes]:
        """Start the keeper's container; return when it answers."""
        keeper = self._start("keeper", "--hold-only")
        wait_until(lambda: self.pid_of("keeper") is not None)
        return keeper

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = unprivileged([HEADRACE, *words])
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment, cwd="/", stdout=log, stderr=log
            )
        self._containers.append(process)
        return process

    def log(self) -> str:
        """Return what all processes have said."""
        return (self.directory / "log").read_text(errors="replace")

    def forget_log(self) -> None:
        """Begin a new log: what was said until now was meant to be said."""
        (self.directory / "log").write_text("")

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

    def serving(self) -> list[int]:
        """Return the workers that were seen to serve."""
        states = self.link.glob("mounts/*/state.json")
        return [pid for path in states for pid in json.loads(path.read_text())["workers"]]

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
                with suppress(ProcessLookupError):
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
        answer = self.try_to_mount(spec)
        assert answer.kind == "mounted", answer.fields
        return spec.mountpoint

    def try_to_mount(self, spec: MountSpec) -> Message:
        """Mount *spec*, and return what the mounter says; what it does not serve is taken off."""
        spec.mountpoint.mkdir(exist_ok=True)
        record, connection = make_mount(spec)
        self.held[spec.key] = (record, connection)
        answer = self.ask("mount", (connection,), record=record.to_json())
        if answer.kind != "mounted":
            self.unmount(spec)
        return answer

    def unmount(self, spec: MountSpec) -> None:
        """Take a mount off and let go of it."""
        unmount(spec.mountpoint, lazy=True)
        os.close(self.held.pop(spec.key)[1])

    @contextmanager
    def attending(self) -> Iterator[Attendant]:
        """Attend to the mounter for the length of a block, whichever process it is."""
        attendant = Attendant(self)
        thread = threading.Thread(target=attendant.run)
        thread.start()
        try:
            wait_until(lambda: attendant.greetings)
            yield attendant
        finally:
            attendant.stop()
            thread.join(END_SECONDS)

    def close(self) -> None:
        """Let go of everything."""
        for _, connection in self.held.values():
            os.close(connection)
        self.held.clear()


class Attendant:
    """The plugin's long connection. Runs in a thread of its own."""

    def __init__(self, plugin: Plugin) -> None:
        """Attend for *plugin*."""
        self._plugin = plugin
        self._stopping = threading.Event()
        self._sock: socket.socket | None = None
        self.greetings = 0
        self.renewals: list[str] = []
        self.gone: list[str] = []
        self.status: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        """Attend, again and again, until told to stop."""
        while not self._stopping.wait(0.02):
            try:
                with wire.connect(self._plugin.pod.link / "supervisor") as self._sock:
                    self._sock.settimeout(LOOK_SECONDS)
                    self._attend(self._sock)
            except OSError:
                continue

    def stop(self) -> None:
        """Go away."""
        self._stopping.set()

    def leave(self) -> None:
        """Say that this is no holder any more."""
        assert self._sock is not None
        wire.send(self._sock, Message("leave"))

    def _attend(self, sock: socket.socket) -> None:
        wire.send(sock, Message("attend"))
        told: set[str] = set()
        while not self._stopping.is_set():
            try:
                message = wire.receive(sock)
            except TimeoutError:
                continue
            if message is None:
                return
            self._hear(sock, message, told)

    def _hear(self, sock: socket.socket, message: Message, told: set[str]) -> None:
        fields, held = message.fields, self._plugin.held
        match message.kind:
            case "kept":
                told.add(fields["key"])
                if fields["key"] in held:
                    message.close()
                else:
                    record = MountRecord.from_json(fields["record"])
                    held[fields["key"]] = (record, message.descriptors[0])
            case "end":
                for record, connection in [held[key] for key in held.keys() - told]:
                    offer = Message("offer", {"record": record.to_json()}, (connection,))
                    wire.send(sock, offer)
                self.greetings += 1
            case "status":
                self.status.update(fields["mounts"])
            case "gone":
                self.gone.append(fields["key"])
            case "renew":
                record, connection = held[fields["key"]]
                held[fields["key"]] = make_mount_anew(record)
                os.close(connection)
                record, connection = held[fields["key"]]
                wire.send(sock, Message("renewed", {"record": record.to_json()}, (connection,)))
                # Last: in between nothing is mounted there.
                self.renewals.append(fields["reason"])


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
