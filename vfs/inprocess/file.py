"""An open file of a snapshot, as Python's own files are: a buffer over a raw one."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from vfs.inprocess.content import STEP_BYTES, Buffers, Content, FileRange
from vfs.inprocess.errors import raising_oserror
from vfs.manifest.inode import Inode

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER_SIZE = 64 * 1024
"""A read from the map costs some 15 us, however small; larger ones do not go by the buffer."""

R = TypeVar("R")


class SnapshotFile(io.BufferedReader):
    """A file open for reading. `size` is its length, `name` its path."""

    def __init__(self, content: Callable[[], Content], inode: Inode, path: str) -> None:
        """Read *inode*, which lies at *path*, by what *content* returns at any time."""
        super().__init__(_RawFile(content, inode, path), BUFFER_SIZE)
        self.size = inode.size


class _RawFile(io.RawIOBase):
    """A file's bytes and a place in them. Holds nothing open, so that it survives a fork."""

    def __init__(self, content: Callable[[], Content], inode: Inode, path: str) -> None:
        self.name = path
        self._content = content
        self._position = inode.position
        self._size = inode.size
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}
        if whence not in bases or bases[whence] + offset < 0:
            raise ValueError(f"{self.name}: cannot seek to {offset}, counted from {whence}")
        self._offset = bases[whence] + offset
        return self._offset

    @raising_oserror
    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        return self._step(len(target), partial(_fill, target))

    @raising_oserror
    def readall(self) -> bytes:
        first = self._step(self._size, b"".join)
        if self._offset >= self._size:
            return first
        return b"".join((first, *iter(partial(self._step, self._size, b"".join), b"")))

    def _step(self, length: int, use: Callable[[Buffers], R]) -> R:
        """Return what *use* makes of the next bytes, some of *length*, and go on after them."""
        start = self._offset
        stop = max(start, min(self._size, start + min(length, STEP_BYTES)))
        made = self._content().use(FileRange(self._position, start, stop), use)
        self._offset = stop
        return made


def _fill(target: memoryview, found: Buffers) -> int:
    """Copy what was found into *target* and return how much it is."""
    at = 0
    for each in found:
        target[at : at + len(each)] = each
        at += len(each)
    return at
