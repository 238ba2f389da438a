"""Who still shows a mount that is gone from here: processes in other mount namespaces."""

from __future__ import annotations

from pathlib import Path

from vfs.mounting.mountinfo import FILESYSTEM_TYPE, parse_mountinfo

PROC = Path("/proc")


def shown_elsewhere(connection: int) -> int | None:
    """Return a process in another mount namespace that has the mount of *connection*, if any.

    Of other users' processes only root learns.
    """
    seen = {_namespace(PROC / "self")}
    for process in PROC.glob("[0-9]*"):
        namespace = _namespace(process)
        if namespace not in seen and _has_mount(process, connection):
            return int(process.name)
        seen.add(namespace)
    return None


def _namespace(process: Path) -> str | None:
    """Return the name of a process's mount namespace, None where that is not ours to know."""
    try:
        return str((process / "ns/mnt").readlink())
    except OSError:
        return None


def _has_mount(process: Path, connection: int) -> bool:
    try:
        table = parse_mountinfo((process / "mountinfo").read_bytes())
    except OSError:
        return False
    return any(
        info.filesystem == FILESYSTEM_TYPE and info.minor == connection and info.major == 0
        for info in table
    )
