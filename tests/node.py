"""A machine as a user sees it: the `headrace` command, a cache directory and mounts of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vfs.mount import unmount
from vfs.mountinfo import mount_table
from vfs.process import is_alive, wait_for_end

COMMAND_SECONDS = 120
HEADRACE = Path(sys.executable).with_name("headrace")


class Node:
    """Everything that commands leave behind lies below one directory and ends with `close`."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        """Use *directory*, which must exist, for the cache, the live state and the mountpoints."""
        self.directory = directory
        self.cache = directory / "cache"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            **(environment or {}),
            "HEADRACE_CACHE_DIR": str(self.cache),
            "HEADRACE_RUNTIME_DIR": str(directory / "run"),
        }
        self._pids: set[int] = set()

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
        self.processes()
        return mountpoint

    def mounts(self) -> list[dict[str, Any]]:
        """Return what `headrace list --json` says."""
        rows: list[dict[str, Any]] = json.loads(self.run("list", "--json").stdout)
        return rows

    def processes(self) -> dict[str, list[int]]:
        """Return the pids by role, and remember them all for `close`."""
        found: dict[str, list[int]] = {"supervisor": [], "worker": [], "cachesvc": []}
        for row in self.mounts():
            found["supervisor"] += [row["supervisor"]] if row["supervisor"] else []
            found["worker"] += row["workers"]
            found["cachesvc"] += [row["cachesvc"]] if row["cachesvc"] else []
        self._pids.update(*found.values())
        return found

    def kill(self, role: str) -> int:
        """SIGKILL the first process of that role and return its pid."""
        pid = self.processes()[role][0]
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid, 10)
        return pid

    def close(self) -> None:
        """Unmount, stop every process, and remove the directory, whatever state a test left them
        in.
        """
        pids = self._pids | set().union(*self.processes().values())
        for info in reversed(mount_table()):
            if info.mountpoint.is_relative_to(self.directory):
                unmount(info.mountpoint, lazy=True)
        for pid in pids:
            _stop(pid)
        shutil.rmtree(self.directory, ignore_errors=True)


def _stop(pid: int) -> None:
    for number, seconds in ((signal.SIGCONT, 0.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        if not is_alive(pid):
            return
        os.kill(pid, number)
        wait_for_end(pid, seconds)


@contextmanager
def new_node(environment: Mapping[str, str] | None = None) -> Iterator[Node]:
    """Give a node for the length of a block, and leave nothing of it behind."""
    node = Node(Path(tempfile.mkdtemp(prefix="headrace-test-")), environment)
    try:
        yield node
    finally:
        node.close()
