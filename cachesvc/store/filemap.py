"""Where in its file the bytes lie that a view of a map shows: LMDB does not tell."""

from __future__ import annotations

import ctypes
from pathlib import Path


class _Buffer(ctypes.Structure):
    """`Py_buffer` (CPython's Include/pybuffer.h)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get = ctypes.pythonapi.PyObject_GetBuffer
_get.argtypes = (ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)
_release = ctypes.pythonapi.PyBuffer_Release
_release.argtypes = (ctypes.POINTER(_Buffer),)
_release.restype = None


def address_of(view: memoryview) -> int:
    """Return where in memory the bytes of *view* are; it may be read-only."""
    buffer = _Buffer()
    _get(view, ctypes.byref(buffer), 0)
    try:
        return buffer.buf or 0
    finally:
        _release(ctypes.byref(buffer))


class FileMap:
    """The stretch of this process's memory that shows a file, which stays where it is.

    Found by the first view of it that is asked about: by its name it could be another's, for what
    overlayfs calls an inode the kernel does not.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._start = self._stop = self._shift = 0

    def offset_of(self, view: memoryview) -> int:
        """Return where in the file the bytes of *view* lie. Raises LookupError if in none."""
        address = address_of(view)
        if not self._start <= address < self._stop:
            self._find(address)
        return address - self._shift

    def _find(self, address: int) -> None:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, _, offset, _, inode, *_ = line.split(maxsplit=5)
            start, stop = (int(each, 16) for each in span.split("-"))
            if start <= address < stop and inode != "0":
                self._start, self._stop, self._shift = start, stop, start - int(offset, 16)
                return
        raise LookupError(f"no file is mapped at {address:#x}")
