"""The small file that outlives a mount's processes: its snapshots, and who serves it.

One directory a mount below the runtime directory, which a reboot empties. No secret is ever written
there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vfs.errors import MountError

STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class MountState:
    """What is known of one mount; `snapshots[epoch]` is the id of the one shown in that epoch.

    `key` is the mount's own, also beside an older one that was only hidden from the mountpoint.
    `workers` are numbered as in `pid_namespace`: a container's successor has others.
    """

    key: str
    mountpoint: str
    source: str
    repository: str
    ref: str | None
    snapshots: tuple[str, ...]
    connection: int
    cache_directory: str
    workers: tuple[int, ...] = ()
    pid_namespace: int | None = None

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return len(self.snapshots) - 1

    @property
    def snapshot(self) -> str:
        """The id of the snapshot that the mount shows now."""
        return self.snapshots[-1]

    def workers_in(self, pid_namespace: int) -> tuple[int, ...]:
        """Return the workers that have a number in that namespace."""
        return self.workers if self.pid_namespace in {None, pid_namespace} else ()


def runtime_directory() -> Path:
    """Return the directory of this user's live state, made if need be and closed to others.

    `HEADRACE_RUNTIME_DIR`, else /run/headrace for root, else below `XDG_RUNTIME_DIR`, else in /tmp.
    """
    directory = _runtime_path()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise MountError(
            f"{directory} belongs to another user; set HEADRACE_RUNTIME_DIR to one of yours"
        )
    return directory


def _runtime_path() -> Path:
    if chosen := os.environ.get("HEADRACE_RUNTIME_DIR"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/headrace")
    if session := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(session) / "headrace"
    return Path(f"/tmp/headrace-{os.geteuid()}")


def mount_directory(key: str) -> Path:
    """Return the directory that belongs to the mount *key*; it may not exist."""
    return runtime_directory() / "mounts" / key


def log_path(key: str) -> Path:
    """Return the file into which the mount's workers log."""
    return mount_directory(key) / "log"


def save_state(state: MountState) -> None:
    """Replace the mount's state file in one step; a reader sees the old one or the new one."""
    directory = mount_directory(state.key)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = directory / "state.json.new"
    draft.write_text(json.dumps({"version": STATE_VERSION, **asdict(state)}))
    draft.replace(directory / "state.json")


def load_state(key: str) -> MountState | None:
    """Return the state of the mount *key*, None when none can be read."""
    return read_state(mount_directory(key) / "state.json")


def all_states() -> Iterator[MountState]:
    """Yield the state of every mount that this user has on record, live or not."""
    for path in sorted((runtime_directory() / "mounts").glob("*/state.json")):
        if (state := read_state(path)) is not None:
            yield state


def recorded_keys() -> set[str]:
    """Return the mounts of which anything is recorded, live or not."""
    return {path.name for path in (runtime_directory() / "mounts").glob("*")}


def forget_state(key: str) -> None:
    """Remove all that is recorded of a mount that is gone."""
    shutil.rmtree(mount_directory(key), ignore_errors=True)


def read_state(path: Path) -> MountState | None:
    """Return what a state file says; one that this version did not write says nothing."""
    try:
        fields: dict[str, Any] = json.loads(path.read_text())
        if fields.pop("version", None) != STATE_VERSION:
            return None
        fields["snapshots"] = tuple(fields["snapshots"])
        fields["workers"] = tuple(fields["workers"])
        return MountState(**fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
