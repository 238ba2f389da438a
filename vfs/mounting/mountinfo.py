"""What is mounted where, read from /proc/self/mountinfo and never from the mounts themselves.

Looking at a mount by `stat` asks its server, and a sick one does not answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILESYSTEM_TYPE = "fuse.headrace"
_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountInfo:
    """One line of proc_pid_mountinfo(5); `minor` is the number of the FUSE connection.

    `root` is the directory of the file system that is seen at the mountpoint: "/" but for the bind
    mount of a part. `options` are those of this one mount, not of the file system.
    """

    minor: int
    major: int
    mountpoint: Path
    filesystem: str
    source: str
    mount_id: int = 0
    root: str = "/"
    options: frozenset[str] = frozenset()


def parse_mountinfo(text: bytes) -> list[MountInfo]:
    """Decode the whole table; lines of an unknown shape are left out."""
    return [info for line in text.splitlines() if (info := _parse_line(line)) is not None]


def _parse_line(line: bytes) -> MountInfo | None:
    fields = line.split(b" ")
    try:
        dash = fields.index(b"-", 6)
        major, minor = fields[2].split(b":")
        return MountInfo(
            minor=int(minor),
            major=int(major),
            mountpoint=Path(_unescape(fields[4])),
            filesystem=_unescape(fields[dash + 1]),
            source=_unescape(fields[dash + 2]),
            mount_id=int(fields[0]),
            root=_unescape(fields[3]),
            options=frozenset(_unescape(fields[5]).split(",")),
        )
    except (ValueError, IndexError):
        return None


def _unescape(field: bytes) -> str:
    plain = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)
    return plain.decode("utf-8", "surrogateescape")


def mount_table() -> list[MountInfo]:
    """Return everything that is mounted in this mount namespace, in order of mounting."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())


def mounted_at(mountpoint: Path) -> MountInfo | None:
    """Return the topmost mount at exactly *mountpoint*, an absolute path without symlinks."""
    found = [info for info in mount_table() if info.mountpoint == mountpoint]
    return found[-1] if found else None
