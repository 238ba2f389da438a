"""A mount table of this process's own: nobody keeps a copy of its mounts, nobody waits for it.

A mount namespace that somebody makes meanwhile, for a container say, has a copy of every mount that
it finds. Such a copy keeps a file system alive after it was unmounted, and its processes with it.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def part_with_other_mounts() -> None:
    """Let what is mounted from now on be seen by this process and its children only.

    To be called before there are threads: each would keep the table that it has.
    """
    _check(_libc.unshare(CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))


def _check(answer: int) -> None:
    if answer != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "mount namespace")
