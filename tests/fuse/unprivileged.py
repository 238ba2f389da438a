"""Runs a command as a user who is not root, where that user can read this project.

    python -m tests.fuse.unprivileged HOME COMMAND...

The interpreter, the virtual environment and the project may lie below directories that only root
may enter. In a mount namespace of the command's own those directories are replaced by readable ones
that lead to the same files. What the command mounts ends with the namespace.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

NOBODY = 65534
CLONE_NEWNS = 0x00020000
PROJECT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Prepare the namespace, become the user, and turn into the command."""
    home, *command = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a mount namespace")
    _mount("--make-rprivate", "/")
    open_up([Path(sys.base_prefix), Path(sys.prefix), PROJECT])
    open_fuse_device()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.chdir("/")
    os.execve(command[0], command, {"PATH": os.environ["PATH"], "HOME": home})


def open_fuse_device() -> None:
    """Let everybody use /dev/fuse, as udev does; a machine without udev has it for root alone."""
    place = Path(tempfile.mkdtemp(prefix="headrace-namespace-"))
    _mount("-t", "tmpfs", "none", place)
    os.mknod(place / "fuse", stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
    (place / "fuse").chmod(0o666)
    _mount("--bind", place / "fuse", "/dev/fuse")
    _forget(place)


def open_up(wanted: Iterable[Path]) -> None:
    """Make *wanted* reachable for everybody."""
    paths = list(wanted)
    closed = {place for path in paths for place in (path, *path.parents) if not _enterable(place)}
    for place in sorted(closed):
        _replace(place, paths)


def _enterable(place: Path) -> bool:
    return place.stat().st_mode & 0o005 == 0o005


def _replace(place: Path, wanted: list[Path]) -> None:
    """Put a readable directory over *place* that has of its children those that are wanted."""
    behind = Path(tempfile.mkdtemp(prefix="headrace-namespace-"))
    _mount("--rbind", place, behind)
    _mount("-t", "tmpfs", "-o", "mode=755", "none", place)
    for child in behind.iterdir():
        target = place / child.name
        if any(target == path or target in path.parents or place == path for path in wanted):
            _bind(child, target)
    _forget(behind)


def _forget(place: Path) -> None:
    """Take off what was mounted at *place* for a moment; what was bound elsewhere stays."""
    subprocess.run(["umount", "--lazy", place], check=True)
    place.rmdir()


def _bind(child: Path, target: Path) -> None:
    if child.is_dir():
        target.mkdir()
    else:
        target.touch()
    _mount("--rbind", child, target)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    main()
