"""Looking up names that the kernel does not know, so that each costs a server one request."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
READ_ONLY, NO_SUID, NO_DEVICES, REMOUNT = 1, 2, 4, 32


def with_missing(paths: Sequence[str]) -> list[str]:
    """Return each path, and after it one that is nowhere."""
    return [name for path in paths for name in (path, f"{path}-missing")]


def look_up(root: Path, names: Sequence[str], total: int, forget: Callable[[Path], None]) -> None:
    """Look up *names* again and again, *total* in all; each time the kernel is made to *forget*."""
    for done in range(0, total, len(names)):
        forget(root)
        for name in names[: total - done]:
            with suppress(FileNotFoundError):
                os.lstat(f"{root}/{name}")


def drop_names(root: Path) -> None:
    """Make the kernel forget the names of one file system: it does so when that is remounted."""
    flags = REMOUNT | READ_ONLY | NO_SUID | NO_DEVICES
    if _libc.mount(b"none", os.fsencode(root), None, ctypes.c_ulong(flags), None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(root))
