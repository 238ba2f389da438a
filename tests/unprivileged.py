"""Running a program as another user without any capability, as a container does.

The program is this interpreter's. Where it lies below a directory that others may not enter, as in
root's home, it runs in a mount namespace in which that directory holds what it needs, and no more.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

UID = 65532
SETPRIV = (
    "setpriv",
    f"--reuid={UID}",
    f"--regid={UID}",
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
)
ASIDE = "/mnt"
LET_GO = "awk '/ - fuse.headrace / { print $5 }' /proc/self/mountinfo | xargs -r umount -l || true"
"""A copy of a mount in another namespace would keep it alive when it is taken off here."""


def unprivileged(command: Sequence[str | Path]) -> list[str]:
    """Return what runs *command* as `UID`, with no capability and no way to gain one."""
    words = [*SETPRIV, *map(str, command)]
    closed = closed_directories(needed_paths())
    if not closed:
        return words
    script = exposing_script(closed, needed_paths())
    return ["unshare", "-m", "--propagation", "slave", "sh", "-ec", script, "sh", *words]


def needed_paths() -> list[Path]:
    """Return what this interpreter reads: its installation, its environment and the project."""
    project = Path(__file__).resolve().parent.parent
    return sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix), project})


def closed_directories(paths: Iterable[Path]) -> list[Path]:
    """Return the outermost directories on the way to *paths* that others may not enter."""
    closed = set()
    for path in paths:
        for directory in reversed(path.parents):
            if not directory.stat().st_mode & 0o001:
                closed.add(directory)
                break
    return sorted(closed)


def exposing_script(closed: Iterable[Path], paths: Sequence[Path]) -> str:
    """Return a script that empties *closed* but for *paths*, and runs its arguments."""
    hidden = [path for path in paths if any(path.is_relative_to(one) for one in closed)]
    lines = [LET_GO, f"mount -t tmpfs tmpfs {ASIDE}"]
    for number, path in enumerate(hidden):
        aside = f"{ASIDE}/{number}"
        lines += [f"mkdir {aside}", f"mount --bind {shlex.quote(str(path))} {aside}"]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(one))}" for one in closed]
    for number, path in enumerate(hidden):
        place = shlex.quote(os.fspath(path))
        lines += [f"mkdir -p {place}", f"mount --bind {ASIDE}/{number} {place}"]
    return "\n".join([*lines, 'exec "$@"'])
