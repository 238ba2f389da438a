"""One node of a cluster: kubelet, driver, mounter and keeper as real processes, in one directory.

The mounter and the keeper run as another user without any capability, as their containers do.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.csi.kubelet import Kubelet
from tests.csi.pods import CsiDriverObject
from tests.node import wait_until
from tests.seaweed import free_ports
from tests.unprivileged import UID, unprivileged
from vfs.mounting.mount import MNT_DETACH
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, MountInfo, mount_table
from vfs.mounting.process import is_alive, wait_for_end

HEADRACE = Path(sys.executable).with_name("headrace")
MARK = "HEADRACE_TEST_NODE"
NODE_NAME = "node-1"
DRIVER_NAME = "csi.headrace.dev"
END_SECONDS = 30
PROGRAMS = ("node", "mounter", "keeper")
ROLES = {
    "headrace csi node": "node",
    "headrace keeper": "keeper",
    "headrace mounter": "nanny",
    "vfs.mounting.mounter": "supervisor",
    "vfs.mounting.zygote": "zygote",
    "-m cachesvc": "cachesvc",
}
"""Words of a command line → who it is; what a zygote forks says it by its name."""
FORKED = {"headrace-worker": "worker", "headrace-asker": "asker"}
HOLDERS = ("node", "supervisor", "keeper")
"""Who has a copy of every connection."""
MS_SHARED = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class ClusterNode:
    """All of a node. `start` and `kill` take "node", "mounter" or "keeper"."""

    def __init__(
        self,
        directory: Path,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        driver: CsiDriverObject | None = None,
    ) -> None:
        """Use *directory*, a shared tmpfs; *options* are those of `headrace csi node`."""
        self.directory = directory
        self.options = list(options)
        self.link = directory / "link"
        self.state = directory / "state"
        self.cache = directory / "cache"
        self.logs = directory / "logs"
        self.logs.mkdir()
        (directory / "home").mkdir(mode=0o777)
        (directory / "home").chmod(0o1777)
        self.kubelet = Kubelet(directory / "kubelet", driver)
        self.endpoint = self.kubelet.directory / "plugins" / DRIVER_NAME / "csi.sock"
        self.health_port = free_ports(1)[0]
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "home"),
            MARK: str(directory),
            **(environment or {}),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *programs: str, **variables: str) -> None:
        """Start programs, all by default; *variables* are added to their environment."""
        for program in programs or PROGRAMS:
            if (before := self._processes.pop(program, None)) is not None:
                before.wait(END_SECONDS)
            with (self.logs / program).open("ab") as log:
                self._processes[program] = subprocess.Popen(
                    self._command(program),
                    env={**self.environment, **variables, "HEADRACE_RUNTIME_DIR": str(self.link)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,
                )
            if program == "node":
                wait_until(self.link.is_dir)  # which the driver makes for the others

    def _command(self, program: str) -> list[str]:
        match program:
            case "node":
                return [str(HEADRACE), "csi", "node", *self._driver_options(), *self.options]
            case "mounter":
                cache = ["--cache-dir", str(self.cache), "--cache-size", "256MiB"]
                return unprivileged([HEADRACE, "mounter", *cache, "--grace", "20"])
            case "keeper":
                return unprivileged([HEADRACE, "keeper", "--hold-only"])
        raise AssertionError(program)

    def _driver_options(self) -> list[str]:
        return [
            f"--endpoint=unix://{self.endpoint}",
            f"--node-name={NODE_NAME}",
            f"--kubelet-dir={self.kubelet.directory}",
            f"--state-dir={self.state}",
            f"--run-dir={self.directory / 'run'}",
            f"--link-dir={self.link}",
            f"--cache-dir={self.cache}",
            f"--health-port={self.health_port}",
        ]

    def await_service(self) -> None:
        """Return when the driver is registered and the mounter serves."""
        self.kubelet.await_driver()
        wait_until(self.is_connected)

    def is_connected(self) -> bool:
        """Say whether the driver is there and the mounter with it."""
        try:
            return "mounter_connected 1.0" in self.metrics()
        except OSError:
            return False

    def start_beside(self, program: str) -> None:
        """Start another one of a program while the one before runs on."""
        self._processes[f"older {program}"] = self._processes.pop(program)
        self.health_port = free_ports(1)[0]
        self.start(program)

    def pid(self, program: str) -> int:
        """Return the process that was started as *program*."""
        return self._processes[program].pid

    def pids_of(self, words: str) -> list[int]:
        """Return this node's processes whose command line or name has *words*."""
        return [pid for pid in self.pids() if words in command_of(pid)]

    def roles(self) -> dict[str, list[int]]:
        """Return who runs: the pids by role."""
        found: dict[str, list[int]] = {role: [] for role in (*ROLES.values(), *FORKED.values())}
        for pid in self.pids():
            if (role := role_of(pid)) is not None:
                found[role].append(pid)
        return found

    def is_running(self, program: str) -> bool:
        """Say whether a program was started and has not ended."""
        return program in self._processes and self._processes[program].poll() is None

    def reboot(self) -> None:
        """Lose every process, every mount and all that was in memory; start anew."""
        self._end_all()
        for name in ("run", "link"):
            shutil.rmtree(self.directory / name)
        self.start()

    def kill(self, program: str) -> None:
        """SIGKILL a program: with a mounter all that it started, as when its container dies."""
        doomed = [self.pid(program)]
        if program == "mounter":
            doomed += self.mounter_pids()
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._processes[program].wait(END_SECONDS)
        for pid in doomed:
            wait_for_end(pid, END_SECONDS)

    def terminate(self, program: str, seconds: float = END_SECONDS) -> int:
        """Ask a program to end and return its exit code."""
        self._processes[program].terminate()
        return self._processes[program].wait(seconds)

    def mounter_pids(self) -> list[int]:
        """Return everything that runs on behalf of the mounter, itself included."""
        others = {self.pid(name) for name in ("node", "keeper") if name in self._processes}
        return [pid for pid in self.pids() if pid not in others and uid_of(pid) == UID]

    def pids(self) -> list[int]:
        """Return all that runs on this node, whoever started it."""
        mark = f"{MARK}={self.directory}".encode()
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [pid for pid in pids if is_alive(pid) and mark in proc_words(pid, "environ")]

    def mounts(self) -> list[MountInfo]:
        """Return headrace's mounts on this node."""
        return [
            info
            for info in mount_table()
            if info.filesystem == FILESYSTEM_TYPE and info.mountpoint.is_relative_to(self.directory)
        ]

    def source_mounts(self) -> list[MountInfo]:
        """Return the FUSE mounts that targets share."""
        return [info for info in self.mounts() if info.mountpoint.is_relative_to(self.state)]

    def leftovers(self) -> list[str]:
        """Return what should not be there when no volume is published any more."""
        return [
            *(f"mount at {info.mountpoint}" for info in self.mounts()),
            *(f"record {path}" for path in (self.state / "volumes").glob("*")),
            *(f"directory {path}" for path in (self.state / "mounts").glob("*")),
            *(f"spec {path}" for path in (self.directory / "run" / "specs").glob("*")),
            *(f"state {path}" for path in (self.link / "mounts").glob("*")),
            *(f"volume {path}" for path in self.kubelet.directory.glob("pods/*/volumes/*/*")),
        ]

    def await_tidiness(self, seconds: float = END_SECONDS) -> None:
        """Return when nothing is left of any volume; fail when something stays."""
        deadline = time.monotonic() + seconds
        while left := self.leftovers():
            assert time.monotonic() < deadline, f"left behind: {left}\n{self.log()}"
            time.sleep(0.05)

    def metrics(self) -> str:
        """Return what /metrics says."""
        url = f"http://127.0.0.1:{self.health_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: bytes = answer.read()
        return text.decode()

    def log(self) -> str:
        """Return everything that any process has written."""
        links = [path for path in files_below(self.link) if path.name.endswith("log")]
        paths = [*self.logs.iterdir(), *links, *self.cache.glob("*.log")]
        return "".join(f"--- {path.name}\n{text_of(path)}" for path in paths)

    def close(self) -> None:
        """Take down everything in whatever state a test left it."""
        self.kubelet.stop()
        self._end_all()

    def _end_all(self) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._processes.values():
                process.poll()
        for process in self._processes.values():
            process.wait(END_SECONDS)
        for info in reversed(mount_table()):
            if info.mountpoint != self.directory and info.mountpoint.is_relative_to(self.directory):
                _libc.umount2(os.fsencode(info.mountpoint), MNT_DETACH)


def files_below(directory: Path) -> Iterator[Path]:
    """Yield all files below *directory*, of which any may be gone by then."""
    for place, _, names in os.walk(directory):
        yield from (Path(place) / name for name in names)


def text_of(path: Path) -> str:
    """Return what a log says; nothing when it is gone."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def uid_of(pid: int) -> int | None:
    """Return the user that a process runs as, None when it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return None


def role_of(pid: int) -> str | None:
    """Return what a process of a node does, None when that cannot be seen (yet)."""
    name = b"".join(proc_words(pid, "comm")).decode().strip()
    command = command_of(pid)
    return FORKED.get(name) or next((ROLES[words] for words in ROLES if words in command), None)


def command_of(pid: int) -> str:
    """Return a process's command line."""
    return b" ".join(proc_words(pid, "cmdline")).decode(errors="replace")


def proc_words(pid: int, name: str) -> list[bytes]:
    """Return the words of a file of /proc, none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")
    except OSError:
        return []


@contextmanager
def shared_tmpfs() -> Iterator[Path]:
    """Give a directory that others may enter, mounted shared, as a node's are."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-csi-"))
    try:
        _mount("tmpfs", directory, "tmpfs", 0)
        try:
            _mount("none", directory, None, MS_SHARED)
            directory.chmod(0o755)
            yield directory
        finally:
            _libc.umount2(os.fsencode(directory), MNT_DETACH)
    finally:
        shutil.rmtree(directory)


def _mount(source: str, target: Path, kind: str | None, flags: int) -> None:
    words = (os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, None)
    if _libc.mount(*words) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


@contextmanager
def cluster_node(
    *options: str,
    environment: Mapping[str, str] | None = None,
    driver: CsiDriverObject | None = None,
    programs: Sequence[str] = PROGRAMS,
    awaited: bool = True,
) -> Iterator[ClusterNode]:
    """Give a node on which *programs* run, and are *awaited* to be ready and registered."""
    with shared_tmpfs() as directory:
        node = ClusterNode(directory, options=options, environment=environment, driver=driver)
        try:
            node.start(*programs)
            node.kubelet.start()
            if awaited:
                node.await_service()
            yield node
        finally:
            node.close()
