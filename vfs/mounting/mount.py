"""Mounting and unmounting a FUSE connection: mount(2) for root, fusermount3 for others."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vfs.errors import MountBusyError, MountError
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, MountInfo, mounted_at

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
FUSERMOUNT_SECONDS = 20
BUSY_SECONDS = 1.0
"""For so long a mount that nobody stays in may be busy: by statfs(2) of `df` or a doctor."""
BUSY_POLL_SECONDS = 0.05
DEFAULT_READ_AHEAD_KIB = 4096
SUBTYPE = FILESYSTEM_TYPE.removeprefix("fuse.")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What the kernel is told at mount time. `source` stands in the first column of `df`."""

    source: str
    allow_other: bool
    no_exec: bool = False


def resolve_mountpoint(path: str | Path) -> Path:
    """Return the absolute path of the parent directory resolved and the last component as it is.

    The mountpoint itself is not followed: on a sick mount that would ask the server.
    """
    absolute = Path(os.path.abspath(path))
    return Path(os.path.realpath(absolute.parent)) / absolute.name if absolute.name else absolute


def check_mountpoint(mountpoint: Path) -> None:
    """Raise MountError unless *mountpoint* is a directory on which no FUSE is mounted yet."""
    there = mounted_at(mountpoint)
    if there is not None and there.filesystem.startswith("fuse"):
        raise MountError(
            f"{mountpoint} already holds a mount of {there.source}; "
            f"take it off with 'headrace umount {mountpoint}'"
        )
    if not mountpoint.is_dir():
        what = "is not a directory" if mountpoint.exists() else "does not exist"
        raise MountError(f"{mountpoint} {what}; make it with 'mkdir -p {mountpoint}'")


def mount(mountpoint: Path, options: MountOptions) -> int:
    """Mount a new FUSE connection read-only at *mountpoint* and return its non-blocking descriptor.

    The caller owns the descriptor; the connection lives as long as one copy of it is open.
    Raises MountError.
    """
    descriptor = (
        _mount_as_root(mountpoint, options)
        if os.geteuid() == 0
        else _mount_with_helper(mountpoint, options)
    )
    os.set_blocking(descriptor, False)
    return descriptor


def _mount_as_root(mountpoint: Path, options: MountOptions) -> int:
    try:
        descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(
            f"cannot open /dev/fuse ({error.strerror}); is the fuse module loaded?"
        ) from error
    data = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0,default_permissions"
    if options.allow_other:
        data += ",allow_other"
    result = _libc.mount(
        os.fsencode(options.source),
        os.fsencode(mountpoint),
        FILESYSTEM_TYPE.encode(),
        MS_RDONLY | MS_NOSUID | MS_NODEV | (MS_NOEXEC if options.no_exec else 0),
        data.encode(),
    )
    if result != 0:
        code = ctypes.get_errno()
        os.close(descriptor)
        raise MountError(f"cannot mount at {mountpoint}: {os.strerror(code)}")
    return descriptor


def _mount_with_helper(mountpoint: Path, options: MountOptions) -> int:
    words = ["ro", "nosuid", "nodev", "default_permissions", f"subtype={SUBTYPE}"]
    words.append("fsname=" + options.source.replace("\\", "\\\\").replace(",", "\\,"))
    if options.allow_other:
        words.append("allow_other")
    if options.no_exec:
        words.append("noexec")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        _fusermount(
            ["-o", ",".join(words), "--", str(mountpoint)],
            mountpoint,
            [theirs.fileno()],
            {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
        )
        ours.settimeout(FUSERMOUNT_SECONDS)
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if not descriptors:
        raise MountError(f"fusermount3 mounted {mountpoint} but sent no descriptor")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """Take the topmost mount off *mountpoint*; who only looks at it, as `df` does, is waited for.

    Raises MountBusyError when somebody stays inside, MountError when it cannot be taken off.
    """
    take_off = _unmount_as_root if os.geteuid() == 0 else _unmount_with_helper
    topmost = mounted_at(mountpoint)
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            take_off(mountpoint, lazy=lazy)
        except MountBusyError:
            if time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(BUSY_POLL_SECONDS)
        if mounted_at(mountpoint) != topmost:
            return  # somebody else took it off; what is there now is not ours to take


def _unmount_as_root(mountpoint: Path, *, lazy: bool) -> None:
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    if _libc.umount2(os.fsencode(mountpoint), flags) == 0:
        return
    code = ctypes.get_errno()
    if code == errno.EBUSY:
        raise _busy(mountpoint)
    if code == errno.EINVAL:
        raise MountError(f"nothing is mounted at {mountpoint}")
    raise MountError(f"cannot unmount {mountpoint}: {os.strerror(code)}")


def _unmount_with_helper(mountpoint: Path, *, lazy: bool) -> None:
    try:
        _fusermount(["-u", *(["-z"] if lazy else []), "--", str(mountpoint)], mountpoint)
    except MountError as error:
        if str(error).endswith(os.strerror(errno.EBUSY)):
            raise _busy(mountpoint) from error
        raise


def _busy(mountpoint: Path) -> MountBusyError:
    return MountBusyError(
        f"{mountpoint} is in use; leave its directories and close its files "
        f"(see 'fuser -vm {mountpoint}'), or use --lazy"
    )


def _fusermount(
    arguments: Sequence[str],
    mountpoint: Path,
    descriptors: Sequence[int] = (),
    environment: dict[str, str] | None = None,
) -> None:
    program = shutil.which("fusermount3")
    if program is None:
        raise MountError(
            "fusermount3 is not installed, and only root can mount without it: apt install fuse3"
        )
    done = subprocess.run(
        [program, *arguments],
        pass_fds=descriptors,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=FUSERMOUNT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise MountError(f"fusermount3 failed at {mountpoint}: {reason[0]}")


def set_read_ahead(info: MountInfo, kibibytes: int) -> bool:
    """Let the kernel read that far ahead on this mount; False where only root may say so."""
    try:
        _read_ahead_knob(info).write_text(str(kibibytes))
    except OSError:
        return False
    return True


def read_ahead_of(info: MountInfo) -> int | None:
    """Return how many KiB the kernel reads ahead on this mount, None when it does not say."""
    try:
        return int(_read_ahead_knob(info).read_text())
    except (OSError, ValueError):
        return None


def _read_ahead_knob(info: MountInfo) -> Path:
    return Path(f"/sys/class/bdi/{info.major}:{info.minor}/read_ahead_kb")
