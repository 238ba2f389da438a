"""Binding source mounts to targets and taking them off: Linux calls that may block, no decisions.

What is mounted is read from mountinfo; no target and no source mount is ever looked at by `stat`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from csi.errors import InvalidArgumentError, NotFoundError, UnavailableError
from vfs.mounting.mount import (
    MNT_DETACH,
    MS_NODEV,
    MS_NOSUID,
    MS_RDONLY,
    UMOUNT_NOFOLLOW,
)
from vfs.mounting.mountinfo import MountInfo, mount_table

MS_REMOUNT, MS_BIND, MS_PRIVATE = 32, 4096, 1 << 18
SYS_OPENAT2 = 437
"""The same on all architectures (include/uapi/asm-generic/unistd.h)."""
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 1, 2, 4, 8
BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
MOST_STACKED = 256
"""Mounts on one target; more than that is not ours to take off."""

_libc = ctypes.CDLL(None, use_errno=True)


class OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class Mounts(Protocol):
    """What the driver does with mounts. All calls block; all raise CsiError."""

    def table(self) -> list[MountInfo]:
        """Return everything that is mounted, in order of mounting."""
        ...

    def bind(self, source: Path, sub_path: str, target: Path, *, executable: bool) -> None:
        """Show the directory *sub_path* of the mount *source* at *target*, which must exist.

        Raises NotFoundError or InvalidArgumentError for a sub-path that names no directory inside.
        """
        ...

    def rebind(self, source: Path, dead: Sequence[MountInfo]) -> None:
        """Lay the same parts of *source* over mounts whose server is gone."""
        ...

    def detach(self, target: Path) -> bool:
        """Take off every mount that is stacked at *target*; False when there was none."""
        ...


class LinuxMounts:
    """`Mounts` by system calls."""

    def table(self) -> list[MountInfo]:
        """Return everything that is mounted, in order of mounting."""
        return mount_table()

    def bind(self, source: Path, sub_path: str, target: Path, *, executable: bool) -> None:
        """Show the directory *sub_path* of the mount *source* at *target*, which must exist."""
        with _directory(source, sub_path) as found:
            _mount(f"/proc/self/fd/{found}", target, MS_BIND, f"bind {source} to {target}")
        if executable:
            flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV
            _mount(None, target, flags, f"allow execution below {target}")

    def rebind(self, source: Path, dead: Sequence[MountInfo]) -> None:
        """Lay the same parts of *source* over mounts whose server is gone.

        What is laid over a shared mount appears over all its copies, also in containers that asked
        for propagation. After that the old ones are made private: else to take the new one off one
        target would take it off all of them.
        """
        with ExitStack() as opened:
            below = {info.mount_id: opened.enter_context(_mount_itself(info)) for info in dead}
            for info in dead:
                if below[info.mount_id] is not None and not self._is_covered(info):
                    executable = "noexec" not in info.options
                    self.bind(source, info.root.lstrip("/"), info.mountpoint, executable=executable)
            for found in below.values():
                if found is not None:
                    _mount(None, Path(f"/proc/self/fd/{found}"), MS_PRIVATE, "part an old mount")

    def detach(self, target: Path) -> bool:
        """Take off every mount that is stacked at *target*; False when there was none."""
        stacked = sum(info.mountpoint == target for info in self.table())
        for _ in range(min(stacked, MOST_STACKED)):
            if _libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW) != 0:
                code = ctypes.get_errno()
                if code == errno.EINVAL:  # somebody else was faster
                    break
                raise UnavailableError(f"cannot unmount {target}: {os.strerror(code)}")
        return stacked > 0

    def _is_covered(self, dead: MountInfo) -> bool:
        there = [info for info in self.table() if info.mountpoint == dead.mountpoint]
        return bool(there) and there[-1].minor != dead.minor


@contextmanager
def _mount_itself(info: MountInfo) -> Iterator[int | None]:
    """Yield a descriptor of the root of one mount; None when it is gone or something covers it."""
    try:
        found = os.open(info.mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield found if _mount_id(found) == info.mount_id else None
    finally:
        os.close(found)


def _mount_id(descriptor: int) -> int | None:
    """Return the number that mountinfo has for the mount of an open file (proc_pid_fdinfo(5))."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "mnt_id":
            return int(value)
    return None


@contextmanager
def _directory(source: Path, sub_path: str) -> Iterator[int]:
    """Yield a descriptor of a directory that lies inside the mount *source*, whatever links say."""
    try:
        root = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UnavailableError(f"cannot open {source}: {error.strerror}") from error
    try:
        found = _open_beneath(root, sub_path) if sub_path else os.dup(root)
    finally:
        os.close(root)
    try:
        yield found
    finally:
        os.close(found)


def _open_beneath(root: int, sub_path: str) -> int:
    """Open a directory by openat2(2). Raises NotFoundError or InvalidArgumentError."""
    how = OpenHow(os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, BENEATH)
    found: int = _libc.syscall(
        SYS_OPENAT2, root, os.fsencode(sub_path), ctypes.byref(how), ctypes.sizeof(how)
    )
    if found >= 0:
        return found
    match ctypes.get_errno():
        case errno.ENOENT:
            raise NotFoundError(f"the dataset has no directory {sub_path!r}; correct subPath")
        case errno.ENOTDIR:
            raise InvalidArgumentError(f"subPath {sub_path!r} is no directory of the dataset")
        case errno.ELOOP | errno.EXDEV:
            raise InvalidArgumentError(
                f"subPath {sub_path!r} leads through a symlink or outside; name a plain directory"
            )
        case code:
            raise UnavailableError(f"cannot open {sub_path!r} of the dataset: {os.strerror(code)}")


def _mount(source: str | None, target: Path, flags: int, what: str) -> None:
    source_bytes = os.fsencode(source) if source is not None else None
    if _libc.mount(source_bytes, os.fsencode(target), None, flags, None) != 0:
        raise UnavailableError(f"cannot {what}: {os.strerror(ctypes.get_errno())}")
