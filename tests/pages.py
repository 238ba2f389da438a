"""Keeping what the kernel has read of files in its memory, for tests of what it must not forget.

Some machines give clean pages back within seconds, whatever nobody asked them to forget. Locked
pages stay; but what a file system takes back is gone all the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROT_READ, MAP_SHARED, MAP_LOCKED = 1, 1, 0x2000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
MAP_FAILED = ctypes.c_void_p(-1).value


@contextmanager
def kept_in_memory(paths: Iterable[Path]) -> Iterator[None]:
    """Read files and let no machine give their pages back for the length of a block."""
    with ExitStack() as locked:
        for path in paths:
            locked.enter_context(_locked(path))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        place = _libc.mmap(None, max(1, size), PROT_READ, MAP_SHARED | MAP_LOCKED, descriptor, 0)
        if place == MAP_FAILED:
            raise OSError(ctypes.get_errno(), f"cannot lock {path}")
    finally:
        os.close(descriptor)
    try:
        yield
    finally:
        _libc.munmap(place, max(1, size))
