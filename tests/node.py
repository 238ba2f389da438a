"""A machine as a user sees it: the `headrace` command, a cache directory and mounts of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cachesvc.spawn import service_pid
from vfs.mounting.mount import unmount
from vfs.mounting.mountinfo import mount_table
from vfs.mounting.process import is_alive, wait_for_end

COMMAND_SECONDS = 120
END_SECONDS = 20
ROLES = ("supervisor", "keeper", "worker", "cachesvc")
HEADRACE = Path(sys.executable).with_name("headrace")


class Node:
    """All that its commands leave behind lies below one directory and ends with `close`."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        """Use *directory*, which must exist, for the cache, the live state and the mountpoints."""
        self.directory = directory
        self.cache = directory / "cache"
        self.scratch = directory / "tmp"
        self.scratch.mkdir()
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            **(environment or {}),
            "HEADRACE_CACHE_DIR": str(self.cache),
            "HEADRACE_RUNTIME_DIR": str(directory / "run"),
            "HEADRACE_IDLE_SECONDS": "0.5",
            "TMPDIR": str(self.scratch),
        }

    def run(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `headrace *words*` and check its exit code."""
        done = subprocess.run(
            [HEADRACE, *map(str, words)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == code, (
            f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def snapshot(self, source: str | Path, *words: str | Path) -> str:
        """Publish *source* and return the snapshot's id."""
        return self.run("snapshot", source, *words).stdout.strip()

    def mount(self, source: str | Path, *words: str | Path, name: str = "mnt") -> Path:
        """Mount *source* at a fresh directory and return it."""
        mountpoint = self.directory / name
        mountpoint.mkdir()
        self.run("mount", source, mountpoint, *words)
        return mountpoint

    def umount(self, mountpoint: Path) -> None:
        """Take a mount off, as its user would, and remove the directory."""
        self.run("umount", mountpoint)
        mountpoint.rmdir()

    def mounts(self) -> list[dict[str, Any]]:
        """Return what `headrace list --json` says."""
        rows: list[dict[str, Any]] = json.loads(self.run("list", "--json").stdout)
        return rows

    def processes(self) -> dict[str, list[int]]:
        """Return the pids by role, as `headrace list` tells them."""
        found: dict[str, set[int]] = {role: set() for role in ROLES}
        for row in self.mounts():
            found["worker"].update(row["workers"])
            for role in ("supervisor", "keeper", "cachesvc"):
                found[role].update([row[role]] if row[role] else [])
        return {role: sorted(pids) for role, pids in found.items()}

    def kill(self, role: str) -> list[int]:
        """SIGKILL all processes of that role and return their pids."""
        pids = self.processes()[role]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            wait_for_end(pid, 10)
        return pids

    @contextmanager
    def stopped(self, role: str) -> Iterator[None]:
        """Let no process of that role do anything for the length of a block."""
        pids = self.processes()[role]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in filter(is_alive, pids):
                os.kill(pid, signal.SIGCONT)

    def log(self) -> str:
        """Return what the supervisors and workers of the live mounts have logged."""
        logs = (self.directory / "run").rglob("*log")
        return "".join(path.read_text(errors="replace") for path in logs)

    def leave(self) -> list[str]:
        """End all as a tidy user would, and return what is there that should not be."""
        for row in self.mounts():
            self.run("umount", row["mountpoint"])
        deadline = time.monotonic() + END_SECONDS
        while self._pids() and time.monotonic() < deadline:
            self._end_service()
            time.sleep(0.02)
        return [
            *(f"mount at {path}" for path in self.mountpoints()),
            *(f"process {pid}: {_command_of(pid)}" for pid in self._pids()),
            *(f"file {path}" for path in self.scratch.rglob("*")),
            *(f"state {path}" for path in (self.directory / "run").glob("mounts/*")),
        ]

    def _end_service(self) -> None:
        """End the cache service that answers, if one does.

        A worker that missed it may have started another just before it ended itself, which answers
        only some time later.
        """
        service = service_pid(self.cache)
        if service is not None:
            with suppress(ProcessLookupError):
                os.kill(service, signal.SIGTERM)
            wait_for_end(service, 10)

    def pids_of(self, module: str) -> list[int]:
        """Return the processes of this node whose command line names *module*."""
        return [pid for pid in self._pids() if module in _command_of(pid)]

    def pids_named(self, name: str) -> list[int]:
        """Return the processes of this node that have given themselves this *name*."""
        return [pid for pid in self._pids() if comm_of(pid) == name]

    def close(self) -> None:
        """Take down everything in whatever state a test left it, and remove the directory."""
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)
        for mountpoint in self.mountpoints():
            unmount(mountpoint, lazy=True)
        while pids := self._pids():  # a worker that still lives starts the cache service again
            for pid in pids:
                _stop(pid)
        shutil.rmtree(self.directory)

    def mountpoints(self) -> list[Path]:
        """Return what is mounted below this machine's directory, the topmost first."""
        mounts = [info.mountpoint for info in reversed(mount_table())]
        return [path for path in mounts if path.is_relative_to(self.directory)]

    def _pids(self) -> list[int]:
        """Return everything that runs with this node's environment, or serves its cache."""
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [pid for pid in pids if is_alive(pid) and self._owns(pid)]

    def _owns(self, pid: int) -> bool:
        mark = f"HEADRACE_RUNTIME_DIR={self.directory / 'run'}".encode()
        if mark in _proc_words(pid, "environ"):
            return True
        command = _proc_words(pid, "cmdline")
        # A reader in process starts it with the environment that it has itself.
        return b"cachesvc" in command and any(os.fsencode(self.cache) in word for word in command)


def comm_of(pid: int) -> str:
    """Return the name that a process has given itself."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _command_of(pid: int) -> str:
    return b" ".join(_proc_words(pid, "cmdline")).decode(errors="replace")[:200]


def _proc_words(pid: int, name: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")
    except OSError:
        return []


def _stop(pid: int) -> None:
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        if not is_alive(pid):
            return
        os.kill(pid, number)
        wait_for_end(pid, seconds)


def waits_for_bytes(thread: int) -> bool:
    """Say whether a thread waits for a page of a file, as it does while nobody answers a READ."""
    status = Path(f"/proc/{thread}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "D"


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Look again and again until *condition* holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@contextmanager
def new_node(environment: Mapping[str, str] | None = None) -> Iterator[Node]:
    """Give a node for the length of a block; fail when its own commands cannot tidy it up."""
    node = Node(Path(tempfile.mkdtemp(prefix="headrace-test-")), environment)
    try:
        yield node
        left = node.leave()
    finally:
        node.close()
    assert not left, "left behind:\n" + "\n".join(left)
