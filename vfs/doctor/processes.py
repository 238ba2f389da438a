"""The processes of headrace, recognised by what they were started as (/proc)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vfs.mounting.successor import TAKE_OVER

STOPPED = "T"
RUNTIME_MARK = b"HEADRACE_RUNTIME_DIR="
CHILD_PREFIX = "headrace-"
WORKER_NAME = CHILD_PREFIX + "worker"


class Role(StrEnum):
    """What a process is for."""

    SUPERVISOR = "supervisor"
    KEEPER = "keeper"
    ZYGOTE = "zygote"
    WORKER = "worker"
    CACHE = "cache service"


ROLES = {
    "vfs.mounting.supervisor": Role.SUPERVISOR,
    "vfs.mounting.keeper": Role.KEEPER,
    "vfs.mounting.zygote": Role.ZYGOTE,
    "cachesvc": Role.CACHE,
}


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `born`, in clock ticks since the machine started, tells it from a later one.

    `key` is the mount that a worker serves, `cache` the directory that a cache service does.
    """

    pid: int
    born: int
    uid: int
    role: Role
    is_stopped: bool
    is_successor: bool
    runtime: Path | None
    key: str | None
    cache: Path | None

    def is_same(self, other: Process | None) -> bool:
        """Say whether *other* is this process, in whatever state."""
        return other is not None and (self.pid, self.born, self.role) == (
            other.pid,
            other.born,
            other.role,
        )


def all_processes() -> list[Process]:
    """Return every process of headrace that this user may look at."""
    pids = sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [found for pid in pids if (found := process_of(pid)) is not None]


def process_of(pid: int) -> Process | None:
    """Return what *pid* is, None when it is none of headrace's, gone, or a zombie."""
    place = Path(f"/proc/{pid}")
    try:
        words = (place / "cmdline").read_bytes().split(b"\0")
        role = role_of(words, (place / "comm").read_text().strip())
        if role is None:
            return None
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        runtime = runtime_in((place / "environ").read_bytes().split(b"\0"))
        log = os.readlink(place / "fd/1") if role is Role.WORKER else ""
        uid = place.stat().st_uid
    except OSError:
        return None
    if fields[0] in {"Z", "X"}:
        return None
    return Process(
        pid=pid,
        born=int(fields[19]),
        uid=uid,
        role=role,
        is_stopped=fields[0] == STOPPED,
        is_successor=TAKE_OVER.encode() in words,
        runtime=runtime,
        key=key_in(log),
        cache=cache_in(words) if role is Role.CACHE else None,
    )


def role_of(words: Sequence[bytes], name: str) -> Role | None:
    """Return what a command line of ours starts; a zygote's children have names of their own.

    Of these only workers stay: whoever fetches or asks ends by itself.
    """
    if b"-m" not in words[:-1]:
        return None
    module = words[words.index(b"-m") + 1].decode(errors="replace")
    role = ROLES.get(module)
    if role is Role.ZYGOTE and name.startswith(CHILD_PREFIX):
        return Role.WORKER if name == WORKER_NAME else None
    return role


def runtime_in(environment: Sequence[bytes]) -> Path | None:
    """Return the runtime directory that an environment names."""
    found = [word for word in environment if word.startswith(RUNTIME_MARK)]
    return Path(os.fsdecode(found[0].removeprefix(RUNTIME_MARK))) if found else None


def key_in(log: str) -> str | None:
    """Return the mount whose log this is, `.../mounts/KEY/log`, removed or not."""
    parts = Path(log.removesuffix(" (deleted)")).parts
    return parts[-2] if len(parts) > 3 and (parts[-3], parts[-1]) == ("mounts", "log") else None


def cache_in(words: Sequence[bytes]) -> Path | None:
    """Return the directory in the configuration that a cache service was started with."""
    try:
        return Path(json.loads(words[words.index(b"-m") + 2])["directory"])
    except (ValueError, IndexError, KeyError, TypeError):
        return None
